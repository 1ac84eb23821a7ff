package table

import (
	"crypto/x509"
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/types"

	"minato/internal/ingress/regex"
)

func aliases(names ...string) func(*Ingress) {
	return func(i *Ingress) {
		for _, n := range names {
			if p, ok := strings.CutPrefix(n, "~"); ok {
				re, err := regex.Compile(p, regex.Options{IgnoreCase: true})
				if err != nil {
					panic(err)
				}
				i.Options.Host.AliasPatterns = append(i.Options.Host.AliasPatterns, re)
			} else {
				i.Options.Host.Aliases = append(i.Options.Host.Aliases, n)
			}
		}
	}
}

func toWWW(i *Ingress) { i.Options.Host.FromToWWW = true }

// Sources: ingress-nginx's server-alias and from-to-www-redirect.
func TestNames(t *testing.T) {
	type want = map[string]string
	for _, tt := range []struct {
		name string
		ings []*Ingress
		want want
	}{
		{"alias", []*Ingress{ing("a", 1, "h P /x s").with(aliases("alias.io", "Other.io"))}, want{"alias.io/x": "s", "other.io/x": "s", "alias.io/y": "404", "h/x": "s"}},
		{"alias pattern", []*Ingress{ing("a", 1, "h P / s").with(aliases(`~^www\.\d+\.io$`))}, want{"www.1.io/": "s", "www.x.io/": "404"}},
		{"an Ingress owns the name", []*Ingress{ing("a", 2, "h P / s").with(aliases("own.io", "~own")), ing("b", 1, "own.io P / own")}, want{"own.io/": "own", "x.own/": "s"}},
		{"the oldest alias", []*Ingress{ing("a", 1, "h P / young").with(aliases("x.io")), ing("b", 2, "g P / old").with(aliases("x.io"))}, want{"x.io/": "old"}},
		{"the oldest Ingress's aliases of a host", []*Ingress{ing("a", 2, "h P / s").with(aliases("x.io")), ing("b", 1, "h P /b s").with(aliases("y.io"))}, want{"x.io/": "s", "y.io/": "404"}},
		{"alias before wildcard, wildcard before pattern", []*Ingress{ing("a", 1, "h P / s").with(aliases("a.io", "~.*")), ing("b", 1, "*.io P / wild")}, want{"a.io/": "s", "b.io/": "wild", "c.b.io/": "s"}},
		{"alias of a wildcard", []*Ingress{ing("a", 1, "h P / s").with(aliases("*.io"))}, want{"b.io/": "s", "c.b.io/": "404"}},
		{"alias of a wildcard host", []*Ingress{ing("a", 1, "*.h P / s").with(aliases("x.io"))}, want{"x.io/": "s"}},
		{"to www", []*Ingress{ing("a", 1, "h.io P / s").with(toWWW)}, want{"www.h.io/x": "308 h.io", "h.io/": "s"}},
		{"from www", []*Ingress{ing("a", 1, "www.h.io P / s").with(toWWW)}, want{"h.io/x": "308 www.h.io", "www.h.io/": "s"}},
		{"both names", []*Ingress{ing("a", 2, "h.io P / s").with(toWWW), ing("b", 1, "www.h.io P / w").with(toWWW)}, want{"www.h.io/": "w", "h.io/": "s"}},
		{"www before wildcard", []*Ingress{ing("a", 1, "h.io P / s").with(toWWW), ing("b", 1, "*.h.io P / w")}, want{"www.h.io/": "308 h.io", "x.h.io/": "w"}},
		{"catch-all turned off", nil, nil},
	} {
		check(t, build(tt.ings...), tt.want)
	}
	b := NewBuilder()
	b.SetSettings(&Settings{NoCatchAll: true, DefaultBackend: &BackendRef{Namespace: "k", Service: "global"}})
	b.Set(ing("a", 1, "h P /x s"))
	b.Set(ing("b", 1, "default d"))
	check(t, b.Table(), want{"h/x": "s", "h/y": "global", "z/": "global"})
	if f := b.Table().Findings(key("b")); len(f) != 1 || f[0].Reason != ReasonRefused {
		t.Errorf("findings %v", f)
	}
}

