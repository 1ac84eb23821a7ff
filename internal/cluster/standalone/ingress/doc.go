// Package ingress wires the ingress alone to a cluster that something else runs, in place of ingress-nginx and with its
// flags: each process follows the cluster and serves its Ingresses, and one of them, which holds a Lease, writes their status
// and tells of them in events.
//
// It decides nothing about requests. It may import packages ingress and loadbalancer, whose recorder writes the events,
// and those below them, package foreign, host and client-go.
package ingress
