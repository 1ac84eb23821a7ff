package cluster

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Ranges are a cluster's addresses for one purpose: a range of each family,
// that of the primary one first. Their text is "10.244.0.0/16,fd00:10:244::/56".
type Ranges []netip.Prefix

// MarshalText implements encoding.TextMarshaler.
func (r Ranges) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (r *Ranges) UnmarshalText(text []byte) error {
	var out Ranges
	for part := range strings.SplitSeq(string(text), ",") {
		p, err := netip.ParsePrefix(strings.TrimSpace(part))
		if err != nil {
			return errors.New("give a range such as 10.10.0.0/16, or one of each family with a comma between")
		}
		out = append(out, p)
	}
	*r = out
	return nil
}

// String joins the ranges with commas.
func (r Ranges) String() string {
	parts := make([]string, 0, len(r))
	for _, p := range r {
		parts = append(parts, p.String())
	}
	return strings.Join(parts, ",")
}

// nth is the address number n of each range.
func (r Ranges) nth(n int) []netip.Addr {
	var out []netip.Addr
	for _, p := range r {
		out = append(out, nth(p.Addr(), n, p.Addr().BitLen()))
	}
	return out
}

// Set implements pflag.Value.
func (r *Ranges) Set(s string) error { return r.UnmarshalText([]byte(s)) }

// Type implements pflag.Value.
func (r *Ranges) Type() string { return "cidrs" }

// purpose is what ranges are for.
type purpose int

const (
	forLAN purpose = iota
	forPods
	forServices
	purposes
)

// flags are where the ranges of each purpose are given.
var flags = [purposes]string{"--lan-cidr", "--pod-cidr", "--service-cidr"}

// ranges are those of a purpose, to be read or changed.
func (c *Config) ranges(p purpose) *Ranges {
	return [purposes]*Ranges{&c.LAN, &c.PodCIDR, &c.ServiceCIDR}[p]
}

// allRanges are those of every purpose.
func (c *Config) allRanges() []netip.Prefix { return slices.Concat(c.LAN, c.PodCIDR, c.ServiceCIDR) }

// WithDefaultRanges fills in the ranges that are not given.
func (c Config) WithDefaultRanges() Config {
	for p := range purposes {
		if r := c.ranges(p); len(*r) == 0 {
			*r = c.IPFamily.defaults(p)
		}
	}
	return c
}

// validateRanges returns an error for the first range that is invalid.
func (c Config) validateRanges() error {
	if err := c.IPFamily.validate(); err != nil {
		return err
	}
	families := c.IPFamily.families()
	for p := range purposes {
		mine := *c.ranges(p)
		if err := c.IPFamily.match(p, mine); err != nil {
			return err
		}
		for i, f := range families {
			if err := f.rules[p].check(flags[p], mine[i]); err != nil {
				return err
			}
			for q := range p {
				if other := (*c.ranges(q))[i]; mine[i].Overlaps(other) {
					return fmt.Errorf("%s %s overlaps %s %s: give ranges that do not overlap", flags[p], mine[i], flags[q], other)
				}
			}
		}
	}
	for i, f := range families {
		r := c.PodCIDR[i]
		if room := 1<<(f.nodeBits-r.Bits()) - 1; c.lastNumber() > room {
			return fmt.Errorf("--pod-cidr %s: has room for %d nodes with a /%d each, and there are %d", r, room, f.nodeBits, c.lastNumber())
		}
	}
	return nil
}

// rule bounds the range of one purpose and IP family.
type rule struct {
	standard         netip.Prefix // where none is given
	largest, longest int          // bounds of the prefix's length
	others           span         // where else a free one is looked for
}

func (r rule) check(flag string, p netip.Prefix) error {
	switch {
	case p != p.Masked():
		return fmt.Errorf("%s %s: the range has bits set behind its length; did you mean %s?", flag, p, p.Masked())
	case p.Bits() > r.longest:
		return fmt.Errorf("%s %s: the range is too small; give a /%d or larger", flag, p, r.longest)
	case p.Bits() < r.largest:
		return fmt.Errorf("%s %s: the range is too large; give a /%d or smaller", flag, p, r.largest)
	}
	return nil
}

// nth adds n to the first bit bits of base, a whole number of bytes:
// nth(10.244.0.0, 3, 24) is 10.244.3.0.
func nth(base netip.Addr, n, bit int) netip.Addr {
	b := base.AsSlice()
	for i := bit/8 - 1; i >= 0 && n > 0; i-- {
		n += int(b[i])
		b[i] = byte(n)
		n >>= 8
	}
	out, _ := netip.AddrFromSlice(b)
	return out
}
