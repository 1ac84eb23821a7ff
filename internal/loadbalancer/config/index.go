package config

import (
	"cmp"
	"net/netip"
	"slices"
)

// index finds the ranges of pools that overlap a range, in logarithmic time.
type index struct {
	sorted []located // by first address
	// reach is, for each place, the range with the last address of all up to there.
	reach []located
}

// located is a range of a pool.
type located struct {
	Range
	pool string
}

func newIndex(pools []Pool) *index {
	x := new(index)
	for _, p := range pools {
		for _, r := range p.Ranges {
			if r.First.IsValid() {
				x.sorted = append(x.sorted, located{r, p.Name})
			}
		}
	}
	slices.SortStableFunc(x.sorted, func(a, b located) int { return a.First.Compare(b.First) })
	for i, l := range x.sorted {
		if i > 0 && x.reach[i-1].Last.Compare(l.Last) >= 0 {
			l = x.reach[i-1]
		}
		x.reach = append(x.reach, l)
	}
	return x
}

// insert adds the ranges of a pool, none of which may overlap another one or one that is in the index already.
func (x *index) insert(pool Pool) {
	for _, r := range pool.Ranges {
		n := x.after(r.First)
		l := located{r, pool.Name}
		x.sorted = slices.Insert(x.sorted, n, l)
		x.reach = slices.Insert(x.reach, n, l)
	}
}

// after returns how many ranges start at or before an address.
func (x *index) after(a netip.Addr) int {
	n, _ := slices.BinarySearchFunc(x.sorted, a, func(l located, a netip.Addr) int {
		if l.First.Compare(a) <= 0 {
			return -1
		}
		return 1
	})
	return n
}

// find returns a range that overlaps another one, if there is one. Addresses of IPv4 are before all those of IPv6.
func (x *index) find(r Range) (located, bool) {
	if !r.First.IsValid() {
		return located{}, false
	}
	n := x.after(r.Last)
	if n == 0 || !x.reach[n-1].Overlaps(r) {
		return located{}, false
	}
	return x.reach[n-1], true
}

// twice returns pairs of places, the lower one first, of ranges that overlap: one for each range that does.
func twice(ranges []Range) [][2]int {
	var order []int
	for i, r := range ranges {
		if r.First.IsValid() {
			order = append(order, i)
		}
	}
	slices.SortStableFunc(order, func(i, j int) int { return ranges[i].First.Compare(ranges[j].First) })
	var pairs [][2]int
	reach := -1 // of the ranges before, the one with the last address
	for _, i := range order {
		if reach >= 0 && ranges[i].Overlaps(ranges[reach]) {
			pairs = append(pairs, [2]int{min(i, reach), max(i, reach)})
		}
		if reach < 0 || ranges[reach].Last.Less(ranges[i].Last) {
			reach = i
		}
	}
	slices.SortFunc(pairs, func(a, b [2]int) int { return cmp.Or(cmp.Compare(a[1], b[1]), cmp.Compare(a[0], b[0])) })
	return pairs
}
