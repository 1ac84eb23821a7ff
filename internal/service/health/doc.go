// Package health answers at the healthCheckNodePorts of Services: an outside load balancer asks there whether this node
// has endpoints of its own, and sends it traffic only if so.
//
// It counts nothing itself: package route computes the checks. It may import package route and net/http; how a port is
// opened comes in as a function, because the node may be another network namespace.
package health
