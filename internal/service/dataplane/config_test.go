package dataplane

import (
	"net/netip"
	"strings"
	"testing"
)

func addrs(texts ...string) (out []netip.Addr) {
	for _, t := range texts {
		out = append(out, netip.MustParseAddr(t))
	}
	return out
}

func prefixes(texts ...string) (out []netip.Prefix) {
	for _, t := range texts {
		out = append(out, netip.MustParsePrefix(t))
	}
	return out
}

func TestConfigOfFamilies(t *testing.T) {
	for what, c := range map[string]struct {
		ips   []netip.Addr
		cidrs []netip.Prefix
		want  string // in the error; none if empty
	}{
		"IPv4":                       {addrs("172.30.0.11"), prefixes("10.96.0.0/16"), ""},
		"IPv6":                       {addrs("fd00:30::11"), prefixes("fd00:96::/108"), ""},
		"both":                       {addrs("172.30.0.11", "fd00:30::11"), prefixes("10.96.0.0/16", "fd00:96::/108"), ""},
		"a range without an address": {addrs("172.30.0.11"), prefixes("10.96.0.0/16", "fd00:96::/108"), "ServiceCIDRs has fd00:96::/108, but NodeIPs [172.30.0.11]"},
		"two of one family":          {addrs("fd00:30::11", "fd00:30::12"), nil, "two addresses of one family"},
		"no address at all":          {[]netip.Addr{{}}, nil, "NodeIPs has invalid IP"},
		"mapped":                     {addrs("::ffff:172.30.0.11"), nil, "NodeIPs has ::ffff:172.30.0.11"},
		"no range at all":            {addrs("172.30.0.11"), []netip.Prefix{{}}, "invalid range"},
	} {
		cfg := Config{NodeName: "n1", PinDir: "/none", NodeIPs: c.ips, ServiceCIDRs: c.cidrs}
		err := cfg.validate()
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", what, err, c.want)
		}
		if got, want := cfg.ipv6(), what == "IPv6" || what == "both"; c.want == "" && got != want {
			t.Errorf("%s: IPv6 %t", what, got)
		}
	}
}
