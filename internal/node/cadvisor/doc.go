// Package cadvisor tells what a node, its Pods and their containers use under the
// names and labels of cAdvisor, which dashboards and rules for Prometheus ask a
// kubelet for at /metrics/cadvisor. Names, labels and units are those of
// cAdvisor's own collectors; the figures are this node's. Everything is read when
// somebody asks.
//
// A node is one of several on its machine, so the root that cAdvisor calls "/" is
// the node's cgroup, and the other ids are paths below it. There is no container
// that holds a Pod's network: what passed it is told of the Pod's cgroup.
//
// The package may import cAdvisor's types and collectors, package usage and host.
package cadvisor
