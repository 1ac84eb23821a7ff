package cluster

import (
	"net/netip"
	"strings"
	"testing"

	"minato/internal/host"
)

func TestFreeRangesKeepClear(t *testing.T) {
	first := families(DualStack)
	first.Name = "first"
	office := []host.Used{{Prefix: netip.MustParsePrefix("172.31.4.0/22"), Link: "eth1"}, {Prefix: netip.MustParsePrefix("10.128.0.0/9"), Link: "tun0"}}
	for _, test := range []struct {
		name   string
		taken  taken
		beside []netip.Prefix
		family int
		p      purpose
		want   string // empty if there is none
	}{
		{"nothing is taken", taken{}, nil, 0, forLAN, "172.30.0.0/16"},
		{"the standard one is a cluster's", taken{clusters: []Config{first}}, nil, 0, forLAN, "172.31.0.0/16"},
		{"the next is the machine's", taken{machine: office, clusters: []Config{first}}, nil, 0, forLAN, "172.29.0.0/16"},
		{"Pods beside a cluster", taken{clusters: []Config{first}}, nil, 0, forPods, "10.245.0.0/16"},
		{"Pods beside a VPN that has all of 10", taken{machine: []host.Used{{Prefix: netip.MustParsePrefix("10.0.0.0/8"), Link: "tun0"}}}, nil, 0, forPods, "172.16.0.0/16"},
		{"none is free", taken{machine: []host.Used{{Prefix: netip.MustParsePrefix("10.0.0.0/8")}, {Prefix: netip.MustParsePrefix("172.16.0.0/12")}, {Prefix: netip.MustParsePrefix("192.168.7.0/24")}}}, nil, 0, forPods, ""},
		{"Services beside a cluster", taken{clusters: []Config{first}}, nil, 0, forServices, "10.97.0.0/16"},
		{"Services beside a range that was given", taken{}, []netip.Prefix{netip.MustParsePrefix("10.96.0.0/12")}, 0, forServices, "10.112.0.0/16"},
		{"the IPv6 LAN beside a cluster", taken{clusters: []Config{first}}, nil, 1, forLAN, "fd00:172:31::/64"},
		{"IPv6 Pods beside a cluster", taken{clusters: []Config{first}}, nil, 1, forPods, "fd00:10:245::/56"},
		{"IPv6 Services beside a cluster", taken{clusters: []Config{first}}, nil, 1, forServices, "fd00:10:97::/112"},
	} {
		got, ok := test.taken.free(DualStack.families()[test.family].rules[test.p], test.beside)
		if ok != (test.want != "") || ok && got != netip.MustParsePrefix(test.want) {
			t.Errorf("%s: free() = %v, %t; want %q", test.name, got, ok, test.want)
		}
	}
}

// Every candidate is a range that Validate takes, and there are several.
func TestCandidatesAreValid(t *testing.T) {
	for _, f := range DualStack.families() {
		for p := range purposes {
			all := f.rules[p].candidates()
			if len(all) < 16 || all[0] != f.rules[p].standard {
				t.Errorf("%s %s: %d candidates, of which the first is %s", f.name, flags[p], len(all), all[0])
			}
			seen := map[netip.Prefix]bool{}
			for _, r := range all {
				if err := f.rules[p].check(flags[p], r); err != nil || seen[r] || !r.Addr().IsPrivate() {
					t.Errorf("%s %s: candidate %s: %v, seen %t", f.name, flags[p], r, err, seen[r])
				}
				seen[r] = true
			}
		}
	}
}

func TestClashNamesTheClusterAndTheRemedy(t *testing.T) {
	first := DefaultConfig()
	c := DefaultConfig()
	c.Name = "second"
	bridge := host.Used{Prefix: netip.MustParsePrefix("10.244.1.0/24"), Link: "mn-minato"}
	for _, test := range []struct {
		name  string
		used  host.Used
		known bool
		want  string
	}{
		{"a cluster's", bridge, false,
			"--pod-cidr 10.244.0.0/16 overlaps 10.244.1.0/24 of the cluster \"minato\", which is up: leave --pod-cidr out, and `up` takes a free range; --pod-cidr 10.245.0.0/16 is free"},
		{"a cluster's, met by one that was there before", bridge, true,
			"end that one first with `minato down`, or make this one anew with another range: `minato delete --name second`, and then `minato up --name second` (--pod-cidr 10.245.0.0/16 is free)"},
		{"the machine's", host.Used{Prefix: netip.MustParsePrefix("10.244.7.0/24"), Link: "eth1"}, false,
			"overlaps 10.244.7.0/24, which this machine uses already (link eth1): leave --pod-cidr out"},
		{"the machine's, met by one that was there before", host.Used{Prefix: netip.MustParsePrefix("10.244.7.0/24")}, true,
			"(a route): take it away, or make this cluster anew"},
		{"no range is free", host.Used{Prefix: netip.MustParsePrefix("0.0.0.0/0"), Link: "eth1"}, false, "; choose another range with --lan-cidr"},
	} {
		found := taken{machine: []host.Used{test.used}, clusters: []Config{first}}.clashes(c, test.known)
		if len(found) == 0 || !strings.Contains(found[0].Error(), test.want) {
			t.Errorf("%s: %v; want %q", test.name, found, test.want)
		}
	}
}
