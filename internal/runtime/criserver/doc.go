// Package criserver serves the CRI, version 1, on a unix socket of a node: its
// RuntimeService and its ImageService, so that crictl and whatever else speaks
// the CRI works with the runtime that the node's agent calls in process.
//
// Only root may connect. Streams (exec, attach, port-forward) go, as the CRI has
// it, by a URL with a token that is good for one request and for a minute. It
// leads to the loopback interface of the network namespace that the client is
// in, if that is the node's, and else to this process's.
//
// The package decides nothing about containers: it translates messages, and
// errors to gRPC's codes. It may import host, the packages of the runtime, gRPC
// and the CRI's types and streaming server.
package criserver
