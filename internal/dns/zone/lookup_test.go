package zone

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
)

// fixture is a small cluster with one of each kind of Service.
func fixture(t testing.TB) *Snapshot {
	t.Helper()
	tab := newTable(t)
	tab.SetNamespace("default")
	tab.SetNamespace("empty")
	tab.SetService(svc("default", "web", "10.96.1.1", "http/80/TCP", "https/443/TCP", "dns/53/UDP"))
	tab.SetEndpointSlice(eps("default", "web", "web-1", []string{"http/8080/TCP"}, "10.244.1.5", "!10.244.1.6"))
	tab.SetService(svc("default", "unnamed", "10.96.1.2", "/8080/TCP"))
	tab.SetService(svc("default", "dual", "10.96.1.3,fd00:96::3", "http/80/TCP"))
	tab.SetService(svc("default", "six", "fd00:96::6", "http/80/TCP"))
	tab.SetService(svc("default", "db", "None", "sql/5432/TCP"))
	tab.SetEndpointSlice(eps("default", "db", "db-1", []string{"sql/15432/TCP"}, "10.244.1.10=db-0", "10.244.2.10=db-1", "!10.244.3.10=db-2"))
	tab.SetService(svc("default", "plain", "None", "http/80/TCP"))
	tab.SetEndpointSlice(eps("default", "plain", "plain-1", []string{"http/80/TCP", "/9/UDP"}, "10.244.1.20", "10.244.1.21"))
	tab.SetEndpointSlice(eps("default", "plain", "plain-2", []string{"http/80/TCP"}, "10.244.1.21", "fd00:244::21"))
	tab.SetService(svc("default", "twins", "None"))
	tab.SetEndpointSlice(eps("default", "twins", "twins-1", []string{"p/1/SCTP"}, "10.244.1.31=twin", "10.244.1.32=twin"))
	tab.SetService(svc("default", "portless", "None"))
	tab.SetEndpointSlice(eps("default", "portless", "portless-1", nil, "10.244.1.40"))
	tab.SetService(svc("default", "sleeping", "None", "http/80/TCP"))
	tab.SetEndpointSlice(eps("default", "sleeping", "sleeping-1", []string{"http/80/TCP"}, "!10.244.1.50"))
	tab.SetService(svc("default", "nobody", "None", "http/80/TCP"))
	tab.SetService(externalName("default", "ext", "www.Example.com"))
	tab.SetService(externalName("default", "ext-web", "web.default.svc.cluster.local."))
	tab.SetService(externalName("default", "ext-gone", "gone.default.svc.cluster.local"))
	tab.SetService(externalName("default", "ext-ip", "192.0.2.7"))
	tab.SetService(externalName("default", "loop-a", "loop-b.default.svc.cluster.local"))
	tab.SetService(externalName("default", "loop-b", "loop-a.default.svc.cluster.local"))
	tab.SetService(svc("other", "mine", "None", "http/80/TCP"))
	tab.SetEndpointSlice(eps("other", "mine", "mine-1", []string{"http/80/TCP"}, "192.0.2.9=outside"))
	return tab.Commit()
}

const soaTail = " 30 IN SOA ns.dns.cluster.local. hostmaster.cluster.local. 2 7200 1800 86400 30"

