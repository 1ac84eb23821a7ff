package cluster

import (
	"fmt"
	"net/netip"
)

// IPFamily says which addresses a cluster has.
type IPFamily string

// The families of a cluster. In a dual-stack one IPv4 is the primary family:
// that of the API server's Service, and of Services that ask for none.
const (
	IPv4      IPFamily = "ipv4"
	IPv6      IPFamily = "ipv6"
	DualStack IPFamily = "dual"
)

// String implements pflag.Value.
func (f *IPFamily) String() string { return string(*f) }

// Type implements pflag.Value.
func (f *IPFamily) Type() string { return "family" }

// Set implements pflag.Value.
func (f *IPFamily) Set(s string) error {
	if len(IPFamily(s).families()) == 0 {
		return fmt.Errorf("give %s, %s or %s", IPv4, IPv6, DualStack)
	}
	*f = IPFamily(s)
	return nil
}

// Each node's share of the Pod range of a family.
const (
	nodeBitsIPv4 = 24
	nodeBitsIPv6 = 64
)

// family is one of the two IP families.
type family struct {
	name     string
	is6      bool
	nodeBits int
	loopback netip.Addr
	rules    [purposes]rule
}

// families lists those of f, the primary one first; none if f is not a valid
// IPFamily.
func (f IPFamily) families() []family {
	switch f {
	case IPv4:
		return []family{familyIPv4}
	case IPv6:
		return []family{familyIPv6}
	case DualStack:
		return []family{familyIPv4, familyIPv6}
	}
	return nil
}

// The IPv4 ranges of Pods and Services are kubeadm's; those of IPv6 are unique
// local ones that look like them.
var (
	familyIPv4 = family{
		name: "IPv4", nodeBits: nodeBitsIPv4, loopback: netip.AddrFrom4([4]byte{127, 0, 0, 1}),
		rules: [purposes]rule{
			forLAN:      {netip.MustParsePrefix("172.30.0.0/16"), 0, 24, span{1, 16, 31}}, // RFC 1918
			forPods:     {netip.MustParsePrefix("10.244.0.0/16"), 0, nodeBitsIPv4, span{1, 128, 255}},
			forServices: {netip.MustParsePrefix("10.96.0.0/16"), 0, 27, span{1, 64, 127}},
		},
	}
	familyIPv6 = family{
		name: "IPv6", is6: true, nodeBits: nodeBitsIPv6, loopback: netip.IPv6Loopback(),
		rules: [purposes]rule{
			forLAN: {netip.MustParsePrefix("fd00:172:30::/64"), 0, 120, span{5, 0, 255}},
			// The controller that allocates the nodes' shares numbers them with
			// 16 bits at most.
			forPods: {netip.MustParsePrefix("fd00:10:244::/56"), nodeBitsIPv6 - 16, nodeBitsIPv6, span{5, 0, 255}},
			// The bounds are those of upstream's API server.
			forServices: {netip.MustParsePrefix("fd00:10:96::/112"), 108, 123, span{5, 0, 255}},
		},
	}
)

func (f IPFamily) validate() error {
	if len(f.families()) == 0 {
		return fmt.Errorf("--ip-family %s: give %s, %s or %s", f, IPv4, IPv6, DualStack)
	}
	return nil
}

// has6 tells whether IPv6 is one of the families.
func (f IPFamily) has6() bool { return f == IPv6 || f == DualStack }

// defaults are the ranges that a purpose has where none are given.
func (f IPFamily) defaults(p purpose) Ranges {
	var out Ranges
	for _, f := range f.families() {
		out = append(out, f.rules[p].standard)
	}
	return out
}

// match tells whether the ranges are one of each family in the right order.
func (f IPFamily) match(p purpose, given Ranges) error {
	families := f.families()
	fits := len(given) == len(families)
	for i := range min(len(given), len(families)) {
		a := given[i].Addr()
		fits = fits && given[i].IsValid() && !a.Is4In6() && a.Is6() == families[i].is6
	}
	switch {
	case fits:
		return nil
	case f == DualStack && len(given) == 2 && given[0].Addr().Is6() && given[1].Addr().Is4():
		return fmt.Errorf("%s %s: IPv4 is the primary family of a dual-stack cluster; give its range first: %s,%s", flags[p], given, given[1], given[0])
	}
	wanted := "an IPv4 range and an IPv6 range"
	if len(families) == 1 {
		wanted = "one " + families[0].name + " range"
	}
	return fmt.Errorf("%s %s: give %s such as %s, or another --ip-family than %s", flags[p], given, wanted, f.defaults(p), f)
}
