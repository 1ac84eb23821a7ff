// Package usage serves metrics.k8s.io: what nodes, Pods and containers use of
// CPUs and memory, for `kubectl top` and for autoscaling. It is what
// metrics-server is in other clusters, and like it asks the kubelet API of the
// nodes for it (/metrics/resource), as a user of its own.
//
// A rate is the difference of two samples of a node. Samples are taken while
// somebody asks: the one who asks first waits a second for the other sample. Of
// what has no two samples nothing is told, rather than zero.
//
// The package must not know how the API server is made, nor where nodes are. It
// may import the API's types and upstream's registry interfaces.
package usage
