package cni

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"minato/internal/host"
	"minato/internal/podnet"
)

// plugin calls the plugin as a runtime does.
func plugin(t *testing.T, env map[string]string, config any) (int, map[string]any) {
	t.Helper()
	in, ok := config.(string)
	if !ok {
		data, err := json.Marshal(config)
		if err != nil {
			t.Fatal(err)
		}
		in = string(data)
	}
	var out bytes.Buffer
	status := Run(func(name string) string { return env[name] }, strings.NewReader(in), &out)
	answer := map[string]any{}
	if out.Len() > 0 {
		if err := json.Unmarshal(out.Bytes(), &answer); err != nil {
			t.Fatalf("answer %q: %v", out.String(), err)
		}
	}
	return status, answer
}

func vars(command, container, netns string) map[string]string {
	return map[string]string{"CNI_COMMAND": command, "CNI_CONTAINERID": container, "CNI_NETNS": netns, "CNI_IFNAME": "eth0"}
}

func with(config map[string]any, more map[string]any) map[string]any {
	out := map[string]any{}
	for _, m := range []map[string]any{config, more} {
		for k, v := range m {
			out[k] = v
		}
	}
	return out
}

// Whatever is wrong has the code that the specification gives it.
func TestRefusals(t *testing.T) {
	config := map[string]any{"cniVersion": "1.1.0", "name": "minato", "type": "minato-cni", "socket": "/nowhere/cni.sock"}
	add := vars("ADD", "one", "/proc/self/ns/net")
	for what, test := range map[string]struct {
		env    map[string]string
		config any
		code   float64
		text   string
	}{
		"no JSON":          {add, "{", codeDecode, "no JSON"},
		"an old version":   {add, with(config, map[string]any{"cniVersion": "0.4.0"}), codeVersion, "1.0.0, 1.1.0"},
		"no socket":        {add, with(config, map[string]any{"socket": ""}), codeConfig, "minato cni config"},
		"no name":          {add, with(config, map[string]any{"name": ""}), codeConfig, "name"},
		"ipam":             {add, with(config, map[string]any{"ipam": map[string]any{"type": "host-local"}}), codeUnsupported, "ipam"},
		"masquerading":     {add, with(config, map[string]any{"ipMasq": true}), codeUnsupported, "ipMasq"},
		"port mappings":    {add, with(config, map[string]any{"runtimeConfig": map[string]any{"portMappings": []any{}}}), codeUnsupported, "portMappings"},
		"a plugin before":  {add, with(config, map[string]any{"prevResult": map[string]any{}}), codeUnsupported, "prevResult"},
		"no command":       {vars("", "one", "/x"), config, codeEnvironment, "CNI_COMMAND"},
		"no container":     {vars("ADD", "", "/x"), config, codeEnvironment, "CNI_CONTAINERID"},
		"a bad container":  {vars("ADD", "a/b", "/x"), config, codeEnvironment, "CNI_CONTAINERID"},
		"no namespace":     {vars("ADD", "one", ""), config, codeEnvironment, "CNI_NETNS"},
		"another name":     {map[string]string{"CNI_COMMAND": "ADD", "CNI_NETNS": "/x", "CNI_CONTAINERID": "one", "CNI_IFNAME": "net1"}, config, codeEnvironment, "eth0"},
		"nothing to check": {vars("CHECK", "one", "/x"), config, codeConfig, "prevResult"},
		"GC of everything": {vars("GC", "", ""), config, codeConfig, "valid-attachments"},
		"GC in 1.0.0":      {vars("GC", "", ""), with(config, map[string]any{"cniVersion": "1.0.0"}), codeVersion, "GC"},
		"no server":        {add, config, codeTryAgain, "/nowhere/cni.sock"},
		"STATUS":           {vars("STATUS", "", ""), config, codeUnavailable, "/nowhere/cni.sock"},
	} {
		status, answer := plugin(t, test.env, test.config)
		if status == 0 || answer["code"] != test.code || !strings.Contains(fmt.Sprint(answer["msg"]), test.text) {
			t.Errorf("%s: status %d, %v; want code %v with %q", what, status, answer, test.code, test.text)
		}
	}
	status, answer := plugin(t, vars("VERSION", "", ""), `{"cniVersion":"0.4.0"}`)
	if status != 0 || fmt.Sprint(answer["supportedVersions"]) != "[1.0.0 1.1.0]" || answer["cniVersion"] != "0.4.0" {
		t.Errorf("VERSION: %d, %v", status, answer)
	}
	for given, want := range map[string]string{"1.0.0": "1.0.0", "0.4.0": "1.1.0"} {
		if _, answer := plugin(t, add, with(config, map[string]any{"cniVersion": given, "ipMasq": true})); answer["cniVersion"] != want {
			t.Errorf("an error for version %s: %v; want version %s", given, answer, want)
		}
	}
}

func FuzzConfig(f *testing.F) {
	f.Add("ADD", `{"cniVersion":"1.0.0","name":"n","socket":"/s","runtimeConfig":{"a":1}}`)
	f.Add("GC", `{"cniVersion":"1.1.0","name":"n","socket":"/s","cni.dev/valid-attachments":[{"containerID":"a","ifname":"eth0"}]}`)
	f.Fuzz(func(t *testing.T, command, config string) {
		c, err := readCall(func(name string) string { return vars(command, "one", "/x")[name] }, []byte(config))
		var coded *Error
		if err != nil && !errors.As(err, &coded) {
			t.Errorf("%v has no code", err)
		}
		if err == nil && c.command != cmdVersion && !slices.Contains(versions[:], c.net.CNIVersion) {
			t.Errorf("version %q is taken", c.net.CNIVersion)
		}
	})
}

