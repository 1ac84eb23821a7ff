package table

import (
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/types"
)

func TestExplain(t *testing.T) {
	plain := build(ing("old", 3, "h P /foo s:80", "h P / root").with(func(i *Ingress) { i.ClassReason = "because" }), ing("young", 1, "h P /foo t", "h E /foo/bar e"),
		ing("w", 1, "*.io P / wild", "a.io P /x s"), ing("any", 1, "- P / any"))
	patterns := build(ing("r", 2, "h I /id/[0-9]+ digits", "h I /id/(.*)$ rest").with(useRegex), ing("p", 1, "h P /id plain"))
	type candidates = []string
	for _, tt := range []struct {
		name             string
		table            *Table
		host, path       string
		status           int
		route, hostSaid  string
		candidates       candidates // chosen first: ingress path reason
		others, captures string
	}{
		{"exact", plain, "h", "/foo/bar", 0, "e", "a rule names host h", candidates{"d/young /foo/bar Exact", "d/old / its prefix|an Exact path comes before", "d/old /foo an Exact path", "d/young /foo Ingress d/old is older"}, "rules without host", ""},
		{"prefix", plain, "H.:8080", "/foo/x", 0, "s", "a rule names host h", candidates{"d/old /foo longest prefix", "d/old / shorter", "d/young /foo Ingress d/old is older"}, "rules without host", ""},
		{"clean path", plain, "h", "/x/../foo", 0, "s", "a rule", candidates{"d/old /foo longest", "d/old / shorter", "d/young /foo older"}, "rules without host", ""},
		{"wildcard", plain, "b.io", "/x", 0, "wild", "*.io stands for it", candidates{"d/w / longest prefix"}, "rules without host", ""},
		{"a host never falls back", plain, "a.io", "/y", 404, "", "a rule names host a.io", candidates{"d/w / catch-all"}, "never falls back to a wildcard", ""},
		{"no host", plain, "zzz", "/y", 0, "any", "no rule names host zzz", candidates{"d/any / longest"}, "", ""},
		{"pattern", patterns, "h", "/ID/7", 0, "digits", "a rule", candidates{"d/r /id/[0-9]+ first pattern", "d/r /id/(.*)$ tried after", "d/p /id tried after", " / catch-all"}, "", ""},
		{"pattern with group", patterns, "h", "/id/x", 0, "rest", "a rule", candidates{"d/r /id/(.*)$ first pattern", "d/p /id tried after"}, "", "x"},
		{"bad path", plain, "h", "/%zz", 400, "", "", nil, "", ""},
	} {
		x := tt.table.Explain(Request{Host: tt.host, RawPath: tt.path})
		backend, _, _ := strings.Cut(strings.TrimPrefix(x.Backend, "d/"), ":")
		if x.Status != tt.status || backend != tt.route || !strings.Contains(x.HostReason, tt.hostSaid) || strings.Join(x.Captures, ",") != tt.captures {
			t.Errorf("%s: %+v", tt.name, x)
		}
		for i, want := range tt.candidates {
			f := strings.SplitN(want, " ", 3)
			found := slices.ContainsFunc(x.Candidates, func(c Candidate) bool {
				ok := slices.ContainsFunc(strings.Split(f[2], "|"), func(s string) bool { return strings.Contains(c.Reason+" "+c.PathType, s) })
				return (f[0] == "" || c.Ingress == f[0]) && c.Path == f[1] && ok && c.Chosen == (i == 0)
			})
			if !found {
				t.Errorf("%s: no candidate %s in %+v", tt.name, want, x.Candidates)
			}
		}
		if tt.others != "" && !strings.Contains(strings.Join(x.OtherHosts, "\n"), tt.others) {
			t.Errorf("%s: other hosts %v", tt.name, x.OtherHosts)
		}
		var m Match
		if tt.status == 0 {
			tt.table.Match(tt.host, x.Path, &m)
			if m.Route != x.Route {
				t.Errorf("%s: the explanation has another route than the match", tt.name)
			}
		}
		if _, err := json.Marshal(x); err != nil {
			t.Error(err)
		}
	}
	if x := plain.Explain(Request{Host: "h", RawPath: "/foo"}); x.ClassReason != "because" || x.Ingress != "old" {
		t.Errorf("class reason %q of %s", x.ClassReason, x.Ingress)
	}
}

