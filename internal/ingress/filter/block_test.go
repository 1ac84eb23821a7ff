package filter

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"minato/internal/ingress/regex"
	"minato/internal/ingress/table"
)

// ConfigMap keys block-cidrs, block-user-agents, block-referers: 403 before anything else.
func TestBlockLists(t *testing.T) {
	b := newBed(t).set("block-cidrs", "203.0.113.0/24, 2001:db8::/32").set("block-user-agents", "~*curl.*,Bad Bot").
		set("block-referers", "~spam\\.example").on("h.test /", "app-root", "/app")
	for _, c := range []struct {
		client string
		fields []string
		want   int
	}{
		{"192.0.2.1", nil, 302},
		{"203.0.113.9", nil, 403},
		{"::ffff:203.0.113.9", nil, 403},
		{"2001:db8::7", nil, 403},
		{"192.0.2.1", []string{"User-Agent: CURL/8"}, 403},
		{"192.0.2.1", []string{"User-Agent: bad bot"}, 403},
		{"192.0.2.1", []string{"User-Agent: bad bots"}, 302},
		{"192.0.2.1", []string{"User-Agent: good", "User-Agent: curl"}, 403},
		{"192.0.2.1", []string{"Referer: http://spam.example/x"}, 403},
		{"192.0.2.1", []string{"Referer: http://spamxexample/x"}, 302},
	} {
		if got := b.from(c.client, "GET", "http://h.test/", c.fields...); got.status != c.want {
			t.Errorf("%s %q: %d, want %d", c.client, c.fields, got.status, c.want)
		}
	}
}

// A value that takes a pattern too many steps was made to get past it.
func TestBlockPatternThatCostsTooMuch(t *testing.T) {
	b := newBed(t).on("h.test /").build()
	re, err := regex.Compile(`(a+)+\1b`, regex.Options{MaxSteps: 100})
	if err != nil {
		t.Fatal(err)
	}
	x := b.exchange("GET", "http://h.test/", "User-Agent: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaac")
	s := *x.Settings
	s.BlockAgents = []*regex.Regexp{re}
	x.Settings = &s
	b.run(x).want(t, 403, "")
}

// auth-tls-match-cn: another DN is 403, and so is none.
func TestMatchCN(t *testing.T) {
	b := newBed(t).on("h.test /")
	re, err := regex.Compile("CN=ann", regex.Options{})
	if err != nil {
		t.Fatal(err)
	}
	b.adjust = func(i *table.Ingress) { i.Options.Host.ClientTLS = &table.ClientTLS{MatchCN: re} }
	b.build()
	for _, c := range []struct {
		cn   string
		want int
	}{{"ann", 0}, {"bob", 403}, {"", 403}} {
		x := b.exchange("GET", "https://h.test/")
		if c.cn != "" {
			x.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{{Subject: pkix.Name{CommonName: c.cn}}}}
		}
		b.run(x).want(t, c.want, "")
	}
}

// Long lists are searched as ranges; that must be what looking at each prefix says.
func TestPrefixes(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	addr := func(six bool) netip.Addr {
		if !six {
			return netip.AddrFrom4([4]byte{10, byte(rnd.IntN(4)), byte(rnd.IntN(4)), byte(rnd.IntN(256))})
		}
		a := netip.MustParseAddr("2001:db8::").As16()
		a[7], a[8], a[15] = byte(rnd.IntN(4)), byte(rnd.IntN(4)), byte(rnd.IntN(4))
		return netip.AddrFrom16(a)
	}
	var c prefixes
	hits := 0
	for range 200 {
		var list []netip.Prefix
		for range 1 + rnd.IntN(40) {
			six := rnd.IntN(2) == 0
			bits := 14 + rnd.IntN(19)
			if six {
				bits = 50 + rnd.IntN(79)
			}
			list = append(list, netip.PrefixFrom(addr(six), bits))
		}
		for range 50 {
			a := addr(rnd.IntN(2) == 0)
			want := false
			for _, p := range list {
				want = want || p.Contains(a)
			}
			if want {
				hits++
			}
			if got := c.contains(list, a); got != want {
				t.Fatalf("%v has %v: %v, want %v", list, a, got, want)
			}
			if got := makeRanges(list).contains(a); got != want {
				t.Fatalf("the ranges of %v have %v: %v, want %v", list, a, got, want)
			}
		}
	}
	if hits < 100 {
		t.Errorf("only %d addresses were within a list", hits)
	}
	all := []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0"), netip.MustParsePrefix("::ffff:1.2.3.0/120")}
	r := makeRanges(all)
	for _, a := range []string{"0.0.0.0", "255.255.255.255", "::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"} {
		if !r.contains(netip.MustParseAddr(a)) {
			t.Errorf("%s is not in everything", a)
		}
	}
}

func BenchmarkPrefixes(b *testing.B) {
	for _, n := range []int{4, 100, 10000} {
		var list []netip.Prefix
		for i := range n {
			list = append(list, netip.PrefixFrom(netip.AddrFrom4([4]byte{20, byte(i >> 8), byte(i), 0}), 24))
		}
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			var c prefixes
			a := netip.MustParseAddr("192.0.2.1")
			b.ReportAllocs()
			for b.Loop() {
				if c.contains(list, a) {
					b.Fatal("it has it")
				}
			}
		})
	}
}
