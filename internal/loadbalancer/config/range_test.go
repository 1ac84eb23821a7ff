package config

import (
	"net/netip"
	"strings"
	"testing"
)

func TestParseRange(t *testing.T) {
	for _, tc := range []struct{ text, first, last, err string }{
		{"192.0.2.0/28", "192.0.2.0", "192.0.2.15", ""},
		{"192.0.2.7/32", "192.0.2.7", "192.0.2.7", ""},
		{"0.0.0.0/0", "0.0.0.0", "255.255.255.255", ""},
		{"192.0.2.10/24", "192.0.2.0", "192.0.2.255", ""}, // host bits
		{"10.0.0.0/08", "10.0.0.0", "10.255.255.255", ""}, // what Go's net takes, MetalLB takes
		{"192.168.3.100-192.168.3.200", "192.168.3.100", "192.168.3.200", ""},
		{"192.168.3.100 - 192.168.3.200", "192.168.3.100", "192.168.3.200", ""},
		{" 192.168.3.100-192.168.3.200\t", "192.168.3.100", "192.168.3.200", ""},
		{"192.0.2.1-192.0.2.1", "192.0.2.1", "192.0.2.1", ""},
		{"2001:db8::/64", "2001:db8::", "2001:db8::ffff:ffff:ffff:ffff", ""},
		{"2001:db8::1/64", "2001:db8::", "2001:db8::ffff:ffff:ffff:ffff", ""},
		{"fd00::1-fd00::ff", "fd00::1", "fd00::ff", ""},
		{"::ffff:192.0.2.0/120", "192.0.2.0", "192.0.2.255", ""},
		{"::ffff:192.0.2.1-192.0.2.3", "192.0.2.1", "192.0.2.3", ""},

		{"192.168.3.200-192.168.3.100", "", "", "write the lower address first: 192.168.3.100-192.168.3.200"},
		{"192.0.2.1-fd00::1", "", "", "one IP family"},
		{"fd00::1-192.0.2.1", "", "", "one IP family"},
		{"192.0.2.1", "", "", "write 192.0.2.1/32"},
		{"fd00::1", "", "", "write fd00::1/128"},
		{"192.0.2.0/33", "", "", "neither a CIDR"},
		{"192.0.2/24", "", "", "neither a CIDR"},
		{"192.0.2.256/24", "", "", "neither a CIDR"},
		{"", "", "", "neither a CIDR"},
		{"-", "", "", `"" is not an IP address`},
		{"192.0.2.1-", "", "", `"" is not an IP address`},
		{"192.0.2.1-20", "", "", `"20" is not an IP address`},
		{"192.0.2.1-192.0.2.2-192.0.2.3", "", "", "is not an IP address"},
		{"192.0.2.0/28-192.0.2.20", "", "", `"192.0.2.0/28" is not an IP address`},
		{"192.0.02.1-192.0.2.2", "", "", "is not an IP address"},
		{"fe80::1%eth0-fe80::2%eth0", "", "", "without %eth0"},
		{"::/64", "", "", "IPv4 addresses in IPv6 form"},
		{"::1-fd00::1", "", "", "IPv4 addresses in IPv6 form"},
	} {
		r, err := ParseRange(tc.text)
		switch {
		case tc.err != "":
			if err == nil || !strings.Contains(err.Error(), tc.err) {
				t.Errorf("%q: got %v, error %v; want an error with %q", tc.text, r, err, tc.err)
			}
		case err != nil:
			t.Errorf("%q: %v", tc.text, err)
		case r.First != netip.MustParseAddr(tc.first) || r.Last != netip.MustParseAddr(tc.last):
			t.Errorf("%q is %v to %v, want %s to %s", tc.text, r.First, r.Last, tc.first, tc.last)
		}
	}
}

func TestRangeText(t *testing.T) {
	for text, want := range map[string]string{
		"192.0.2.10/24":               "192.0.2.0/24",
		"192.0.2.0-192.0.2.255":       "192.0.2.0/24",
		"192.0.2.1-192.0.2.1":         "192.0.2.1/32",
		"192.168.3.100-192.168.3.200": "192.168.3.100-192.168.3.200",
		"0.0.0.0-255.255.255.255":     "0.0.0.0/0",
		"fd00::-fd00::ffff":           "fd00::/112",
	} {
		if r, err := ParseRange(text); err != nil || r.String() != want {
			t.Errorf("%q is %v (%v), want %s", text, r, err, want)
		}
	}
}

func TestWidestBlock(t *testing.T) {
	for text, want := range map[string]int{
		"192.168.3.100-192.168.3.200": 26, // .128 to .191
		"192.0.2.1-192.0.2.2":         32,
		"192.0.2.1-192.0.2.254":       26,
		"192.0.2.0/24":                24,
		"0.0.0.0/0":                   0,
		"255.255.255.255/32":          32,
		"255.255.255.1-255.255.255.2": 32,
		"fd00::1-fd00::ffff":          113,
	} {
		if r, err := ParseRange(text); err != nil || r.widest() != want {
			t.Errorf("%q has /%d (%v), want /%d", text, r.widest(), err, want)
		}
	}
}
