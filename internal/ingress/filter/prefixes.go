package filter

import (
	"cmp"
	"encoding/binary"
	"net/netip"
	"slices"
	"sync/atomic"
	"unsafe"
)

// few is how many prefixes are looked at one after the other: that is as fast as a search then.
const few = 3

// prefixes finds addresses in lists of prefixes. What it makes of a long list it keeps, for a bounded number of lists.
type prefixes struct {
	slots [512]atomic.Pointer[ranges]
}

// contains tells whether a list has the address. It does not change the list, which must not change later.
func (c *prefixes) contains(list []netip.Prefix, a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	if len(list) > few {
		return c.ranges(list).contains(a)
	}
	for i := range list {
		if unmapped(list[i]).Contains(a) {
			return true
		}
	}
	return false
}

// ranges returns what was made of a list. The list's address is its identity: ranges keep the list, so that another one
// can't have the address.
func (c *prefixes) ranges(list []netip.Prefix) *ranges {
	first := unsafe.SliceData(list)
	h := uint64(uintptr(unsafe.Pointer(first))) * 0x9e3779b97f4a7c15 >> 32
	// Two places for each list, so that two lists in use don't drive each other out.
	a, b := &c.slots[h%512], &c.slots[h/512%512]
	r := a.Load()
	if r.of(first, len(list)) {
		return r
	}
	if s := b.Load(); s.of(first, len(list)) {
		return s
	}
	made := makeRanges(list)
	if r != nil {
		b.Store(r)
	}
	a.Store(made)
	return made
}

// ranges are prefixes as ranges of addresses that neither overlap nor touch, sorted.
type ranges struct {
	list []netip.Prefix
	v4   []range4
	v6   []range6
}

type range4 struct{ from, to uint32 }

type range6 struct{ from, to uint128 }

type uint128 struct{ hi, lo uint64 }

func (a uint128) compare(b uint128) int {
	return cmp.Or(cmp.Compare(a.hi, b.hi), cmp.Compare(a.lo, b.lo))
}

func (r *ranges) of(first *netip.Prefix, n int) bool {
	return r != nil && len(r.list) == n && unsafe.SliceData(r.list) == first
}

func unmapped(p netip.Prefix) netip.Prefix {
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		return netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p
}

func makeRanges(list []netip.Prefix) *ranges {
	r := &ranges{list: list}
	for _, p := range list {
		p = unmapped(p)
		switch {
		case !p.IsValid():
		case p.Addr().Is4():
			from := ofAddr4(p.Masked().Addr())
			r.v4 = append(r.v4, range4{from, from | uint32(uint64(1)<<(32-p.Bits())-1)})
		default:
			from := ofAddr6(p.Masked().Addr())
			to := from
			if bits := p.Bits(); bits <= 64 {
				to.hi |= ^uint64(0) >> bits
				to.lo = ^uint64(0)
			} else {
				to.lo |= ^uint64(0) >> (bits - 64)
			}
			r.v6 = append(r.v6, range6{from, to})
		}
	}
	// Prefixes nest or are apart: those within another one go.
	slices.SortFunc(r.v4, func(a, b range4) int { return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(b.to, a.to)) })
	r.v4 = compactRanges(r.v4, func(a, b range4) bool { return b.to <= a.to })
	slices.SortFunc(r.v6, func(a, b range6) int { return cmp.Or(a.from.compare(b.from), b.to.compare(a.to)) })
	r.v6 = compactRanges(r.v6, func(a, b range6) bool { return b.to.compare(a.to) <= 0 })
	return r
}

func compactRanges[T any](list []T, within func(a, b T) bool) []T {
	n := 0
	for i := range list {
		if i > 0 && within(list[n-1], list[i]) {
			continue
		}
		list[n] = list[i]
		n++
	}
	return list[:n]
}

func ofAddr4(a netip.Addr) uint32 {
	b := a.As4()
	return binary.BigEndian.Uint32(b[:])
}

func ofAddr6(a netip.Addr) uint128 {
	b := a.As16()
	return uint128{binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])}
}

func (r *ranges) contains(a netip.Addr) bool {
	switch {
	case a.Is4():
		v := ofAddr4(a)
		// The last range that begins at the address or before it.
		i, j := 0, len(r.v4)
		for i < j {
			if m := (i + j) / 2; r.v4[m].from <= v {
				i = m + 1
			} else {
				j = m
			}
		}
		return i > 0 && v <= r.v4[i-1].to
	case a.Is6():
		v := ofAddr6(a)
		i, j := 0, len(r.v6)
		for i < j {
			if m := (i + j) / 2; r.v6[m].from.compare(v) <= 0 {
				i = m + 1
			} else {
				j = m
			}
		}
		return i > 0 && v.compare(r.v6[i-1].to) <= 0
	default:
		return false
	}
}
