// Package loadbalancer gives Services of type LoadBalancer their addresses and announces these to the network.
//
// A Controller, one in a cluster, decides by the pure package pool which address each Service gets, and alone writes that
// to the API: status, finalizer, events, and the status of the objects that configure it. Settings follows those objects,
// once in a process, and is shared by the Controller and by the parts of every node.
//
// A Node, one on each node, decides by the pure package elect what its node does, and has package announce do that at the
// node's uplinks: it answers for addresses and hands flows on to where the endpoints are. Every node decides for itself,
// from the same objects and from what it hears of the others. Beside that, it has a speaker of package bgp tell routers what
// is theirs to know; the one never waits for the other. Reports, one in a process, writes the objects that tell who
// announces what.
//
// The package may use client-go. It must not know other features: it meets them through API objects.
package loadbalancer
