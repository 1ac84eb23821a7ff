// Package apiserver assembles Kubernetes' own API server inside this process:
// upstream's options, registries, admission, authentication, authorization,
// CRDs and aggregation, with everything that waits or works without need at
// start replaced or put off.
//
// What is ours: the connection upstream's internal clients use (package
// memory instead of TLS over loopback), one server on several listeners,
// bootstrap hooks that write upstream's own policy, and that of Minato's parts,
// at once instead of polling, MetalLB's kinds, and admission that says what this
// cluster's nodes do not do and refuses bad configurations of load balancing.
//
// The package must not own etcd, keys or the controllers. It may import
// k8s.io/kubernetes and its staging modules, the sibling packages access, compat,
// memory and pki, and the pure packages of load balancing.
package apiserver