func TestLookup(t *testing.T) {
	snap := fixture(t)
	const z = "cluster.local."
	nxdomain := func(name, typ string) lookupCase {
		return lookupCase{name: name, typ: typ, rcode: dns.RcodeNameError, ns: z + soaTail}
	}
	nodata := func(name, typ string) lookupCase {
		return lookupCase{name: name, typ: typ, ns: z + soaTail}
	}
	cases := []lookupCase{
		// 2.2 the schema's version
		{name: "dns-version." + z, typ: "TXT", answer: "dns-version.cluster.local. 28800 IN TXT \"1.1.0\""},
		nodata("dns-version."+z, "A"),

		// 2.3 ClusterIP
		{name: "web.default.svc." + z, typ: "A", answer: "web.default.svc.cluster.local. 30 IN A 10.96.1.1"},
		{name: "WEB.Default.sVc.Cluster.LOCAL.", typ: "A", answer: "WEB.Default.sVc.Cluster.LOCAL. 30 IN A 10.96.1.1"},
		nodata("web.default.svc."+z, "AAAA"),
		nodata("web.default.svc."+z, "MX"),
		{name: "web.default.svc." + z, typ: "ANY", answer: "web.default.svc.cluster.local. 30 IN A 10.96.1.1"},
		{name: "dual.default.svc." + z, typ: "A", answer: "dual.default.svc.cluster.local. 30 IN A 10.96.1.3"},
		{name: "dual.default.svc." + z, typ: "AAAA", answer: "dual.default.svc.cluster.local. 30 IN AAAA fd00:96::3"},
		nodata("six.default.svc."+z, "A"),
		{name: "_http._tcp.web.default.svc." + z, typ: "SRV",
			answer: "_http._tcp.web.default.svc.cluster.local. 30 IN SRV 0 100 80 web.default.svc.cluster.local.",
			extra:  "web.default.svc.cluster.local. 30 IN A 10.96.1.1"},
		{name: "_HTTP._TCP.web.default.svc." + z, typ: "SRV",
			answer: "_HTTP._TCP.web.default.svc.cluster.local. 30 IN SRV 0 100 80 web.default.svc.cluster.local.",
			extra:  "web.default.svc.cluster.local. 30 IN A 10.96.1.1"},
		nodata("_http._tcp.web.default.svc."+z, "A"),
		nodata("_tcp.web.default.svc."+z, "SRV"),
		nxdomain("_sctp.web.default.svc."+z, "SRV"),
		nxdomain("_http._udp.web.default.svc."+z, "SRV"),
		nxdomain("_nope._tcp.web.default.svc."+z, "SRV"),
		nxdomain("_._tcp.unnamed.default.svc."+z, "SRV"),
		nxdomain("http._tcp.web.default.svc."+z, "SRV"),
		nxdomain("x._http._tcp.web.default.svc."+z, "SRV"),
		{name: "unnamed.default.svc." + z, typ: "SRV",
			answer: "unnamed.default.svc.cluster.local. 30 IN SRV 0 100 8080 unnamed.default.svc.cluster.local.",
			extra:  "unnamed.default.svc.cluster.local. 30 IN A 10.96.1.2"},
		{name: "web.default.svc." + z, typ: "SRV",
			answer: `web.default.svc.cluster.local. 30 IN SRV 0 33 443 web.default.svc.cluster.local.
				web.default.svc.cluster.local. 30 IN SRV 0 33 53 web.default.svc.cluster.local.
				web.default.svc.cluster.local. 30 IN SRV 0 33 80 web.default.svc.cluster.local.`,
			extra: "web.default.svc.cluster.local. 30 IN A 10.96.1.1"},
		{name: "dual.default.svc." + z, typ: "SRV",
			answer: "dual.default.svc.cluster.local. 30 IN SRV 0 100 80 dual.default.svc.cluster.local.",
			extra: `dual.default.svc.cluster.local. 30 IN A 10.96.1.3
				dual.default.svc.cluster.local. 30 IN AAAA fd00:96::3`},
		// an endpoint of a ClusterIP Service by its dashed address
		{name: "10-244-1-5.web.default.svc." + z, typ: "A", answer: "10-244-1-5.web.default.svc.cluster.local. 30 IN A 10.244.1.5"},
		nxdomain("10-244-1-6.web.default.svc."+z, "A"),

		// 2.4 headless
		{name: "db.default.svc." + z, typ: "A",
			answer: `db.default.svc.cluster.local. 30 IN A 10.244.1.10
				db.default.svc.cluster.local. 30 IN A 10.244.2.10`},
		nodata("db.default.svc."+z, "AAAA"),
		{name: "db-0.db.default.svc." + z, typ: "A", answer: "db-0.db.default.svc.cluster.local. 30 IN A 10.244.1.10"},
		{name: "DB-0.db.default.svc." + z, typ: "A", answer: "DB-0.db.default.svc.cluster.local. 30 IN A 10.244.1.10"},
		nodata("db-0.db.default.svc."+z, "AAAA"),
		nxdomain("db-2.db.default.svc."+z, "A"), // not ready
		nxdomain("db-9.db.default.svc."+z, "A"),
		nxdomain("10-244-1-10.db.default.svc."+z, "A"), // it has a hostname
		{name: "_sql._tcp.db.default.svc." + z, typ: "SRV",
			answer: `_sql._tcp.db.default.svc.cluster.local. 30 IN SRV 0 50 15432 db-0.db.default.svc.cluster.local.
				_sql._tcp.db.default.svc.cluster.local. 30 IN SRV 0 50 15432 db-1.db.default.svc.cluster.local.`,
			extra: `db-0.db.default.svc.cluster.local. 30 IN A 10.244.1.10
				db-1.db.default.svc.cluster.local. 30 IN A 10.244.2.10`},
		{name: "plain.default.svc." + z, typ: "A",
			answer: `plain.default.svc.cluster.local. 30 IN A 10.244.1.20
				plain.default.svc.cluster.local. 30 IN A 10.244.1.21`},
		{name: "plain.default.svc." + z, typ: "AAAA", answer: "plain.default.svc.cluster.local. 30 IN AAAA fd00:244::21"},
		{name: "10-244-1-20.plain.default.svc." + z, typ: "A", answer: "10-244-1-20.plain.default.svc.cluster.local. 30 IN A 10.244.1.20"},
		{name: "fd00-244--21.plain.default.svc." + z, typ: "AAAA", answer: "fd00-244--21.plain.default.svc.cluster.local. 30 IN AAAA fd00:244::21"},
		{name: "_http._tcp.plain.default.svc." + z, typ: "SRV",
			answer: `_http._tcp.plain.default.svc.cluster.local. 30 IN SRV 0 33 80 10-244-1-20.plain.default.svc.cluster.local.
				_http._tcp.plain.default.svc.cluster.local. 30 IN SRV 0 33 80 10-244-1-21.plain.default.svc.cluster.local.
				_http._tcp.plain.default.svc.cluster.local. 30 IN SRV 0 33 80 fd00-244--21.plain.default.svc.cluster.local.`,
			extra: `10-244-1-20.plain.default.svc.cluster.local. 30 IN A 10.244.1.20
				10-244-1-21.plain.default.svc.cluster.local. 30 IN A 10.244.1.21
				fd00-244--21.plain.default.svc.cluster.local. 30 IN AAAA fd00:244::21`},
		{name: "twin.twins.default.svc." + z, typ: "A",
			answer: `twin.twins.default.svc.cluster.local. 30 IN A 10.244.1.31
				twin.twins.default.svc.cluster.local. 30 IN A 10.244.1.32`},
		{name: "_p._sctp.twins.default.svc." + z, typ: "SRV",
			answer: "_p._sctp.twins.default.svc.cluster.local. 30 IN SRV 0 100 1 twin.twins.default.svc.cluster.local.",
			extra: `twin.twins.default.svc.cluster.local. 30 IN A 10.244.1.31
				twin.twins.default.svc.cluster.local. 30 IN A 10.244.1.32`},
		{name: "portless.default.svc." + z, typ: "A", answer: "portless.default.svc.cluster.local. 30 IN A 10.244.1.40"},
		nodata("portless.default.svc."+z, "SRV"),
		nxdomain("sleeping.default.svc."+z, "A"),
		nxdomain("sleeping.default.svc."+z, "SRV"),
		nxdomain("_http._tcp.sleeping.default.svc."+z, "SRV"),
		nxdomain("nobody.default.svc."+z, "A"),

		// 2.5 ExternalName
		{name: "ext.default.svc." + z, typ: "CNAME", answer: "ext.default.svc.cluster.local. 30 IN CNAME www.Example.com."},
		{name: "ext.default.svc." + z, typ: "A", answer: "ext.default.svc.cluster.local. 30 IN CNAME www.Example.com.", target: "www.Example.com."},
		{name: "ext.default.svc." + z, typ: "AAAA", answer: "ext.default.svc.cluster.local. 30 IN CNAME www.Example.com.", target: "www.Example.com."},
		{name: "ext-web.default.svc." + z, typ: "A",
			answer: `ext-web.default.svc.cluster.local. 30 IN CNAME web.default.svc.cluster.local.
				web.default.svc.cluster.local. 30 IN A 10.96.1.1`},
		{name: "ext-web.default.svc." + z, typ: "AAAA", ns: z + soaTail,
			answer: "ext-web.default.svc.cluster.local. 30 IN CNAME web.default.svc.cluster.local."},
		{name: "ext-gone.default.svc." + z, typ: "A", rcode: dns.RcodeNameError, ns: z + soaTail,
			answer: "ext-gone.default.svc.cluster.local. 30 IN CNAME gone.default.svc.cluster.local."},
		nxdomain("ext-ip.default.svc."+z, "A"),
		nxdomain("x.ext.default.svc."+z, "CNAME"),
		nxdomain("_http._tcp.ext.default.svc."+z, "SRV"),
		{name: "loop-a.default.svc." + z, typ: "A", rcode: dns.RcodeServerFailure},

		// Pods
		{name: "10-244-7-7.default.pod." + z, typ: "A", answer: "10-244-7-7.default.pod.cluster.local. 30 IN A 10.244.7.7"},
		nodata("10-244-7-7.default.pod."+z, "AAAA"),
		{name: "fd00--7.default.pod." + z, typ: "AAAA", answer: "fd00--7.default.pod.cluster.local. 30 IN AAAA fd00::7"},
		nxdomain("10-244-7-7.nowhere.pod."+z, "A"),
		nxdomain("10-244-7-256.default.pod."+z, "A"),
		nxdomain("web.default.pod."+z, "A"),
		nxdomain("x.10-244-7-7.default.pod."+z, "A"),

		// names in between, and names that are not there
		nodata(z, "A"),
		{name: z, typ: "SOA", answer: z + soaTail},
		{name: z, typ: "NS", answer: "cluster.local. 30 IN NS ns.dns.cluster.local.", extra: "ns.dns.cluster.local. 30 IN A 10.96.0.10"},
		{name: "ns.dns." + z, typ: "A", answer: "ns.dns.cluster.local. 30 IN A 10.96.0.10"},
		nodata("dns."+z, "A"),
		nodata("svc."+z, "A"),
		nodata("pod."+z, "A"),
		nodata("svc."+z, "NS"),
		nodata("default.svc."+z, "A"),
		nodata("default.pod."+z, "A"),
		nodata("empty.svc."+z, "A"),
		nodata("other.svc."+z, "A"), // exists because a Service does
		nxdomain("nowhere.svc."+z, "A"),
		nxdomain("nowhere.pod."+z, "A"),
		nxdomain("web.nowhere.svc."+z, "A"),
		nxdomain("web.other.svc."+z, "A"),
		nxdomain("nope.default.svc."+z, "A"),
		nxdomain("x.nope.default.svc."+z, "A"),
		nxdomain("foo."+z, "A"),
		nxdomain("web."+z, "A"),
		nxdomain("example.com.default.svc."+z, "A"), // ndots:5 misses
		nxdomain("example.com.svc."+z, "A"),
		nxdomain("example.com."+z, "A"),
		nxdomain(`we\.b.default.svc.`+z, "A"),
		nxdomain("*.default.svc."+z, "A"),

		// 2.3.3 and 2.4.3 reverse
		{name: "1.1.96.10.in-addr.arpa.", typ: "PTR", answer: "1.1.96.10.in-addr.arpa. 30 IN PTR web.default.svc.cluster.local."},
		{name: "1.1.96.10.IN-ADDR.arpa.", typ: "PTR", answer: "1.1.96.10.IN-ADDR.arpa. 30 IN PTR web.default.svc.cluster.local."},
		{name: "10.1.244.10.in-addr.arpa.", typ: "PTR", answer: "10.1.244.10.in-addr.arpa. 30 IN PTR db-0.db.default.svc.cluster.local."},
		{name: "20.1.244.10.in-addr.arpa.", typ: "PTR", answer: "20.1.244.10.in-addr.arpa. 30 IN PTR 10-244-1-20.plain.default.svc.cluster.local."},
		{name: "5.1.244.10.in-addr.arpa.", typ: "PTR", answer: "5.1.244.10.in-addr.arpa. 30 IN PTR 10-244-1-5.web.default.svc.cluster.local."},
		{name: "3.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.6.9.0.0.0.0.d.f.ip6.arpa.", typ: "PTR",
			answer: "3.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.6.9.0.0.0.0.d.f.ip6.arpa. 30 IN PTR dual.default.svc.cluster.local."},
		{name: "9.2.0.192.in-addr.arpa.", typ: "PTR", answer: "9.2.0.192.in-addr.arpa. 30 IN PTR outside.mine.other.svc.cluster.local."},
		{name: "10.3.244.10.in-addr.arpa.", typ: "PTR", rcode: dns.RcodeNameError, ns: "244.10.in-addr.arpa." + soaTail},
		{name: "1.1.96.10.in-addr.arpa.", typ: "A", ns: "96.10.in-addr.arpa." + soaTail},
		{name: "1.96.10.in-addr.arpa.", typ: "PTR", ns: "96.10.in-addr.arpa." + soaTail},
		{name: "10.in-addr.arpa.", typ: "PTR", foreign: true},
		{name: "8.8.8.8.in-addr.arpa.", typ: "PTR", foreign: true},
		{name: "9.2.0.192.in-addr.arpa.", typ: "A", foreign: true},
		{name: "x.1.96.10.in-addr.arpa.", typ: "PTR", foreign: true},
		{name: "256.1.96.10.in-addr.arpa.", typ: "PTR", foreign: true},
		{name: "in-addr.arpa.", typ: "SOA", foreign: true},

		// names that other servers answer
		{name: "example.com.", typ: "A", foreign: true},
		{name: "local.", typ: "A", foreign: true},
		{name: "xcluster.local.", typ: "A", foreign: true},
		{name: `x\.cluster.local.`, typ: "A", foreign: true},
		{name: ".", typ: "NS", foreign: true},
	}
	for _, c := range cases {
		t.Run(c.name+"_"+c.typ, func(t *testing.T) { c.check(t, snap) })
	}
}

