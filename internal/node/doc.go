// Package node is the node agent: what the kubelet does, for one node.
//
// It registers the node and keeps its status and lease, runs the Pods that are
// bound to it through the CRI's Go interfaces, and serves the node's API on
// port 10250. Each of these is a package of its own below this one; here they
// are put together.
//
//	API server ── watch ──► pod.Manager ──► CRI (sandboxes, containers, images)
//	    ▲                     │   ▲
//	    └── report.Writer ◄───┘   └── container events, probe, object
//
// The agent knows nothing of how containers, Pod networks or Services are made.
// It may import internal/host for namespaces and mounts, client-go, the CRI,
// and upstream's small helpers; not the container runtime, which it is given.
package node
