package dns

import (
	"strings"
	"testing"

	"github.com/miekg/dns"
)

func TestConfigIsChecked(t *testing.T) {
	for _, c := range []struct{ text, wrong string }{
		{"", ""},
		{"ttl: 5\npods: verified\nlog: errors\nautopath: true\nmaxConcurrent: 20\n", ""},
		{"upstream: {servers: [192.0.2.1, '192.0.2.2:5353', '2001:db8::1', '[2001:db8::2]:53'], policy: parallel}", ""},
		{"stubs: [{domain: corp.example, servers: [192.0.2.1]}]", ""},
		{"cache: {maxTTL: 30, maxNegativeTTL: 5, maxBytes: 1048576, serveStale: 0s, noPrefetch: true}", ""},
		{"ttl: -1", "ttl"},
		{"ttl: 0", "ttl: 0 is not possible"},
		{"ttl: 90000", "more than a day"},
		{"tttl: 5", `unknown field "tttl"`},
		{"pods: some", `pods: "some" is not known; use one of insecure, verified, disabled`},
		{"log: loud", "log:"},
		{"upstream: {servers: [dns.example]}", `upstream.servers[0]: "dns.example" is not an IP address`},
		{"upstream: {policy: fastest}", "upstream.policy"},
		{"stubs: [{domain: corp.example}]", "stubs[0].servers: it is empty"},
		{"stubs: [{domain: svc.cluster.local, servers: [192.0.2.1]}]", "part of the cluster's domain"},
		{"stubs: [{domain: ., servers: [192.0.2.1]}]", "root"},
		{"hosts: [{ip: x, names: [a]}, {ip: 192.0.2.1}]", "hosts[1].names"},
		{"rewrites: [{match: like, from: a, to: b}]", "rewrites[0].match"},
		{"rewrites: [{match: regex, from: '(', to: b}]", "not a regular expression"},
		{"cache: {maxBytes: 10}", "cache.maxBytes"},
		{"cache: {serveStale: 1000h}", "cache.serveStale"},
		{"maxConcurrent: -1", "maxConcurrent"},
		{"- a", "dns configuration"},
	} {
		_, err := ParseConfig([]byte(c.text), "cluster.local")
		switch {
		case c.wrong == "" && err != nil:
			t.Errorf("%s: %v", c.text, err)
		case c.wrong != "" && (err == nil || !strings.Contains(err.Error(), c.wrong)):
			t.Errorf("%s: got %v, want %q", c.text, err, c.wrong)
		}
	}
}

func mustPolicy(t testing.TB, text string) *policy {
	t.Helper()
	c, err := ParseConfig([]byte(text), "cluster.local")
	if err != nil {
		t.Fatal(err)
	}
	p, err := newPolicy(c, "cluster.local")
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestRewrites(t *testing.T) {
	p := mustPolicy(t, `rewrites:
- {match: exact, from: a.example, to: web.default.svc.cluster.local}
- {match: suffix, from: .corp.example, to: .example.net}
- {match: prefix, from: old-, to: new-}
- {match: substring, from: foo, to: bar}
- {match: regex, from: '^(.*)\.(\d+)\.re\.example$', to: '{2}.{1}.example'}
`)
	for name, want := range map[string]string{
		"a.example.":      "web.default.svc.cluster.local.",
		"A.EXAMPLE.":      "web.default.svc.cluster.local.",
		"x.Corp.example.": "x.example.net.",
		"old-x.example.":  "new-x.example.",
		"afoo.example.":   "abar.example.",
		"x.7.re.example.": "7.x.example.",
		"b.example.":      "",
		"bar.example.":    "",
	} {
		got, ok := p.rewritten(name)
		if got != want || ok != (want != "") {
			t.Errorf("%s: %q %t, want %q", name, got, ok, want)
		}
	}
}

func TestGroups(t *testing.T) {
	p := mustPolicy(t, `
upstream: {servers: [192.0.2.1], except: [secret.example]}
stubs:
- {domain: example, servers: [192.0.2.2]}
- {domain: deep.example, servers: [192.0.2.3], except: [not.deep.example]}
`)
	for name, want := range map[string]string{
		"www.other.":          "192.0.2.1:53",
		"WWW.EXAMPLE.":        "192.0.2.2:53",
		"a.deep.example.":     "192.0.2.3:53",
		"deep.example.":       "192.0.2.3:53",
		"notdeep.example.":    "192.0.2.2:53",
		"x.not.deep.example.": "192.0.2.2:53",
	} {
		g, _ := p.group(name)
		if g == nil || g.servers[0].String() != want {
			t.Errorf("%s: %v, want %s", name, g, want)
		}
	}
	if g, _ := mustPolicy(t, "upstream: {except: [secret.example]}").group("a.secret.example."); g != nil {
		t.Errorf("an excepted name has upstreams: %v", g)
	}
}

func TestHostsOfTheConfiguration(t *testing.T) {
	p := mustPolicy(t, "hosts: [{ip: 192.0.2.1, names: [A.example]}, {ip: '2001:db8::1', names: [a.example, b.example]}]\nhostsTTL: 7")
	for _, c := range []struct {
		name  string
		typ   uint16
		known bool
		want  string
	}{
		{"a.Example.", dns.TypeA, true, "192.0.2.1"},
		{"a.example.", dns.TypeAAAA, true, "2001:db8::1"},
		{"b.example.", dns.TypeA, true, ""},
		{"c.example.", dns.TypeA, false, ""},
		{"1.2.0.192.in-addr.arpa.", dns.TypePTR, true, "a.example."},
		{"1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa.", dns.TypePTR, true, "b.example."},
		{"2.2.0.192.in-addr.arpa.", dns.TypePTR, false, ""},
	} {
		rrs, known := p.fixed(dns.Question{Name: c.name, Qtype: c.typ, Qclass: dns.ClassINET})
		got := ""
		for _, rr := range rrs {
			if rr.Header().Ttl != 7 || rr.Header().Name != c.name {
				t.Errorf("%s: %s", c.name, rr)
			}
			got = rr.String()
		}
		if known != c.known || !strings.HasSuffix(got, c.want) || (got == "") != (c.want == "") {
			t.Errorf("%s: %q %t", c.name, got, known)
		}
	}
}
