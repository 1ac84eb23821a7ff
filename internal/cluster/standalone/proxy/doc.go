// Package proxy wires the Service data plane alone to one node of a cluster that something else runs, in place of
// kube-proxy: the node is this machine, or the network namespace that the process runs in.
//
// It makes no decision about Services and no interface of a Pod. It may import package service and those below it,
// package foreign, host and client-go.
package proxy
