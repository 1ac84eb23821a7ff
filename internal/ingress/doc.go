// Package ingress has an Ingress work: Node is all that one node needs to serve the Ingresses of a cluster, and Controller is
// what a cluster has once: status, events, the classes and the Service through which clients come.
//
// A node's proxy is a process of its own, which outlives the server: Process starts it, or takes it over, and sends it the
// objects that Objects collects; Helper receives them there and has a Node. Alone in another cluster, a Node gets the objects
// from Objects directly.
//
//	informers ─ Objects ─┬──────────────────────────────► Node ─ nginx.Read ─ table.Builder ─► proxy
//	                     └─ Process ═ socket ═ Helper ─►
//
// The package decides nothing about requests; table does, and proxy does as it says. It may import client-go, the Kubernetes
// API types, host, and the pure package service/route, by which Services choose their endpoints.
package ingress
