package route

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"
)

// Node is what a routing decision has to know about a node.
type Node struct {
	Name string
	Zone string
	// Addrs are the addresses under which the node answers NodePorts.
	Addrs []netip.Addr
	// Labels are those of all nodes, by their names: topology keys compare them. The deciding node is one of them.
	Labels map[string]map[string]string
	// OwnPorts are ports on which the node itself answers at its addresses, such as the kubelet's API. No Pod gets one of
	// them as a hostPort there.
	OwnPorts []OwnPort
	// Silent are nodes that are known to answer nothing at present. Nothing new goes to their endpoints while there are others.
	Silent map[string]bool
}

// OwnPort is a port of the node itself.
type OwnPort struct {
	Port     uint16
	Protocol corev1.Protocol
}
