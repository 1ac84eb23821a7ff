package cluster

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"minato/internal/node/settings"
)

// NodeSpec is one node of a cluster.
type NodeSpec struct {
	// Number gives the node its addresses and the name of its namespace. The
	// first node has the number 1.
	Number int    `json:"number"`
	Name   string `json:"name"`
	// Labels and Taints are those that the node registers with.
	Labels map[string]string `json:"labels,omitempty"`
	Taints []corev1.Taint    `json:"taints,omitempty"`
	// Kubelet are settings of the node's agent, in place of those of the cluster.
	Kubelet *settings.Kubelet `json:"kubelet,omitempty"`
	// RuntimeEndpoint is that of the node, in place of the cluster's.
	RuntimeEndpoint string `json:"containerRuntimeEndpoint,omitempty"`
	// Claim is what the node has of the machine, in place of that of the cluster.
	Claim Claim `json:"claim,omitzero"`
	// Stopped nodes do not run until they are started again.
	Stopped bool `json:"stopped,omitempty"`
	// Removing says that what is left of the node is to be removed.
	Removing bool `json:"removing,omitempty"`
}

// NodeSpecs are the cluster's nodes in the order of their numbers.
func (c Config) NodeSpecs() []NodeSpec {
	if c.NodeList != nil {
		return slices.Clone(c.NodeList)
	}
	var out []NodeSpec
	for i := 1; i <= c.Nodes; i++ {
		out = append(out, NodeSpec{Number: i, Name: NodeName(i)})
	}
	return out
}

// NodesThatRun is how many nodes the cluster has while it is up.
func (c Config) NodesThatRun() int {
	running := 0
	for _, n := range c.NodeSpecs() {
		if !n.Stopped && !n.Removing {
			running++
		}
	}
	return running
}

// lastNumber is the largest number that a node of the cluster has.
func (c Config) lastNumber() int {
	last := c.Nodes
	for _, n := range c.NodeList {
		last = max(last, n.Number)
	}
	return last
}

// ownName matches the names that nodes have by their number.
var ownName = regexp.MustCompile(`^node-([1-9][0-9]*)$`)

// withNode returns the configuration with one node more. Without a name, the node
// gets that of its number, the smallest one that is free.
func (c Config) withNode(n NodeSpec) (Config, NodeSpec, error) {
	all := c.NodeSpecs()
	taken := func(number int) bool {
		return slices.ContainsFunc(all, func(o NodeSpec) bool { return o.Number == number || o.Name == NodeName(number) })
	}
	if n.Number = 0; n.Name != "" {
		if err := checkNodeName(n.Name); err != nil {
			return c, n, err
		}
		if slices.ContainsFunc(all, func(o NodeSpec) bool { return o.Name == n.Name }) {
			return c, n, fmt.Errorf("there is a node %s already; give another name, or none", n.Name)
		}
		if m := ownName.FindStringSubmatch(n.Name); m != nil {
			number, err := strconv.Atoi(m[1])
			if err != nil || number > maxNodes || taken(number) {
				return c, n, fmt.Errorf("node %s: its number is taken by another node, or above %d; give another name, or none", n.Name, maxNodes)
			}
			n.Number = number
		}
	}
	for i := 1; n.Number == 0; i++ {
		if !taken(i) {
			n.Number = i
		}
	}
	if n.Name == "" {
		n.Name = NodeName(n.Number)
	}
	if err := checkLabels(n.Labels); err != nil {
		return c, n, err
	}
	c.NodeList = append(all, n)
	slices.SortFunc(c.NodeList, func(a, b NodeSpec) int { return a.Number - b.Number })
	if err := errors.Join(c.Validate(), c.validateRegistries([]NodeSpec{n})); err != nil {
		return c, n, err
	}
	var err error
	c, err = c.withUsers(true)
	return c, n, err
}

// withoutNode returns the configuration without a node.
func (c Config) withoutNode(name string) Config {
	for _, n := range c.NodeSpecs() {
		if n.Name == name {
			c = c.withoutUsers(n.Number)
		}
	}
	c.NodeList = slices.DeleteFunc(c.NodeSpecs(), func(n NodeSpec) bool { return n.Name == name })
	return c
}

