package config

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
)

// mapped are the IPv6 forms of IPv4 addresses.
var mapped = Range{netip.MustParseAddr("::ffff:0:0"), netip.MustParseAddr("::ffff:ffff:ffff")}

// ParseRange reads a CIDR, or a range as in 192.0.2.10-192.0.2.20 with or without spaces around the hyphen. Of a CIDR
// with host bits set, as in 192.0.2.10/24, it takes the whole network, as MetalLB does.
func ParseRange(s string) (Range, error) {
	var r Range
	var err error
	if first, last, ok := strings.Cut(s, "-"); ok {
		r, err = parseEnds(s, first, last)
	} else {
		r, err = parseCIDR(s)
	}
	if err != nil {
		return Range{}, err
	}
	if r.Overlaps(mapped) {
		return Range{}, fmt.Errorf("%q has IPv4 addresses in IPv6 form; write them as IPv4", s)
	}
	return r, nil
}

func parseEnds(s, first, last string) (Range, error) {
	var ends [2]netip.Addr
	for i, text := range []string{first, last} {
		addr, err := parseAddr(strings.TrimSpace(text))
		if err != nil {
			return Range{}, fmt.Errorf("range %q: %w", s, err)
		}
		ends[i] = addr
	}
	r := Range{ends[0], ends[1]}
	if r.First.BitLen() != r.Last.BitLen() {
		return Range{}, fmt.Errorf("range %q starts with an address of one IP family and ends with one of the other; use two ranges", s)
	}
	if r.Last.Less(r.First) {
		return Range{}, fmt.Errorf("range %q ends before it starts; write the lower address first: %v-%v", s, r.Last, r.First)
	}
	return r, nil
}

func parseCIDR(s string) (Range, error) {
	text := strings.TrimSpace(s)
	_, network, err := net.ParseCIDR(text) // unlike netip, it takes /08
	if err != nil {
		if addr, err := parseAddr(text); err == nil {
			return Range{}, fmt.Errorf("%q is a single address; write %v/%d", s, addr, addr.BitLen())
		}
		return Range{}, fmt.Errorf("%q is neither a CIDR such as 192.0.2.0/28 nor a range such as 192.0.2.10-192.0.2.20", s)
	}
	ones, _ := network.Mask.Size()
	addr, _ := netip.AddrFromSlice(network.IP)
	if addr.Is4In6() && ones >= 96 {
		addr, ones = addr.Unmap(), ones-96
	}
	prefix := netip.PrefixFrom(addr, ones)
	return Range{prefix.Addr(), lastOf(prefix)}, nil
}

// parseAddr reads an address without a zone; IPv4 in IPv6 form becomes IPv4.
func parseAddr(s string) (netip.Addr, error) {
	addr, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("%q is not an IP address", s)
	}
	if addr.Zone() != "" {
		return netip.Addr{}, fmt.Errorf("%q has a zone; write the address without %%%s", s, addr.Zone())
	}
	return addr.Unmap(), nil
}

// lastOf returns the last address of a masked prefix.
func lastOf(prefix netip.Prefix) netip.Addr {
	b := prefix.Addr().AsSlice()
	for i := prefix.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	addr, _ := netip.AddrFromSlice(b)
	return addr
}

// String returns the range in a form that ParseRange reads: a CIDR if there is one for it.
func (r Range) String() string {
	if !r.First.IsValid() {
		return "invalid range"
	}
	if bits := r.widest(); netip.PrefixFrom(r.First, bits).Masked().Addr() == r.First {
		if prefix := netip.PrefixFrom(r.First, bits); lastOf(prefix) == r.Last {
			return prefix.String()
		}
	}
	return r.First.String() + "-" + r.Last.String()
}

// widest returns the length of the shortest prefix, the largest block, that lies within the range.
func (r Range) widest() int {
	for bits := range r.First.BitLen() {
		prefix := netip.PrefixFrom(r.First, bits).Masked()
		if prefix.Addr() != r.First { // the first block that starts in the range
			next := lastOf(prefix).Next()
			if !next.IsValid() {
				continue
			}
			prefix = netip.PrefixFrom(next, bits)
		}
		if lastOf(prefix).Compare(r.Last) <= 0 {
			return bits
		}
	}
	return r.First.BitLen()
}
