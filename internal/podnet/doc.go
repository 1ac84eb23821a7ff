// Package podnet gives Pods their network: an interface each, an address of
// every IP family that the cluster has, and routes between nodes.
//
// A Pod is connected by a routed veth pair: its address is a /32 or /128, the
// node has one host route per address, and there is no bridge, ARP or neighbour
// discovery in between. Nodes reach each other's Pods by plain routes over the
// LAN, without encapsulation, so a Pod's MTU is the LAN's. The package does
// nothing about Services or NetworkPolicies.
//
// It may import host and client-go.
package podnet
