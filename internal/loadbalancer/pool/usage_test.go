package pool

import (
	"math"
	"testing"

	"minato/internal/loadbalancer/config"
)

func TestUsage(t *testing.T) {
	pools := []config.Pool{
		pool("a", "10.0.0.0-10.0.1.255 fd00::-fd00::ffff:ffff:ffff:ffff", avoiding),
		pool("huge", "::1:0:0:0:0-::2:ffff:ffff:ffff:ffff ::3:0:0:0:0-::3:0:0:0:9 10.1.0.0-10.1.0.3"),
		pool("default", "10.0.0.250-10.0.2.9", own),
		pool("empty", ""),
	}
	services := []Service{
		svc("a", share("k"), asks("10.0.0.1")), svc("b", share("k"), port(81), asks("10.0.0.1")),
		svc("c", dual(require), asksPool("a")), svc("d", asks("10.0.2.9")), svc("e", asksPool("empty")),
	}
	l := NewLedger(pools)
	for _, s := range services {
		l.Set(s)
	}
	l.Settle()
	want := map[string]PoolUsage{
		"a": {
			AssignedIPv4: 2, AssignedIPv6: 1, AvailableIPv4: 506, AvailableIPv6: math.MaxInt64 - 1,
			TotalIPv4: 508, TotalIPv6: math.MaxInt64, Services: 3,
		},
		"huge":    {AvailableIPv4: 4, TotalIPv4: 4, AvailableIPv6: math.MaxInt64, TotalIPv6: math.MaxInt64},
		"default": {AssignedIPv4: 1, AvailableIPv4: 9, TotalIPv4: 10, Services: 1},
		"empty":   {},
	}
	got := l.Usage()
	for name, w := range want {
		if got[name] != w {
			t.Errorf("pool %s: got %+v, want %+v", name, got[name], w)
		}
	}
	if len(got) != len(want) {
		t.Errorf("usage of %d pools, want %d", len(got), len(want))
	}
}

func TestSize(t *testing.T) {
	for _, c := range []struct {
		ranges string
		avoid  bool
		want   int64
	}{
		{"0.0.0.0-255.255.255.255", false, 1 << 32},
		{"0.0.0.0-255.255.255.255", true, 1<<32 - 1<<25},
		{"10.0.0.255-10.0.1.0", true, 0},
		{"10.0.0.1-10.0.0.254", true, 254},
		{"10.0.0.0", true, 0},
		{"fd00::-fd00::7fff:ffff:ffff:fffd", false, math.MaxInt64 - 1},
		{"fd00::-fd00::7fff:ffff:ffff:fffe", false, math.MaxInt64},
		{"fd00::-fd00::7fff:ffff:ffff:ffff", false, math.MaxInt64},
		{"fd00::ffff:ffff:ffff:ffff-fd00:0:0:1::", false, 2},
		{"fd00::-fd00:0:0:1::", false, math.MaxInt64},
		{"fd00::ff-fd00::100", true, 2},
	} {
		p := pool("a", c.ranges)
		if got := size(p.Ranges[0], c.avoid); got != c.want {
			t.Errorf("%s, avoid %t: %d, want %d", c.ranges, c.avoid, got, c.want)
		}
	}
}

// Pools that overlap are refused by the configuration; should they come here all the same, an address has one owner.
func TestOverlap(t *testing.T) {
	check(t, []config.Pool{pool("b", "10.0.0.1-10.0.0.9"), pool("a", "10.0.0.3-10.0.0.4 10.0.0.4-10.0.0.5")},
		[]Service{
			svc("a"), svc("b"), svc("c"), svc("d"), svc("e", asksPool("b")), svc("f", asksPool("b"), asks("10.0.0.3")),
			svc("g", asks("10.0.0.9")),
		}, map[string]want{
			"a": allocated("a", "10.0.0.3"), "b": allocated("a", "10.0.0.4"), "c": allocated("a", "10.0.0.5"), "d": allocated("b", "10.0.0.1"),
			"e": allocated("b", "10.0.0.2"), "g": allocated("b", "10.0.0.9"),
			"f": failed("f", OtherPool, `requested loadBalancer IP(s) ["10.0.0.3"] is not compatible with requested address pool b`),
		})
	// Nonsense is left out.
	p := pool("a", "10.0.0.9-10.0.0.1 10.0.0.1-fd00::1 10.0.0.7")
	p.Ranges = append(p.Ranges, config.Range{})
	check(t, []config.Pool{p}, []Service{svc("a"), svc("b")}, map[string]want{
		"a": allocated("a", "10.0.0.7"), "b": failed("b", NoAvailableIPs, "no available IPs"),
	})
}
