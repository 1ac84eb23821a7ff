package explain

import (
	"minato/internal/service"
	"minato/internal/service/show"
)

// Services tells what a node makes of every Service, in the order of their
// names: who is sent where, why, and how much came so far.
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
