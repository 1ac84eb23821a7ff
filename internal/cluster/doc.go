// Package cluster starts, stops and describes a whole cluster on this
// machine: a control plane, a LAN of network-namespace nodes, and on each
// node an agent, a runtime, a Service data plane and a DNS server.
//
// It is wiring only. What the parts do is decided in their own packages, and
// cluster is the one place that knows them all. Two processes use it: the
// command line (Up, Down, Delete, Status) and the server in the background
// (Server), which meet over a socket and files under the run directory.
package cluster