type lookupCase struct {
	name, typ         string
	foreign           bool
	rcode             int
	answer, ns, extra string // lines
	target            string
}

func (c lookupCase) check(t *testing.T, snap *Snapshot) {
	a, ours := ask(t, snap, c.name, c.typ)
	if ours == c.foreign {
		t.Fatalf("ours = %t", ours)
	}
	if a.Rcode != c.rcode {
		t.Errorf("rcode = %s, want %s", dns.RcodeToString[a.Rcode], dns.RcodeToString[c.rcode])
	}
	if a.Target != c.target {
		t.Errorf("target = %q, want %q", a.Target, c.target)
	}
	for _, part := range []struct {
		what string
		got  []dns.RR
		want string
	}{{"answer", a.Answer, c.answer}, {"authority", a.Ns, c.ns}, {"additional", a.Extra, c.extra}} {
		var want []string
		for _, l := range strings.Split(part.want, "\n") {
			if l = strings.Join(strings.Fields(l), " "); l != "" {
				want = append(want, l)
			}
		}
		if d := cmp.Diff(want, lines(part.got)); d != "" {
			t.Errorf("%s (-want +got):\n%s", part.what, d)
		}
	}
	// The explained answer is the same answer.
	typ := dns.StringToType[c.typ]
	e, explained := snap.Explain(Question{Name: c.name, Type: typ})
	if explained != ours || e.Rcode != a.Rcode || !cmp.Equal(lines(e.Answer), lines(a.Answer)) {
		t.Errorf("Explain answers %v, Lookup %v", e, a)
	}
}

