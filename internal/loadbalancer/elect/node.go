package elect

import (
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// Node is what the decisions have to know about a node.
type Node struct {
	Name   string
	Labels labels.Set
	// NetworkUnavailable says that the Node has the condition of that name, with status True.
	NetworkUnavailable bool
	// Alive is what the deciding node hears itself, and not the Node's condition Ready, which is late.
	Alive bool
	// Addresses are the node's own, where flows are handed on to. The decisions don't depend on them.
	Addresses []netip.Addr
}

// FromNode takes what an API object says of a node. Whether it is alive is not among it.
func FromNode(node *corev1.Node) Node {
	out := Node{Name: node.Name, Labels: node.Labels}
	for _, c := range node.Status.Conditions {
		if c.Type == corev1.NodeNetworkUnavailable && c.Status == corev1.ConditionTrue {
			out.NetworkUnavailable = true
		}
	}
	for _, a := range node.Status.Addresses {
		if a.Type != corev1.NodeInternalIP {
			continue
		}
		if addr, err := netip.ParseAddr(a.Address); err == nil {
			out.Addresses = append(out.Addresses, addr.Unmap())
		}
	}
	return out
}

// labelled tells whether the node is to be left out by load balancers. The label's presence counts, not its value.
func (n *Node) labelled() bool {
	_, has := n.Labels[corev1.LabelNodeExcludeBalancers]
	return has
}

// allLabelled tells whether no node is left if the label counts. Then it doesn't: installers put it on every control
// plane, and a cluster of such nodes alone would have addresses that nobody answers for.
func allLabelled(nodes []Node) bool {
	return len(nodes) > 0 && !slices.ContainsFunc(nodes, func(n Node) bool { return !n.labelled() })
}

// byName returns the nodes in the order of their names, each once. They are not copied if they are so already.
func byName(nodes []Node) []Node {
	inOrder := true
	for i := 1; i < len(nodes) && inOrder; i++ {
		inOrder = nodes[i-1].Name < nodes[i].Name
	}
	if inOrder {
		return nodes
	}
	nodes = slices.Clone(nodes)
	slices.SortStableFunc(nodes, func(a, b Node) int { return strings.Compare(a.Name, b.Name) })
	return slices.CompactFunc(nodes, func(a, b Node) bool { return a.Name == b.Name })
}
