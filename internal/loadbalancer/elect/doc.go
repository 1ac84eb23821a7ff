// Package elect decides who takes part in serving an address of a load balancer: which node announces it in layer 2,
// what each BGP peer is told by which node, and which nodes get its flows. Each decision carries its reasons.
//
// The package is pure: no clock, no I/O, no client, no kernel, and nothing that depends on the order of its input.
// Every node runs it on its own and must come to the same result, because nothing else keeps two nodes from answering
// for one address. It may import the standard library, the Kubernetes API types, and the packages config and route.
package elect
