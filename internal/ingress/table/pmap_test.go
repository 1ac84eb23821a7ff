package table

import (
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"testing"
)

// The map is the same as Go's over random edits, and older versions stay as they were.
func TestPmapAgainstMap(t *testing.T) {
	seed := maphash.MakeSeed()
	for s := range uint64(20) {
		r := rand.New(rand.NewPCG(s, 3))
		m, want := newPmap[int](seed), map[string]int{}
		gen := uint64(1)
		type version struct {
			m    pmap[int]
			text string
		}
		var old []version
		text := func(m pmap[int]) string {
			all := map[string]int{}
			m.all(func(k string, v *int) { all[k] = *v })
			return fmt.Sprint(m.len, all)
		}
		// It grows first, then it shrinks.
		for step := range 3000 {
			k := fmt.Sprint(r.IntN(700))
			if r.IntN(3000) > step {
				m, want[k] = m.set(gen, k, &step), step
			} else {
				m = m.del(gen, k)
				delete(want, k)
			}
			if v, ok := want[k]; ok != (m.get(k) != nil) || ok && *m.get(k) != v {
				t.Fatalf("step %d: %s is %v, want %v", step, k, m.get(k), v)
			}
			if m.len != len(want) {
				t.Fatalf("step %d: %d entries, want %d", step, m.len, len(want))
			}
			if r.IntN(200) == 0 {
				old = append(old, version{m, text(m)})
				gen++
			}
		}
		if text(m) != fmt.Sprint(len(want), want) {
			t.Fatalf("the entries are others than those of a map")
		}
		for _, o := range old {
			if text(o.m) != o.text {
				t.Fatal("an older version was changed")
			}
		}
	}
}
