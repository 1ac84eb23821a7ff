// Package probe asks the containers of a node how they are: readiness,
// liveness and startup probes by command, HTTP, TCP and gRPC.
//
// One goroutine serves one probe of one run of a container. It keeps the
// outcome and tells when it changes; what follows from it (restarts, the Pod's
// conditions) is decided elsewhere. It dials through a function it is given,
// from the node's network namespace. It may import API types and upstream's
// HTTP probe.
package probe
