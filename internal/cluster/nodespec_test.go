package cluster

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func specNames(c Config) string {
	var names []string
	for _, n := range c.NodeSpecs() {
		names = append(names, n.Name)
	}
	return strings.Join(names, " ")
}

func TestNodesComeAndGo(t *testing.T) {
	c := DefaultConfig()
	add := func(name string) NodeSpec {
		t.Helper()
		next, n, err := c.withNode(NodeSpec{Name: name})
		if err != nil {
			t.Fatal(err)
		}
		c = next
		return n
	}
	if n := add(""); n.Name != "node-4" || n.Number != 4 {
		t.Errorf("%+v", n)
	}
	if n := add("big"); n.Name != "big" || n.Number != 5 {
		t.Errorf("%+v", n)
	}
	// Number 5 has a node of another name, whose namespace is node-5's.
	if _, _, err := c.withNode(NodeSpec{Name: "node-5"}); err == nil || !strings.Contains(err.Error(), "taken") {
		t.Errorf("node-5: %v", err)
	}
	if n := add("node-9"); n.Number != 9 {
		t.Errorf("%+v", n)
	}
	c = c.withoutNode("node-2")
	if n := add(""); n.Name != "node-2" || n.Number != 2 {
		t.Errorf("a number that is free again: %+v", n)
	}
	if got := specNames(c); got != "node-1 node-2 node-3 node-4 big node-9" {
		t.Error(got)
	}
	before := c
	c = c.changeNode("big", func(n *NodeSpec) { n.Stopped = true })
	if n, err := c.findNode("big"); err != nil || !n.Stopped {
		t.Errorf("%+v %v", n, err)
	}
	if n, err := before.findNode("big"); err != nil || n.Stopped {
		t.Errorf("a copy was changed: %+v %v", n, err)
	}
	if _, err := c.findNode("small"); err == nil || !strings.Contains(err.Error(), "the nodes are node-1,") {
		t.Error(err)
	}
	if c.lastNumber() != 9 {
		t.Error(c.lastNumber())
	}
}

func TestNodeRefused(t *testing.T) {
	for _, test := range []struct {
		spec NodeSpec
		want string
	}{
		{NodeSpec{Name: "node-2"}, "there is a node node-2 already"},
		{NodeSpec{Name: "server"}, "the control plane's"},
		{NodeSpec{Name: "Upper"}, "a-z, 0-9 and -"},
		{NodeSpec{Name: "../x"}, "a-z, 0-9 and -"},
		{NodeSpec{Name: strings.Repeat("a", 41)}, "1 to 40 characters"},
		{NodeSpec{Name: "node-201"}, "above 200"},
		{NodeSpec{Name: "node-99999999999999999999"}, "above 200"},
		{NodeSpec{Labels: map[string]string{"a b": "c"}}, "--label a b"},
		{NodeSpec{Labels: map[string]string{"a": "b c"}}, "--label a=b c"},
		{NodeSpec{Labels: map[string]string{"kubernetes.io/hostname": "x"}}, "by itself"},
		{NodeSpec{Labels: map[string]string{"node-role.kubernetes.io/worker": ""}}, "kubectl label node"},
	} {
		if _, _, err := DefaultConfig().withNode(test.spec); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%+v: %v, want %q", test.spec, err, test.want)
		}
	}
	for _, labels := range []map[string]string{{"topology.kubernetes.io/zone": "a"}, {"disk": "fast", "example.com/x": ""}, {"node.kubernetes.io/x": "y"}} {
		if _, _, err := DefaultConfig().withNode(NodeSpec{Labels: labels}); err != nil {
			t.Errorf("%v: %v", labels, err)
		}
	}
	full := DefaultConfig()
	full.Nodes = maxNodes
	if _, _, err := full.withNode(NodeSpec{}); err == nil {
		t.Error("a node more than there can be")
	}
}

func TestParseTaint(t *testing.T) {
	for text, want := range map[string]corev1.Taint{
		"a=b:NoSchedule":          {Key: "a", Value: "b", Effect: corev1.TaintEffectNoSchedule},
		"example.com/a:NoExecute": {Key: "example.com/a", Effect: corev1.TaintEffectNoExecute},
		"a=:PreferNoSchedule":     {Key: "a", Effect: corev1.TaintEffectPreferNoSchedule},
	} {
		if got, err := ParseTaint(text); err != nil || got != want {
			t.Errorf("%s: %+v %v", text, got, err)
		}
	}
	for _, text := range []string{"", "a", "a=b", "a=b:Never", ":NoSchedule", "a b:NoSchedule", "a=b c:NoSchedule"} {
		if _, err := ParseTaint(text); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
}
