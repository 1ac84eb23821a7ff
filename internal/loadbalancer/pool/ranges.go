package pool

import (
	"encoding/binary"
	"math"
	"math/bits"
	"net/netip"

	"minato/internal/loadbalancer/config"
)

// subtract returns what of the ranges is in none of the taken ones, in the same order.
func subtract(ranges, taken []config.Range) []config.Range {
	for _, t := range taken {
		var left []config.Range
		for _, r := range ranges {
			if !r.Overlaps(t) {
				left = append(left, r)
				continue
			}
			if r.First.Less(t.First) {
				left = append(left, config.Range{First: r.First, Last: t.First.Prev()})
			}
			if t.Last.Less(r.Last) {
				left = append(left, config.Range{First: t.Last.Next(), Last: r.Last})
			}
		}
		ranges = left
	}
	return ranges
}

// buggy tells whether equipment may take an address for that of a network or for its broadcast address.
func buggy(a netip.Addr) bool {
	if !a.Is4() {
		return false
	}
	last := a.As4()[3]
	return last == 0 || last == 255
}

// size is the number of addresses in a range, the largest int64 if it is larger.
func size(r config.Range, avoidBuggy bool) int64 {
	if r.First.Is4() {
		first, last := v4(r.First), v4(r.Last)
		n := last - first + 1
		if avoidBuggy {
			n -= buggyBelow(last+1) - buggyBelow(first)
		}
		return n
	}
	first, last := r.First.As16(), r.Last.As16()
	low, borrow := bits.Sub64(binary.BigEndian.Uint64(last[8:]), binary.BigEndian.Uint64(first[8:]), 0)
	high, _ := bits.Sub64(binary.BigEndian.Uint64(last[:8]), binary.BigEndian.Uint64(first[:8]), borrow)
	if high > 0 || low >= math.MaxInt64 {
		return math.MaxInt64
	}
	return int64(low) + 1
}

func v4(a netip.Addr) int64 {
	b := a.As4()
	return int64(binary.BigEndian.Uint32(b[:]))
}

// buggyBelow counts the IPv4 addresses below n that end in .0 or .255.
func buggyBelow(n int64) int64 { return (n+255)/256 + n/256 }

// saturating adds two numbers that aren't negative.
func saturating(a, b int64) int64 {
	if a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}