// world is a node's network and the server of its socket.
func world(t *testing.T) (network *podnet.Network, pod host.Netns, config map[string]any) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("namespaces need root's rights")
	}
	create := func(name string) host.Netns {
		ns, err := host.CreateNetns(name)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { host.DeleteNetns(ns) })
		return ns
	}
	node, pod := create("mt-cni-node"), create("mt-cni-pod")
	if err := node.EnableIPv6(); err != nil {
		t.Fatal(err)
	}
	addresses := []netip.Prefix{netip.MustParsePrefix("172.30.0.11/16"), netip.MustParsePrefix("fd00:172:30::11/64")}
	inside, err := host.OpenNet(node)
	if err != nil {
		t.Fatal(err)
	}
	defer inside.Close()
	if err := inside.EnsureBridge("br", 1400, addresses...); err != nil {
		t.Fatal(err)
	}
	network, err = podnet.New(podnet.Config{
		Netns: node, NodeIPs: []netip.Addr{addresses[0].Addr(), addresses[1].Addr()}, MTU: 1400, Dir: t.TempDir(),
		PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.244.1.0/24"), netip.MustParsePrefix("fd00:10:244:1::/64")},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(network.Close)
	path := filepath.Join(t.TempDir(), "cni.sock")
	s, err := NewServer(ServerConfig{Path: path, Network: network})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	for {
		if _, err := os.Stat(path); err == nil {
			break
		}
		if t.Context().Err() != nil {
			t.Fatal("the server makes no socket")
		}
	}
	return network, pod, map[string]any{"cniVersion": "1.1.0", "name": "minato", "type": "minato-cni", "socket": path}
}

func TestLifeOfAnInterface(t *testing.T) {
	network, pod, config := world(t)
	must := func(what string, status int, answer map[string]any) map[string]any {
		t.Helper()
		if status != 0 {
			t.Fatalf("%s: %v", what, answer)
		}
		return answer
	}
	do := func(command, container, netns string, more map[string]any) (int, map[string]any) {
		return plugin(t, vars(command, container, netns), with(config, more))
	}
	status, answer := do("STATUS", "", "", nil)
	must("STATUS", status, answer)
	status, answer = do("ADD", "one", pod.Path, nil)
	added := must("ADD", status, answer)
	text, _ := json.Marshal(added)
	for _, want := range []string{
		`"address":"10.244.1.2/32"`, `"gateway":"10.244.1.1"`, `"address":"fd00:10:244:1::2/128"`,
		`"dst":"0.0.0.0/0"`, `"dst":"::/0"`, `"name":"pod2"`, `"mtu":1400`, `"sandbox":"` + pod.Path + `"`, `"cniVersion":"1.1.0"`,
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the result of ADD lacks %s: %s", want, text)
		}
	}
	if status, answer = do("ADD", "one", pod.Path, nil); status == 0 || answer["code"] != float64(codeConfig) {
		t.Errorf("ADD again: %d, %v", status, answer)
	}
	previous := map[string]any{"prevResult": added}
	status, answer = do("CHECK", "one", pod.Path, previous)
	must("CHECK", status, answer)
	if status, answer = do("CHECK", "two", pod.Path, previous); status == 0 || answer["code"] != float64(codeUnknown) {
		t.Errorf("CHECK of what is not there: %d, %v", status, answer)
	}
	if status, answer = do("ADD", "three", "/run/netns/mt-cni-none", nil); status == 0 || answer["code"] != float64(codeUnknown) {
		t.Errorf("ADD to no namespace: %d, %v", status, answer)
	}
	// A sandbox of Minato's own is nobody else's to collect.
	own := ownSandbox(t, network)
	status, answer = do("GC", "", "", map[string]any{"cni.dev/valid-attachments": []attachment{{"one", "eth0"}}})
	must("GC of what is in use", status, answer)
	if got := network.Owners(); len(got) != 2 {
		t.Errorf("after a GC that keeps all: %q", got)
	}
	status, answer = do("GC", "", "", map[string]any{"cni.dev/valid-attachments": []attachment{}})
	must("GC", status, answer)
	if got := network.Owners(); len(got) != 1 || got[0] != own {
		t.Errorf("after GC: %q, want %q alone", got, own)
	}
	if status, answer = do("CHECK", "one", pod.Path, previous); status == 0 {
		t.Errorf("CHECK after the end: %v", answer)
	}
	for range 2 {
		status, answer = do("DEL", "one", "", previous)
		must("DEL", status, answer)
	}
	// What ADD has refused ends like what there is not.
	env := vars("DEL", "one", "")
	env["CNI_IFNAME"] = "net1"
	status, answer = plugin(t, env, with(config, map[string]any{"ipMasq": true, "runtimeConfig": map[string]any{"portMappings": []any{}}}))
	must("DEL of what was refused", status, answer)
}

// A request that nobody waits for any more is not done.
func TestLateRequest(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var coded *Error
	if _, err := (&Server{}).do(ctx, request{Command: cmdAdd}, nil); !errors.As(err, &coded) || coded.Code != codeTryAgain {
		t.Errorf("%v", err)
	}
}

// ownSandbox connects a sandbox as Minato's runtime does.
func ownSandbox(t *testing.T, network *podnet.Network) string {
	t.Helper()
	ns, err := host.CreateNetns("mt-cni-own")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { host.DeleteNetns(ns) })
	if _, err := network.Attach(t.Context(), "own", ns.Path); err != nil {
		t.Fatal(err)
	}
	return "own"
}
