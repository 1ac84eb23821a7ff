// Package allocation keeps what a node has granted each of its Pods, and what
// of that has been put into effect while the Pods ran, across restarts of the
// server.
//
// There is one small file for each Pod. It is replaced as a whole, so that a
// server that is killed leaves the old record or the new one. A record that is
// lost with the machine's power is made anew from the status that the API server
// has. The package decides nothing: who grants what is node/admit's and
// node/pod's affair. It may import host and node/spec.
package allocation
