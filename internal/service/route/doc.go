// Package route decides where Service traffic goes: from one Service, its EndpointSlices and the node that asks,
// it computes every frontend, the endpoints each frontend may use and what happens to each class of traffic.
//
// The package is pure: no clock, no I/O, no client, no kernel. It must stay so, because the same functions steer the
// traffic and explain it. It may import the standard library and the Kubernetes API types, nothing else.
package route
