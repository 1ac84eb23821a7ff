package explain

import (
	"minato/internal/loadbalancer"
	"minato/internal/loadbalancer/show"
)

// LoadBalancers describes every Service of type LoadBalancer: what the
// controller decided about its addresses, and what the node decides about who
// announces them and who gets flows.
func LoadBalancers(controller *loadbalancer.Controller, node *loadbalancer.Node) ([]show.Service, error) {
	return node.Explain(controller.Snapshot())
}
