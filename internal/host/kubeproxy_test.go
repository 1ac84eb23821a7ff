package host

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestKubeProxyRules(t *testing.T) {
	requireRoot(t)
	if _, err := exec.LookPath("nft"); err != nil {
		t.Skip("needs nft")
	}
	ns := testNetns(t, "mt-host-kubeproxy")
	found := func() (rules []string) {
		t.Helper()
		if err := ns.Do(func() error { rules = KubeProxyRules(); return nil }); err != nil {
			t.Fatal(err)
		}
		return rules
	}
	nft := func(script string) {
		t.Helper()
		cmd := exec.Command("nft", "-f", "-")
		cmd.Stdin = strings.NewReader(script)
		if err := ns.Do(func() error {
			out, err := cmd.CombinedOutput()
			t.Logf("%s", out)
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	// The kubelet's own chains, and other tables, are not kube-proxy's.
	nft("add table ip mangle\nadd chain ip mangle KUBE-KUBELET-CANARY\nadd table ip minato\nadd chain ip minato KUBE-FIREWALL")
	if rules := found(); len(rules) > 0 {
		t.Errorf("on a node without kube-proxy: %v", rules)
	}
	nft("add table ip nat\nadd chain ip nat KUBE-SERVICES")
	if rules := found(); len(rules) != 1 || !strings.Contains(rules[0], "KUBE-SERVICES") {
		t.Errorf("iptables: %v", rules)
	}
	nft("add table ip kube-proxy\nadd table ip6 kube-proxy\ndelete table ip nat")
	if rules := found(); len(rules) != 1 || !strings.Contains(rules[0], "table kube-proxy") {
		t.Errorf("nftables: %v", rules)
	}
}

func TestKubeProxyLegacyRules(t *testing.T) {
	requireRoot(t)
	ns := testNetns(t, "mt-host-legacy")
	iptables := func(args ...string) error {
		return ns.Do(exec.Command("iptables-legacy", append([]string{"-t", "nat"}, args...)...).Run)
	}
	for chain, want := range map[string]int{"KUBE-SERVICES-OF-OTHERS": 0, "KUBE-SERVICES": 1} {
		if err := iptables("-N", chain); err != nil {
			t.Skipf("needs iptables-legacy and a kernel with its table nat: %v", err)
		}
		var rules []string
		if err := ns.Do(func() error { rules = KubeProxyRules(); return nil }); err != nil {
			t.Fatal(err)
		}
		if len(rules) != want || want == 1 && !strings.Contains(rules[0], "legacy") {
			t.Errorf("with the chain %s: %v", chain, rules)
		}
		if err := iptables("-X", chain); err != nil {
			t.Fatal(err)
		}
	}
}

// Mounts with our source are removed, those of others are not.
func TestUnmountOwn(t *testing.T) {
	requireRoot(t)
	for name, mount := range map[string]func(string) error{"bpf": MountBPF, "cgroup2": MountCgroup2} {
		path := filepath.Join(t.TempDir(), name)
		t.Cleanup(func() { Unmount(path) })
		for range 2 {
			if err := mount(path); err != nil {
				t.Fatal(err)
			}
		}
		if points, err := MountsUnder(path); err != nil || len(points) != 1 {
			t.Errorf("%s: mounted %d times: %v", name, len(points), err)
		}
		if is := map[string]func(string) bool{"bpf": IsBPF, "cgroup2": IsCgroup2}[name]; !is(path) || is(filepath.Dir(path)) {
			t.Errorf("%s is not known as what it is", name)
		}
		for range 2 {
			if err := UnmountOwn(path); err != nil {
				t.Error(err)
			}
		}
		if is, err := IsMountPoint(path); is || err != nil {
			t.Errorf("%s is still mounted: %v", name, err)
		}
	}
	theirs := filepath.Join(t.TempDir(), "theirs")
	if err := os.Mkdir(theirs, 0o700); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mount", "-t", "bpf", "somebody", theirs).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Cleanup(func() { Unmount(theirs) })
	if err := MountBPF(theirs); err != nil {
		t.Error(err)
	}
	if err := UnmountOwn(theirs); err != nil {
		t.Error(err)
	}
	if is, err := IsMountPoint(theirs); !is || err != nil {
		t.Errorf("somebody else's mount is gone: %v", err)
	}
}