func cert(names ...string) *Certificate {
	return &Certificate{Secret: types.NamespacedName{Namespace: "d", Name: names[0]}, Names: names}
}

// Sources: IngressTLS, and ingress-nginx's choice of certificates.
func TestCertificates(t *testing.T) {
	certs := map[string]*Certificate{"a": cert("a.io"), "wild": cert("*.io"), "b": cert("b.io")}
	with := func(i *Ingress) *Ingress { i.Certificates = certs; return i }
	none := "default"
	for _, tt := range []struct {
		name string
		ings []*Ingress
		want map[string]string // by SNI: the certificate's first name
		tls  string            // hosts with TLS
	}{
		{"listed", []*Ingress{with(ing("i", 1, "a.io P / s", "tls a a.io"))}, map[string]string{"a.io": "a.io", "A.IO.": "a.io", "": none, "x.io": none}, "a.io"},
		{"covered though not listed", []*Ingress{with(ing("i", 1, "a.io P / s", "tls a other.io")).with(nginx)}, map[string]string{"a.io": "a.io"}, "a.io"},
		{"missing Secret", []*Ingress{with(ing("i", 1, "a.io P / s", "tls gone a.io")), with(ing("j", 0, "a.io P /x s", "tls a a.io"))}, map[string]string{"a.io": none}, "a.io"},
		{"not for the host", []*Ingress{with(ing("i", 1, "a.io P / s", "tls b a.io"))}, map[string]string{"a.io": none}, "a.io"},
		{"no Secret", []*Ingress{with(ing("i", 1, "a.io P / s", "tls - a.io"))}, map[string]string{"a.io": none}, "a.io"},
		{"oldest", []*Ingress{with(ing("i", 1, "a.io P / s", "tls wild a.io")), with(ing("j", 2, "a.io P /x s", "tls a a.io"))}, map[string]string{"a.io": "a.io"}, "a.io"},
		{"older without tls", []*Ingress{with(ing("i", 3, "a.io P / s")), with(ing("j", 2, "a.io P /x s", "tls a a.io"))}, map[string]string{"a.io": "a.io"}, "a.io"},
		{"nginx: any section is for all hosts", []*Ingress{with(ing("i", 1, "a.io P / s", "q P / s", "tls a a.io")).with(nginx)}, map[string]string{"a.io": "a.io", "q": none}, "a.io q"},
		{"minato: listed hosts alone", []*Ingress{with(ing("i", 1, "a.io P / s", "q P / s", "tls a a.io"))}, map[string]string{"a.io": "a.io", "q": none}, "a.io"},
		{"minato: an entry without hosts is for all", []*Ingress{with(ing("i", 1, "a.io P / s", "q P / s", "tls a"))}, map[string]string{"a.io": "a.io", "q": none}, "a.io q"},
		{"minato: no host at all", []*Ingress{with(ing("i", 1, "default s", "tls a"))}, map[string]string{"": "a.io", "x": "a.io"}, ""},
		{"nginx: no host at all", []*Ingress{with(ing("i", 1, "default s", "tls a")).with(nginx)}, map[string]string{"": none, "x": none}, ""},
		{"wildcard host", []*Ingress{with(ing("i", 1, "*.io P / s", "tls wild *.io"))}, map[string]string{"x.io": "*.io", "x.y.io": none}, "a.io b.io x.io"},
		{"a plain host below a wildcard with TLS", []*Ingress{with(ing("i", 1, "*.io P / s", "tls wild *.io")), with(ing("j", 1, "x.io P / s"))}, map[string]string{"x.io": "*.io"}, "a.io b.io x.io"},
		{"alias that is covered", []*Ingress{with(ing("i", 1, "a.io P / s", "tls wild a.io")).with(aliases("b.io", "c.org"))}, map[string]string{"b.io": "*.io", "c.org": none}, "a.io b.io"},
		{"www that is covered", []*Ingress{with(ing("i", 1, "h.io P / s", "tls a h.io")).with(func(i *Ingress) {
			toWWW(i)
			i.Certificates = map[string]*Certificate{"a": cert("h.io", "www.h.io")}
		})}, map[string]string{"www.h.io": "h.io"}, ""},
	} {
		table := build(tt.ings...)
		for sni, want := range tt.want {
			got := none
			if _, c := table.CertificateFor(sni); c != nil {
				got = c.Names[0]
			}
			if got != want {
				t.Errorf("%s: %q gets %s, want %s", tt.name, sni, got, want)
			}
		}
		var tls []string
		for _, h := range []string{"a.io", "b.io", "c.org", "q", "x.io", "unknown", ""} {
			if table.TLS(h) {
				tls = append(tls, h)
			}
		}
		if got := strings.Join(tls, " "); got != tt.tls && tt.tls != "" {
			t.Errorf("%s: TLS at %s, want %s", tt.name, got, tt.tls)
		}
	}
}

