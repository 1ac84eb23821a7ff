// Package dns is the cluster's DNS server. Every node runs one, so that a Pod is
// answered by its own node.
//
// A Store follows the API's Services, EndpointSlices and Namespaces and keeps
// the zone; one Store serves all nodes of a process. A Server answers on the
// sockets it is given, from the zone where the name is the cluster's and through
// the node's upstream resolvers where it is not. A Registration makes the
// kube-dns Service and this node's EndpointSlice, so that the cluster DNS address
// leads to the Server on the node that asks.
//
// A Node puts these together for one node, with the sockets in its network
// namespace, and is what a node is given.
//
// Package dns/zone alone decides how a question about the cluster's names is
// answered; this package receives questions, sends answers and asks upstream
// resolvers. It knows nothing of other features. It may import dns/zone, host,
// client-go, k8s.io/api and miekg/dns.
package dns
