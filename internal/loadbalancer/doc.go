// Package loadbalancer gives Services of type LoadBalancer their addresses and announces these to the network.
//
// A Controller, one in a cluster, decides by the pure package pool which address each Service gets, and alone writes that
// to the API: status, finalizer, events, and the status of the objects that configure it. Settings follows those objects,
// once in a process, and is shared by the Controller and by the parts of every node.
//
// The package may use client-go. It must not know other features: it meets them through API objects.
package loadbalancer
