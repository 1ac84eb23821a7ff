// Package bgp announces the addresses of Services to BGP routers.
//
// Plan turns the configuration and the addresses that a node announces into a State: the node's peers, and the routes
// for each of them. A Speaker makes the peers know that State, and tells how the sessions stand. There are two: Local
// speaks BGP in this process, with gobgp's library, and Process has a process of its own do it, a Helper, for a node
// that is a network namespace: the library opens its sockets on goroutines of its own, so a thread that has entered the
// namespace would not be enough.
//
// A speaker only dials. It needs no port that a router on the same machine may have, and what a peer announces to it is
// dropped.
//
// The package knows no Kubernetes client, and imports nothing of Minato but host and the model of the configuration.
package bgp