func TestExplain(t *testing.T) {
	snap := fixture(t)
	for _, c := range []struct {
		name, typ string
		want      string
	}{
		{"web.default.svc.cluster.local.", "A", "Service default/web: used, it has the cluster IP 10.96.1.1"},
		{"db.default.svc.cluster.local.", "A", "endpoint 10.244.3.10: not used, it is not ready (db-2)"},
		{"sleeping.default.svc.cluster.local.", "A", "Service default/sleeping: not used, it is headless and has no ready endpoint"},
		{"web.other.svc.cluster.local.", "A", "Service default/web: not used, it has the name but is in another namespace; ask for web.default.svc.cluster.local."},
		{"web.nowhere.svc.cluster.local.", "A", "Namespace nowhere: not used, it does not exist"},
		{"ext-ip.default.svc.cluster.local.", "A", `Service default/ext-ip: not used, its externalName "192.0.2.7" is not a domain name; for an address use a Service without selector and an EndpointSlice`},
		{"ext.default.svc.cluster.local.", "A", "alias: used, www.Example.com. is outside the zone and is resolved by the forwarder"},
		{"_x._tcp.web.default.svc.cluster.local.", "SRV", `Service default/web: not used, it has no port named "x" with protocol "tcp"`},
		{"9.9.96.10.in-addr.arpa.", "PTR", "address 10.96.9.9: not used, it lies in the cluster's range 10.96.0.0/16 but no Service or ready endpoint has it"},
	} {
		a, _ := snap.Explain(Question{Name: c.name, Type: dns.StringToType[c.typ]})
		found := false
		var got []string
		for _, r := range a.Reasons {
			got = append(got, r.String())
			found = found || r.String() == c.want
		}
		if !found {
			t.Errorf("%s %s: no reason %q in\n%s", c.name, c.typ, c.want, strings.Join(got, "\n"))
		}
	}
}

