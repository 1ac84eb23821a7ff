// Package packed keeps the cluster's Services and EndpointSlices for a process that has nobody else to share them with:
// of each object only what decides about traffic, and that in the few bytes of its wire format, which are unpacked when
// somebody asks.
//
// It decides nothing. It may import client-go, the Kubernetes API types, and packages service and route.
package packed
