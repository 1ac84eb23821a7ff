package route

import "net/netip"

// Node is what a routing decision has to know about a node.
type Node struct {
	Name string
	Zone string
	// Addrs are the addresses under which the node answers NodePorts.
	Addrs []netip.Addr
}