func TestOwns(t *testing.T) {
	snap := fixture(t)
	for name, want := range map[string]bool{
		"cluster.local.": true, "a.b.CLUSTER.local.": true, "example.com.": false, "local.": false,
		"1.0.96.10.in-addr.arpa.": true, "1.0.97.10.in-addr.arpa.": false,
	} {
		if got := snap.Owns(name); got != want {
			t.Errorf("Owns(%s) = %t", name, got)
		}
	}
}

func TestReverseZoneInsidePrefix(t *testing.T) {
	for _, c := range []struct{ prefix, name, want string }{
		{"10.96.0.0/12", "4.3.100.10.in-addr.arpa.", "100.10.in-addr.arpa."},
		{"10.96.0.0/16", "4.3.96.10.in-addr.arpa.", "96.10.in-addr.arpa."},
		{"10.0.0.0/8", "4.3.96.10.in-addr.arpa.", "10.in-addr.arpa."},
		{"fd00:96::/32", "1.0.0.0.6.9.0.0.0.0.d.f.ip6.arpa.", "6.9.0.0.0.0.d.f.ip6.arpa."},
	} {
		if got := reverseZone(netip.MustParsePrefix(c.prefix), c.name); got != c.want {
			t.Errorf("reverseZone(%s, %s) = %s, want %s", c.prefix, c.name, got, c.want)
		}
	}
}