// As measured of nginx, but that hosts with the same trust may share a connection.
func TestMisdirected(t *testing.T) {
	mtls := func(secret string, v ClientVerify) func(*Ingress) {
		return func(i *Ingress) {
			i.Options.Host.ClientTLS = &ClientTLS{Secret: types.NamespacedName{Name: secret}, Verify: v}
		}
	}
	table := build(ing("p", 1, "plain P / s", "plain2 P / s"), ing("m", 1, "m P / s").with(mtls("a", VerifyOn)), ing("n", 1, "n P / s").with(mtls("a", VerifyOn)).with(aliases("n2")),
		ing("e", 1, "e P / s").with(mtls("a", VerifyOn)).with(func(i *Ingress) { i.Options.Host.ClientTLS.CAs = x509.NewCertPool() }),
		ing("o", 1, "o P / s").with(mtls("b", VerifyOn)), ing("q", 1, "q P / s").with(mtls("a", VerifyOptional)), ing("r", 1, "r P / s").with(mtls("a", VerifyOff)))
	for pair, want := range map[string]bool{
		"plain m": true, "m plain": false, "plain plain2": false, "m m": false, "M. m:443": false, "m n": false, "m o": true, "m q": true, "q m": true,
		" m": true, " plain": false, "unknown m": true, "n2 n": false, "plain r": false, "m e": true, "r m": true,
	} {
		sni, host, _ := strings.Cut(pair, " ")
		if got := table.Misdirected(sni, host); got != want {
			t.Errorf("handshake %q, host %q: %v", sni, host, got)
		}
	}
}

// The oldest Ingress that sets a field of the host has it; the settings of the oldest hold at its catch-all.
func TestHostOptionsAndCatchAll(t *testing.T) {
	root := func(r string) func(*Ingress) { return func(i *Ingress) { i.Options.Host.AppRoot = r } }
	body := func(n int64) func(*Ingress) { return func(i *Ingress) { i.Options.Location.BodySize = n } }
	table := build(ing("a", 3, "h P /a s").with(body(3)), ing("b", 2, "h P /b s").with(body(2)).with(root("/old")), ing("c", 1, "h P /c s").with(root("/new")),
		ing("f", 4, "g P /f s").with(func(i *Ingress) { i.Options.Fault = "broken" }), ing("g", 1, "g P /g s"))
	var m Match
	table.Match("h", "/x", &m)
	if r := m.Route; !r.Generated || r.Location.BodySize != 3 || r.Server.Options.AppRoot != "/old" || r.Ingress != "a" || r.NoBackend != 404 {
		t.Errorf("%+v", r)
	}
	if f := table.Findings(key("c")); len(f) != 1 || f[0].Field != "app-root" || !strings.Contains(f[0].Message, "d/b") {
		t.Errorf("findings of c: %v", f)
	}
	if f := table.Findings(key("b")); len(f) != 0 {
		t.Errorf("findings of b: %v", f)
	}
	// What closes the oldest Ingress closes its catch-all, and nothing else.
	for path, want := range map[string]string{"/f": "503", "/x": "503", "/g": "s"} {
		if got := answer(table, "g", path); got != want {
			t.Errorf("g%s goes to %s, want %s", path, got, want)
		}
	}
	// An Ingress without rules serves unknown hosts without its rewrites and redirects.
	table = build(ing("d", 1, "default s").with(rewrite("/x")).with(root("/r")).with(func(i *Ingress) { i.Options.Location.SSLRedirect = true }))
	table.Match("unknown", "/x", &m)
	if l := m.Route.Location; l.Rewrite != nil || l.SSLRedirect || m.Server.Patterns || m.Server.Options.AppRoot != "" || m.Route.Backend == nil {
		t.Errorf("%+v", m.Route)
	}
}

