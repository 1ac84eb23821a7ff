package elect

import (
	"math/rand/v2"
	"reflect"
	"testing"
)

// FuzzViews gives two nodes the same view in different orders, and whatever names.
func FuzzViews(f *testing.F) {
	f.Add("n1", "n2", "web", uint64(7))
	f.Add("", "#", "a#b", uint64(0))
	f.Add("a", "a", "", uint64(1<<63))
	f.Fuzz(func(t *testing.T, first, second, name string, seed uint64) {
		w := randomWorld(rand.New(rand.NewPCG(seed, 3)))
		w.svc = named(w.svc, name)
		if first == second {
			second += "x"
		}
		// The names may repeat those that are there; then the node is one that occurs already.
		for _, n := range []string{first, second} {
			if !hasName(w.nodes, n) {
				w.nodes = append(w.nodes, Node{Name: n, Alive: true})
				w.svc.Serving[n] = true
			}
		}
		a, s := w.announce(), Spread(w.svc, w.nodes)
		for i, j := 0, len(w.nodes)-1; i < j; i, j = i+1, j-1 {
			w.nodes[i], w.nodes[j] = w.nodes[j], w.nodes[i]
		}
		if b := w.announce(); !reflect.DeepEqual(a, b) {
			t.Errorf("two views:\n%+v\n%+v", a, b)
		}
		if !reflect.DeepEqual(s, Spread(w.svc, w.nodes)) {
			t.Error("two spreadings")
		}
		if Yields(a, first, second) == Yields(a, second, first) {
			t.Errorf("%q and %q: both yield or none does", first, second)
		}
	})
}

func hasName(nodes []Node, name string) bool {
	for i := range nodes {
		if nodes[i].Name == name {
			return true
		}
	}
	return false
}
