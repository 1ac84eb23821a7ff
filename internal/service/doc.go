// Package service keeps one node's Service data plane in step with the cluster: it watches Services, EndpointSlices and
// Nodes, computes what changed with package route and hands it to a data plane.
//
// It decides nothing about endpoints and knows nothing of the kernel. It may import client-go, package route and the
// Kubernetes API types; the data plane comes in as an interface.
package service
