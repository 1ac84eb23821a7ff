// Package service keeps one node's Service data plane in step with the cluster: it watches Services, EndpointSlices and
// Nodes, computes what changed with package route and hands it to a data plane.
//
// Where Services and EndpointSlices are kept is behind an interface: Informed takes them from informers that others use
// too, package packed keeps them for this use alone.
//
// The controller decides nothing about endpoints and knows nothing of the kernel: the data plane comes in as an
// interface. Node puts it together with everything else that one node's Services need, and is what a node is given. The
// package may import client-go, host, its own packages and the Kubernetes API types.
package service
