// Package metrics gives out figures about a node's Service data plane for Prometheus, and whether it is healthy, at the
// ports where other clusters have those of kube-proxy, and under its names where they mean the same.
//
// It counts nothing that the kernel counts already. It may import package dataplane, the Prometheus client and net/http.
package metrics
