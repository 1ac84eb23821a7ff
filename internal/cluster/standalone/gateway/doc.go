// Package gateway has `minato ingress` serve the Ingresses of a cluster that something else runs, in place of ingress-nginx:
// the proxy and the objects that it is made from in one process, and in one of these processes at a time what a cluster has
// once.
//
// It wires package ingress and decides nothing.
package gateway
