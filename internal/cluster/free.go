package cluster

import (
	"net/netip"
	"slices"

	"minato/internal/host"
)

// span are the ranges that are like a standard one but for one byte of the
// address, which is from low to high.
type span struct{ at, low, high int }

// candidates are the standard range and where else a free one is looked for: in
// the range's own span, the nearest first and those after it before those before
// it, and then in every range of RFC 1918.
func (r rule) candidates() []netip.Prefix {
	base := r.standard
	is := int(base.Addr().AsSlice()[r.others.at])
	out := slices.Concat(series(base, r.others.at, is, r.others.high), series(base, r.others.at, is-1, r.others.low))
	if base.Addr().Is4() {
		for _, more := range privateSpans {
			out = append(out, series(more.base, more.at, more.low, more.high)...)
		}
	}
	seen := map[netip.Prefix]bool{}
	return slices.DeleteFunc(out, func(p netip.Prefix) bool {
		again := seen[p]
		seen[p] = true
		return again
	})
}

// privateSpans are /16 ranges of RFC 1918.
var privateSpans = []struct {
	base netip.Prefix
	span
}{
	{netip.MustParsePrefix("172.16.0.0/16"), span{1, 16, 31}},
	{netip.MustParsePrefix("10.0.0.0/16"), span{1, 32, 255}},
	{netip.MustParsePrefix("192.168.0.0/16"), span{1, 168, 168}},
}

// series are the ranges that are like base but for one byte of the address, which
// goes from one value to another, up or down.
func series(base netip.Prefix, at, from, to int) []netip.Prefix {
	step := 1
	if to < from {
		step = -1
	}
	var out []netip.Prefix
	for v := from; v != to+step; v += step {
		b := base.Addr().AsSlice()
		b[at] = byte(v)
		a, _ := netip.AddrFromSlice(b)
		out = append(out, netip.PrefixFrom(a, base.Bits()))
	}
	return out
}

// taken is what the ranges of a cluster must keep clear of.
type taken struct {
	machine  []host.Used // addresses and routes
	clusters []Config    // the other clusters of the machine, up or down
	// resolvers are the machine's, which a default route may lead to.
	resolvers []netip.Addr
}

// free returns the first range for a purpose that meets nothing that is taken,
// and none of the ranges in beside.
func (t taken) free(r rule, beside []netip.Prefix) (netip.Prefix, bool) {
	for _, c := range r.candidates() {
		if !slices.ContainsFunc(beside, c.Overlaps) && !t.meets(c) {
			return c, true
		}
	}
	return netip.Prefix{}, false
}

func (t taken) meets(r netip.Prefix) bool {
	return slices.ContainsFunc(t.machine, func(u host.Used) bool { return u.Prefix.Overlaps(r) }) ||
		slices.ContainsFunc(t.clusters, func(c Config) bool { return slices.ContainsFunc(c.allRanges(), r.Overlaps) }) ||
		slices.ContainsFunc(t.resolvers, r.Contains)
}

// owner returns the other cluster that made a route or an address.
func (t taken) owner(u host.Used) *Config {
	for i := range t.clusters {
		c := &t.clusters[i]
		if u.Link == (Paths{Name: c.Name}).Bridge() || u.Link == "" && slices.Contains(c.allRanges(), u.Prefix) {
			return c
		}
	}
	return nil
}

// clashes names each range of the cluster c that the machine uses already, with
// what to do. known says that c has its ranges from an earlier start.
func (t taken) clashes(c Config, known bool) []clash {
	own := Paths{Name: c.Name}.Bridge()
	var out []clash
	for p := range purposes {
		for i, r := range *c.ranges(p) {
			for _, u := range t.machine {
				// What a killed server left of this very cluster is no obstacle.
				if u.Link == own || u.Link == "" && u.Prefix == r || !u.Prefix.Overlaps(r) {
					continue
				}
				x := clash{cluster: c.Name, purpose: p, mine: r, used: u, known: known}
				x.other = t.owner(u)
				x.free, _ = t.free(c.IPFamily.families()[i].rules[p], t.beside(c, p, i))
				out = append(out, x)
				break
			}
		}
	}
	return out
}

// beside are the ranges of the cluster in a family but those of one purpose.
func (t taken) beside(c Config, than purpose, family int) []netip.Prefix {
	var out []netip.Prefix
	for p := range purposes {
		if r := *c.ranges(p); p != than && family < len(r) {
			out = append(out, r[family])
		}
	}
	return out
}
