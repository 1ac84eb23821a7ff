package cluster

import (
	"errors"
	"strings"
	"testing"
)

// Settings that only Minato's own runtime heeds are refused where another one would not
// see them.
func TestSettingsOfAnotherRuntime(t *testing.T) {
	const containerd = "unix:///run/containerd/containerd.sock"
	mixed := []NodeSpec{{Number: 1, Name: "node-1"}, {Number: 2, Name: "other", RuntimeEndpoint: containerd}}
	others := []NodeSpec{{Number: 1, Name: "node-1", RuntimeEndpoint: containerd}}
	handlers, registries := map[string]string{"second": "runc"}, RegistrySettings{Config: "/certs.d"}
	for name, tc := range map[string]struct {
		config Config
		want   string
	}{
		"registries of a cluster":     {Config{RuntimeEndpoint: containerd, Registries: registries}, "--registry-config is nothing to the container runtime at " + containerd + ", which runs the Pods of node node-1"},
		"registries of one node":      {Config{NodeList: mixed, Registries: registries}, "which runs the Pods of node other"},
		"registries of all nodes":     {Config{NodeList: others, Registries: registries}, "--registry-config"},
		"registries of Minato's own":  {Config{RuntimeEndpoint: OwnRuntime, Registries: registries}, ""},
		"credentials of a cluster":    {Config{RuntimeEndpoint: containerd, Registries: RegistrySettings{Providers: "/p", ProviderBinDir: "/bin"}}, ""},
		"handlers of a cluster":       {Config{RuntimeEndpoint: containerd, RuntimeHandlers: handlers}, "--runtime-handler is for Minato's own runtime"},
		"handlers of all nodes":       {Config{NodeList: others, RuntimeHandlers: handlers}, "--runtime-handler"},
		"handlers of some nodes":      {Config{NodeList: mixed, RuntimeHandlers: handlers}, ""},
		"no socket":                   {Config{RuntimeEndpoint: "tcp://x"}, "--container-runtime-endpoint"},
		"a socket for each node":      {Config{RuntimeEndpoint: "unix:///run/{node}.sock"}, ""},
		"registries, node without it": {Config{RuntimeEndpoint: containerd, NodeList: []NodeSpec{{Number: 1, Name: "node-1", RuntimeEndpoint: OwnRuntime}}, Registries: registries}, ""},
	} {
		c := DefaultConfig()
		c.RuntimeEndpoint, c.NodeList, c.Registries, c.RuntimeHandlers = tc.config.RuntimeEndpoint, tc.config.NodeList, tc.config.Registries, tc.config.RuntimeHandlers
		if err := errors.Join(c.Validate(), c.validateRegistries(c.NodeSpecs())); (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", name, err, tc.want)
		}
	}
	// A node that is added later, too.
	c := DefaultConfig()
	c.Registries = registries
	if _, _, err := c.withNode(NodeSpec{RuntimeEndpoint: containerd}); err == nil || !strings.Contains(err.Error(), "node node-4") {
		t.Errorf("a node that is added: %v", err)
	}
	// A cluster that has been given both by an earlier version goes on, and has other
	// nodes added.
	c.NodeList = mixed
	if err := c.Validate(); err != nil {
		t.Errorf("a cluster that has both: %v", err)
	}
	if _, _, err := c.withNode(NodeSpec{}); err != nil {
		t.Errorf("a node of Minato's own runtime that is added to it: %v", err)
	}
}

// Nobody can know what a cluster without settings had: what may be left is told.
func TestLeftInRuntimes(t *testing.T) {
	got := leftInRuntimes("no-such")
	for _, want := range []string{"/var/lib/minato/no-such/config.json", "it still has", "crictl -r unix:///run/containerd/containerd.sock pods --label minato.cluster=no-such", "rmp -f"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q does not say %q", got, want)
		}
	}
}

func TestNodesWithoutImages(t *testing.T) {
	c := DefaultConfig()
	if got := c.nodesWithoutImages(); got != "" {
		t.Errorf("all nodes have the cluster's: %q", got)
	}
	c.NodeList = append(c.NodeSpecs(), NodeSpec{Number: 4, Name: "other", RuntimeEndpoint: "unix:///run/{node}.sock"})
	if got := c.nodesWithoutImages(); !strings.Contains(got, "run their Pods: other (unix:///run/other.sock). For containerd `ctr ") {
		t.Errorf("one of four: %q", got)
	}
}
