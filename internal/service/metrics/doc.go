// Package metrics serves the Prometheus metrics and the health of a node's Service data plane, at the ports of kube-proxy and
// with the names of its metrics where they mean the same.
//
// It counts nothing that the kernel counts already. It may import package dataplane, the Prometheus client and net/http.
package metrics
