package main

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const sample = `[{"PreRunStats":{"SpecsThatWillRun":COUNT},"SpecReports":[
 {"LeafNodeType":"It","LeafNodeText":"b","ContainerHierarchyTexts":["[sig-network] LoadBalancers"],"State":"passed","NumAttempts":1,"RunTime":1500000000},
 {"LeafNodeType":"It","LeafNodeText":"a","ContainerHierarchyTexts":["[sig-network] LoadBalancers"],"State":"failed","NumAttempts":1,"Failure":{"Message":"no address\nmore"}},
 {"LeafNodeType":"It","LeafNodeText":"[sig-node] c","ContainerHierarchyTexts":null,"State":"skipped","NumAttempts":1,"Failure":{"Message":"one node only"}},
 {"LeafNodeType":"It","LeafNodeText":"not asked for","State":"skipped","NumAttempts":0},
 {"LeafNodeType":"SynchronizedBeforeSuite","State":"STATE"}]}]`

func TestReport(t *testing.T) {
	for _, c := range []struct{ before, count, closing, err string }{
		{"passed", "3", "\n1 passed, 1 failed, 1 skipped\n", "1 specs failed"},
		{"failed", "3", "\n1 passed, 2 failed, 1 skipped\n", "2 specs failed"},
		{"passed", "5", "\n1 passed, 1 failed, 1 skipped\n", "the run ended before 2 of the specs were come to, and 1 failed"},
	} {
		path := filepath.Join(t.TempDir(), "report.json")
		text := strings.NewReplacer("STATE", c.before, "COUNT", c.count).Replace(sample)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		r, err := readReport(path)
		if err != nil {
			t.Fatal(err)
		}
		var out strings.Builder
		r.printSpecs(&out)
		if err := r.printSums(&out); err == nil || err.Error() != c.err {
			t.Errorf("%q, not %q", err, c.err)
		}
		text = out.String()
		for _, want := range []string{
			"passed       1.5 s  [sig-network] LoadBalancers b\n", " LoadBalancers a\n          no address\n", "          one node only\n", c.closing,
			"\nsig-network                    1       1       0\nsig-node                       0       0       1\n",
		} {
			if !strings.Contains(text, want) {
				t.Errorf("the report lacks %q:\n%s", want, text)
			}
		}
		if strings.Contains(text, "not asked for") || strings.Index(text, " a\n") > strings.Index(text, " b\n") {
			t.Errorf("specs that did not run, or no order:\n%s", text)
		}
	}
	if err := (report{}).printSums(&strings.Builder{}); err == nil {
		t.Error("a run without specs is no error")
	}
	good := report{SpecReports: []spec{{LeafNodeType: "It", State: "passed", NumAttempts: 1}}}
	if err := good.with(good).printSums(&strings.Builder{}); err != nil {
		t.Error(err)
	}
}

func TestClientIsOutside(t *testing.T) {
	for lan, outside := range map[string]bool{
		"172.29.0.0/16": true, "203.0.113.0/24": false, "203.0.200.0/24": false, "203.1.0.0/16": true,
		"fd00:172:29::/64": true, "2001:db8:c::/80": false, "2001:db8:d::/64": true, "2001:db8::/32": false,
	} {
		if err := outsideOf(netip.MustParsePrefix(lan)); (err == nil) != outside {
			t.Errorf("%s: %v", lan, err)
		}
	}
}

func TestClientsRangeIsUnused(t *testing.T) {
	addr := func(text string) net.Addr {
		ip, n, err := net.ParseCIDR(text)
		if err != nil {
			t.Fatal(err)
		}
		n.IP = ip
		return n
	}
	if n, err := unused([]net.Addr{addr("127.0.0.1/8"), addr("192.0.2.2/24"), addr("fe80::1/64"), addr("203.0.113.129/25")}); n != 0 || err != nil {
		t.Error(n, err)
	}
	for _, taken := range []string{"203.0.113.1/30", "2001:db8:c::1/64"} {
		if n, err := unused([]net.Addr{addr(taken)}); n != 1 || err != nil {
			t.Errorf("beside %s: %d %v", taken, n, err)
		}
	}
	for _, taken := range []string{"203.0.113.100/24", "2001:db8:c:ffff::9/48"} {
		if n, err := unused([]net.Addr{addr(taken)}); err == nil {
			t.Errorf("number %d may be used beside %s", n, taken)
		}
	}
	routers, clients := pair(2)
	if got := fmt.Sprint(routers, clients); got != "[203.0.113.9/30 2001:db8:c:2::1/64] [203.0.113.10/30 2001:db8:c:2::2/64]" {
		t.Error(got)
	}
}

func TestRangesOfTheFamily(t *testing.T) {
	o, err := parse(nil)
	if err != nil {
		t.Fatal(err)
	}
	for family, want := range map[string]string{"ipv4": "172.29.0.0/16", "ipv6": "fd00:172:29::/64", "dual": "172.29.0.0/16,fd00:172:29::/64"} {
		o.family = family
		c, err := newCluster(o)
		if err != nil {
			t.Fatal(err)
		}
		if c.lan != want || len(c.gateways) != strings.Count(want, ",")+1 {
			t.Errorf("%s: LAN %s, gateways %v", family, c.lan, c.gateways)
		}
	}
	o.family, o.pods = "ipv6", "10.0.0.0/8"
	if _, err := newCluster(o); err == nil || !strings.Contains(err.Error(), "-pod-cidr") {
		t.Errorf("no range of the family: %v", err)
	}
}
