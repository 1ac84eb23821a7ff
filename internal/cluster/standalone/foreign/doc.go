// Package foreign has what the parts of Minato that run alone on one node share, in a cluster that something else runs:
// the connection to its API server, what the node is like, where a part keeps what outlives it in the kernel, and which of
// several processes leads. The node is this machine, or the network namespace that the process runs in.
//
// It knows none of the parts. It may import host and client-go.
package foreign
