package explain

import (
	"minato/internal/loadbalancer"
	"minato/internal/loadbalancer/show"
)

// LoadBalancers describes every Service of type LoadBalancer: what the
// controller decided about its addresses, and what the node decides about who
// announces them and who gets flows. others are all nodes whose sessions with
// BGP peers are known.
func LoadBalancers(controller *loadbalancer.Controller, node *loadbalancer.Node, others []*loadbalancer.Node) ([]show.Service, error) {
	var sessions []show.Session
	for _, n := range others {
		sessions = append(sessions, n.Sessions()...)
	}
	return node.Explain(controller.Snapshot(), sessions...)
}
