package config

import (
	"math/big"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func FuzzParseRange(f *testing.F) {
	for _, s := range []string{
		"192.168.3.100-192.168.3.200", "192.0.2.0/28", "192.0.2.10/24", "2001:db8::/64", "fd00::1 - fd00::ff", "::ffff:192.0.2.0/120",
		"::/0", "0.0.0.0/0", "255.255.255.255/32", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128", "192.0.2.9-192.0.2.1", "192.0.2.1-fd00::1",
		"-", "1-", "fe80::1%e-fe80::2", "10.0.0.0/08", "",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := ParseRange(s)
		if err != nil {
			if err.Error() == "" || r != (Range{}) {
				t.Errorf("%q: error %q with %v", s, err, r)
			}
			return
		}
		checkRange(t, r)
		again, err := ParseRange(r.String())
		if err != nil || again != r {
			t.Errorf("%q is written %q, which is read as %v (%v)", s, r, again, err)
		}
		checkWidest(t, r)
	})
}

func checkRange(t *testing.T, r Range) {
	if !r.First.IsValid() || r.First.BitLen() != r.Last.BitLen() || r.Last.Less(r.First) || r.First.Is4In6() || r.Last.Is4In6() || r.First.Zone() != "" {
		t.Errorf("bad range from %v to %v", r.First, r.Last)
	}
	if !r.Contains(r.First) || !r.Contains(r.Last) || !r.Overlaps(r) {
		t.Errorf("%v is not in itself", r)
	}
}

// checkWidest compares the largest block with one found by arithmetic.
func checkWidest(t *testing.T, r Range) {
	number := func(a netip.Addr) *big.Int { return new(big.Int).SetBytes(a.AsSlice()) }
	first, last := number(r.First), number(r.Last)
	for bits := 0; bits <= r.First.BitLen(); bits++ {
		size := new(big.Int).Lsh(big.NewInt(1), uint(r.First.BitLen()-bits))
		start := new(big.Int).Add(first, new(big.Int).Sub(size, big.NewInt(1)))
		start.Div(start, size).Mul(start, size) // rounded up
		end := new(big.Int).Add(start, new(big.Int).Sub(size, big.NewInt(1)))
		if end.Cmp(last) <= 0 {
			if got := r.widest(); got != bits {
				t.Errorf("%v has a block /%d, not /%d", r, bits, got)
			}
			return
		}
	}
	t.Errorf("%v has no block", r)
}

func FuzzConfigMap(f *testing.F) {
	for _, s := range []string{
		everyKey, "", "a", "[]", "{}", "---\n", "address-pools: null", "peers: [null]", "peers: [{my-asn: -1}]", "bgp-communities: {1: 2}",
		"a: &a [*a]", "a: &a b\nb: *a", "address-pools:\n- {name: n, protocol: layer2, addresses: [10.0.0.0/8, 10.0.0.1-10.0.0.2]}",
		"address-pools: [{name: x, protocol: bgp, addresses: ['::/96']}, {<<: {name: y}}]", "peers: [{my-asn: 0x10, peer-asn: 1_0, peer-address: 1.2.3.4, hold-time: 1e3}]",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		o := Objects{ConfigMap: &text}
		c := Read(o)
		if diff := cmp.Diff(c, Read(o), exact); diff != "" {
			t.Errorf("read twice with different results:\n%s", diff)
		}
		for _, p := range c.Problems {
			if p.Object != configMapObject || p.Field == "" || p.Message == "" {
				t.Errorf("problem %+v", p)
			}
		}
		var all []Range
		names := map[string]bool{}
		for _, p := range c.Pools {
			if p.Name == "" || names[p.Name] || len(p.Ranges) == 0 {
				t.Errorf("bad pool %+v", p)
			}
			names[p.Name] = true
			for _, r := range p.Ranges {
				checkRange(t, r)
				for _, o := range all {
					if r.Overlaps(o) {
						t.Errorf("%v overlaps %v", r, o)
					}
				}
				all = append(all, r)
			}
		}
		for _, p := range c.Peers {
			if p.Name == "" || p.MyASN == 0 || p.PeerASN == 0 || p.Port == 0 || !p.Address.IsValid() || p.KeepaliveTime > p.HoldTime {
				t.Errorf("bad peer %+v", p)
			}
		}
		for _, a := range c.BGP {
			if a.AggregationLength < 1 || a.AggregationLength > 32 || a.AggregationLengthV6 < 0 || a.AggregationLengthV6 > 128 {
				t.Errorf("bad advertisement %+v", a)
			}
		}
	})
}