func TestExplainStatus(t *testing.T) {
	table := build(ing("a", 1, "h.io P / s").with(toWWW), ing("f", 1, "f P / s").with(func(i *Ingress) { i.Options.Fault = "Secret d/x isn't there" }),
		ing("m", 1, "m P / s").with(func(i *Ingress) {
			i.Options.Host.ClientTLS = &ClientTLS{Secret: types.NamespacedName{Namespace: "d", Name: "ca"}}
		}),
		ing("c", 1, "h.io P / can").with(canary))
	sni := "h.io"
	for _, tt := range []struct {
		r      Request
		status int
		reason string
	}{
		{Request{Host: "www.h.io", RawPath: "/"}, 308, "host h.io"},
		{Request{Host: "f", RawPath: "/"}, 503, "Secret d/x isn't there"},
		{Request{Host: "m", RawPath: "/", SNI: &sni}, 421, "other client certificates"},
		{Request{Host: "none", RawPath: "/"}, 404, "no rule matches"},
	} {
		if x := table.Explain(tt.r); x.Status != tt.status || !strings.Contains(x.Reason, tt.reason) {
			t.Errorf("%+v: %d %s", tt.r, x.Status, x.Reason)
		}
	}
	x := table.Explain(Request{Host: "h.io", RawPath: "/"})
	if x.Backend != "d/can" || x.BackendReason != "canary d/c takes it by weight" {
		t.Errorf("%s: %s", x.Backend, x.BackendReason)
	}
	if x = table.Explain(Request{Host: "h.io", RawPath: "/", Random: 1<<32 - 1}); x.Backend != "d/s" || x.BackendReason != "canary d/c leaves it by weight" {
		t.Errorf("%s: %s", x.Backend, x.BackendReason)
	}
}

// Steps come in the order in which requests meet them.
func TestSteps(t *testing.T) {
	i := ing("a", 1, "h P / s:80").with(nginx)
	l := &i.Options.Location
	l.BodySize, l.SSLRedirect, l.CORS = 1<<20, true, &CORS{Origins: []string{"https://*.x"}}
	l.Redirect = &Redirect{Target: Text{Parts: []Part{{Literal: "https://x"}, {Var: VarRequestURI}}}, Code: 301}
	l.Limits = &Limits{RPS: 5, Burst: 5}
	l.Allow = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	l.Basic = &BasicAuth{Secret: types.NamespacedName{Namespace: "d", Name: "users"}}
	l.External = &ExternalAuth{URL: Text{Parts: []Part{{Literal: "http://auth/"}, {Var: VarHeader, Name: "x-a"}, {Var: VarCapture, Name: "1"}}}}
	l.CustomErrors = []int{404, 503}
	i.Options.Host.AppRoot = "/r"
	b := NewBuilder()
	b.SetSettings(&Settings{BlockCIDRs: l.Allow, HSTS: HSTS{Enabled: true}})
	b.Set(i)
	b.Set(ing("c", 0, "h P / can").with(canary))
	table := b.Table()
	got := strings.Join(table.Steps(table.Routes()[0]), "\n")
	want := `Addresses of 10.0.0.0/8 are answered 403 (block-cidrs).
Path / is redirected to /r with 302 (app-root).
Bodies above 1048576 bytes are answered 413 (proxy-body-size).
Preflights from https://*.x are answered 204, and answers get CORS headers (enable-cors).
All requests are redirected to https://x$request_uri with 301.
Where the host has TLS, requests that didn't come over TLS are redirected to https with 308 (ssl-redirect).
More than 5 requests a second of one address, and 25 at once, are answered 503 (limit-rps).
Addresses outside of 10.0.0.0/8 are answered 403 (allowlist-source-range).
Basic credentials of Secret d/users are asked for, else the answer is 401 (auth-type).
http://auth/$http_x_a$1 is asked about each request; what isn't 2xx refuses it (auth-url).
Canary d/c takes requests to Service d/can by a weight of 50 in 100.
Service d/s:80 is asked over HTTP, by the endpoints of the Service in turn.
Answers with 404, 503 are replaced by the default backend's (custom-http-errors).
Answers over TLS get Strict-Transport-Security (hsts).`
	if got != want {
		t.Errorf("%s", got)
	}
}
