// Package cluster starts, stops and describes a whole cluster on this
// machine: a control plane, a LAN of network-namespace nodes, and on each
// node an agent, a runtime, a Service data plane and a DNS server.
//
// It is wiring only: the control plane and the members, which are the nodes, do
// the work, and cluster puts them together on one machine. Two processes use it: the
// command line (Up, Down, Delete, Status) and the server in the background
// (Server), which meet over a socket and files under the run directory.
package cluster
