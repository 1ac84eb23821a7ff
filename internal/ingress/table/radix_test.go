package table

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// The form of the structure depends on its keys alone, and older versions stay as they were.
func TestRadixAgainstMap(t *testing.T) {
	keys := []string{"/", "/f", "/fo", "/foo", "/foo/", "/foo/bar", "/food", "/b", "/ba/r", "/(x", "", "x"}
	for seed := range uint64(500) {
		r := rand.New(rand.NewPCG(seed, 2))
		want := map[string]*Route{}
		var x, old radix
		oldText, gen := "", uint64(1)
		for step := range 40 {
			k := keys[r.IntN(len(keys))]
			var v *Route
			if r.IntN(2) == 0 {
				v = &Route{Path: k}
				want[k] = v
			} else {
				delete(want, k)
			}
			x = x.update(gen, k, func(*place) *place { return one(v) })
			got := map[string]*Route{}
			x.all(func(k string, p *place) { got[k] = p.patterns[0].route })
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Fatalf("seed %d step %d: %v, want %v", seed, step, got, want)
			}
			var fresh radix
			for _, k := range keys {
				if want[k] != nil {
					fresh = fresh.update(1, k, func(*place) *place { return one(want[k]) })
				}
			}
			if a, b := shape(x.root), shape(fresh.root); len(want) > 0 && a != b {
				t.Fatalf("seed %d step %d: %s, made at once %s", seed, step, a, b)
			}
			if oldText != "" && shape(old.root) != oldText {
				t.Fatalf("seed %d step %d: an older version was changed", seed, step)
			}
			if r.IntN(3) == 0 {
				old, oldText = x, shape(x.root)
				gen++
			}
		}
	}
}

func shape(n *rnode) string {
	if n == nil {
		return ""
	}
	s := fmt.Sprintf("%q %v %q(", n.labelText(), n.place != nil, n.firsts())
	for _, k := range n.kids {
		s += shape(k)
	}
	return s + ")"
}

func one(r *Route) *place {
	if r == nil {
		return nil
	}
	return &place{patterns: []*pattern{{route: r}}}
}
