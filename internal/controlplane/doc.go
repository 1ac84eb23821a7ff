// Package controlplane is a whole Kubernetes control plane in this process:
// etcd, API server, controllers and scheduler, connected in memory, with the
// keys and certificates that belong to one cluster.
//
// It must not know of nodes, networks or Services' data planes; those are
// clients like any other. It may import k8s.io/kubernetes freely.
package controlplane
