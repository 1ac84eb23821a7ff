// Package balancer wires load balancing alone to a cluster that something else runs, in place of MetalLB: the process of
// every node announces addresses there, and one of them, which holds a Lease, also gives Services their addresses. The node
// is this machine, or the network namespace that the process runs in.
//
// It makes no decision about addresses. It may import packages loadbalancer and service and those below them, package
// foreign, host and client-go.
package balancer