func TestFindings(t *testing.T) {
	for _, tt := range []struct {
		name   string
		ings   []*Ingress
		of     string
		reason string
		text   string
	}{
		{"path taken", []*Ingress{ing("a", 2, "h P /x s"), ing("b", 1, "h I /x t")}, "b", ReasonPathTaken, "served by the older Ingress d/a"},
		{"path twice", []*Ingress{ing("a", 2, "h P /x s", "h P /x t")}, "a", ReasonPathTaken, "at spec.rules[0].http.paths[0]"},
		{"resource", []*Ingress{ing("a", 2, "h P /x resource")}, "a", ReasonBackend, "404"},
		{"default resource", []*Ingress{ing("a", 2, "default resource")}, "a", ReasonBackend, "404"},
		{"double slash", []*Ingress{ing("a", 2, "h I /x//y s")}, "a", ReasonPathNeverMatch, "two slashes"},
		{"escape", []*Ingress{ing("a", 2, "h I /x%20y s")}, "a", ReasonPathNeverMatch, "an escape"},
		{"patterns of others", []*Ingress{ing("a", 2, "h E /x s"), ing("b", 2, "h I /y.* s").with(useRegex)}, "a", ReasonPattern, "in any case of letters"},
		{"no pattern", []*Ingress{ing("b", 2, "h I /y( s").with(useRegex)}, "b", ReasonPattern, "answered 503"},
		{"default backend not used", []*Ingress{ing("a", 2, "h P /x s"), ing("b", 1, "h P /y s", "default d")}, "b", ReasonDefaultBackend, "add a path /"},
		{"alias owned", []*Ingress{ing("a", 2, "h P /x s").with(aliases("g")), ing("b", 1, "g P /y s")}, "a", ReasonAlias, "Ingress d/b has a rule"},
		{"alias taken", []*Ingress{ing("a", 2, "h P /x s").with(aliases("z")), ing("b", 1, "g P /y s").with(aliases("z"))}, "b", ReasonAlias, "older Ingress d/a"},
		{"canary alone", []*Ingress{ing("a", 2, "h P /x s").with(canary)}, "a", ReasonCanary, "no other Ingress"},
		{"canary of another type", []*Ingress{ing("a", 2, "h P /x s").with(canary), ing("b", 2, "h E /x t")}, "a", ReasonCanary, "no other Ingress"},
		{"canary of another prefix", []*Ingress{ing("a", 2, "h I /x s").with(canary), ing("b", 2, "h P /x t")}, "a", ReasonCanary, "write the same pathType"},
		{"second canary", []*Ingress{ing("a", 2, "h P /x s").with(canary), ing("c", 3, "h P /x u").with(canary), ing("b", 2, "h P /x t")}, "a", ReasonCanary, "older canary d/c"},
		{"certificate of an older one", []*Ingress{ing("a", 2, "h P /x s", "tls gone h"), ing("b", 1, "h P /y s", "tls c h").with(func(i *Ingress) {
			i.Certificates = map[string]*Certificate{"c": cert("h")}
		})}, "b", ReasonCertificate, "older Ingress d/a"},
		{"certificate", []*Ingress{ing("a", 2, "h P /x s", "tls gone h")}, "a", ReasonCertificate, "Secret d/gone"},
	} {
		f := build(tt.ings...).Findings(key(tt.of))
		if len(f) != 1 || f[0].Reason != tt.reason || !strings.Contains(f[0].Message, tt.text) || f[0].Ingress != key(tt.of) {
			t.Errorf("%s: %+v", tt.name, f)
		}
	}
	if f := build(ing("a", 1, "h P /x s", "g E / t", "default d", "tls - h")).Findings(key("a")); len(f) != 0 {
		t.Errorf("an Ingress without fault: %s", fmt.Sprint(f))
	}
}