// changeNode returns the configuration with a node changed.
func (c Config) changeNode(name string, change func(*NodeSpec)) Config {
	c.NodeList = c.NodeSpecs()
	for i := range c.NodeList {
		if c.NodeList[i].Name == name {
			change(&c.NodeList[i])
		}
	}
	return c
}

// findNode returns a node by its name.
func (c Config) findNode(name string) (NodeSpec, error) {
	var names []string
	for _, n := range c.NodeSpecs() {
		if n.Name == name {
			return n, nil
		}
		names = append(names, n.Name)
	}
	return NodeSpec{}, fmt.Errorf("there is no node %q; the nodes are %s", name, strings.Join(names, ", "))
}

// checkNodeName tells whether name can be a node's: also of its cgroup and of
// files.
func checkNodeName(name string) error {
	if msgs := validation.IsDNS1123Label(name); len(msgs) > 0 || len(name) > maxNodeName {
		return fmt.Errorf("node %q: a node's name is 1 to %d characters of a-z, 0-9 and -, and begins and ends with a letter or digit", name, maxNodeName)
	}
	if name == "server" {
		return fmt.Errorf("node %q: that name is the control plane's; give another one", name)
	}
	return nil
}

// maxNodeName is short enough for the paths of sockets.
const maxNodeName = 40

// checkLabels returns an error for the first label that a node can't register
// with: those of the API server's admission (NodeRestriction) among them.
func checkLabels(labels map[string]string) error {
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		if msgs := validation.IsQualifiedName(key); len(msgs) > 0 {
			return fmt.Errorf("--label %s: %s", key, msgs[0])
		}
		if msgs := validation.IsValidLabelValue(labels[key]); len(msgs) > 0 {
			return fmt.Errorf("--label %s=%s: %s", key, labels[key], msgs[0])
		}
		if key == corev1.LabelHostname || key == corev1.LabelOSStable || key == corev1.LabelArchStable {
			return fmt.Errorf("--label %s: the node has this label by itself; leave it out", key)
		}
		prefix, _, _ := strings.Cut(key, "/")
		reserved := prefix == "kubernetes.io" || prefix == "k8s.io" || strings.HasSuffix(prefix, ".kubernetes.io") || strings.HasSuffix(prefix, ".k8s.io")
		own := slices.Contains(registrable, key) || prefix == "node.kubernetes.io" || strings.HasSuffix(prefix, ".node.kubernetes.io") || prefix == "kubelet.kubernetes.io" || strings.HasSuffix(prefix, ".kubelet.kubernetes.io")
		if strings.Contains(key, "/") && reserved && !own {
			return fmt.Errorf("--label %s: a node may not give itself this label; use `kubectl label node` once it is there", key)
		}
	}
	return nil
}

// registrable are labels of Kubernetes' own that a node may give itself, those of
// the admission plugin NodeRestriction.
var registrable = []string{
	corev1.LabelTopologyZone, corev1.LabelTopologyRegion, corev1.LabelFailureDomainBetaZone, corev1.LabelFailureDomainBetaRegion,
	corev1.LabelInstanceTypeStable, corev1.LabelInstanceType,
}

// ParseTaint reads a taint as kubectl takes it: KEY=VALUE:EFFECT or KEY:EFFECT.
func ParseTaint(text string) (corev1.Taint, error) {
	rest, effect, ok := strings.Cut(text, ":")
	key, value, _ := strings.Cut(rest, "=")
	t := corev1.Taint{Key: key, Value: value, Effect: corev1.TaintEffect(effect)}
	known := t.Effect == corev1.TaintEffectNoSchedule || t.Effect == corev1.TaintEffectPreferNoSchedule || t.Effect == corev1.TaintEffectNoExecute
	if !ok || !known || len(validation.IsQualifiedName(key)) > 0 || len(validation.IsValidLabelValue(value)) > 0 {
		return t, fmt.Errorf("--taint %q: give KEY=VALUE:EFFECT or KEY:EFFECT, with the effect NoSchedule, PreferNoSchedule or NoExecute", text)
	}
	return t, nil
}
