package explain

import (
	"minato/internal/service"
	"minato/internal/service/show"
)

// Services describes every Service as the node serves it, in the order of the
// names: its frontends and endpoints, the reason for each endpoint, and the
// traffic so far.
func Services(name string, n *service.Node) ([]show.Service, error) {
	traffic, err := n.Data.Traffic()
	if err != nil {
		return nil, err
	}
	visits, err := n.Data.Visits()
	if err != nil {
		return nil, err
	}
	out := []show.Service{}
	for _, e := range n.Controller.Explain() {
		out = append(out, show.Describe(e.Service, name, n.Data.Holds(e.Service, e.Frontends), e.Why, traffic, visits))
	}
	return out, nil
}
