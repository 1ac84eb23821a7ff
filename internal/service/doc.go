// Package service keeps one node's Service data plane in step with the cluster: it watches Services, EndpointSlices and
// Nodes, computes what changed with package route and hands it to a data plane.
//
// Where Services and EndpointSlices are kept is behind an interface: Informed takes them from informers that others use
// too, package packed keeps them for this use alone.
//
// It decides nothing about endpoints and knows nothing of the kernel. It may import client-go, package route and the
// Kubernetes API types; the data plane comes in as an interface.
package service
