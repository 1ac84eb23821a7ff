package ingress

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// What ingress-nginx's own suite asks of a path or a host, in requests to a node's ingress (test/e2e/ingress, annotations and
// defaultbackend of kubernetes/ingress-nginx 1.15).
func TestPortablePaths(t *testing.T) {
	t.Parallel()
	g := newGate(t).web("a", "b", "c")
	g.rule("prefix", []string{"prefix.test Prefix /aaa a"})
	g.rule("exact", []string{"exact.test Prefix / b", "exact.test Exact / a"})
	g.rule("three", []string{"three.test Exact /foo a", "three.test Prefix /foo b", "three.test Prefix / c"})
	g.rule("first", []string{"twice.test Prefix /x a"})
	g.rule("second", []string{"twice.test Prefix /x b", "twice.test Prefix /y b"})
	g.rule("id", []string{"id.test Any /id/[0-9]+ a"}, "use-regex: true")
	g.rule("ids", []string{"ids.test Any /id/[0-9]+$ a"}, "use-regex: true")
	g.rule("quoted", []string{`quoted.test Any /v\\d+/x\.y a`}, "use-regex: true")
	g.rule("steals", []string{"steals.test Any /foo/bar/[a-z]{3} a", "steals.test Prefix /foo/bar/bar b"}, "use-regex: true")
	g.rule("rewrite", []string{"rewrite.test Any /foo/bar/(.+) a"}, "rewrite-target: /new/$1", "use-regex: true")
	g.rule("all", []string{"acme.test Prefix / a"}, "rewrite-target: /all")
	g.rule("acme", []string{"acme.test Prefix /.well-known/acme/challenge b"})
	g.rule("group", []string{"group.test Any /app(/|$)(.*) a"}, "rewrite-target: /$2")
	g.open()

	for what, by := range map[string]string{
		// 1
		"http://prefix.test/aaa": "a", "http://prefix.test/aaa/": "a", "http://prefix.test/aaa/c": "a", "http://prefix.test/aaacc": "",
		// 2
		"http://exact.test/": "a", "http://exact.test/bar": "b",
		// 3
		"http://three.test/foo": "a", "http://three.test/foo/b": "b", "http://three.test/foobar": "c",
		// 4
		"http://twice.test/x": "a", "http://twice.test/y": "b",
		// 5
		"http://id.test/id/123a": "a", "http://id.test/id/a": "", "http://ids.test/id/123a": "", "http://ids.test/id/123": "a",
		// nginx's configuration takes one of two backslashes away
		"http://quoted.test/v12/x.y": "a", "http://quoted.test/v12/xzy": "", "http://quoted.test/vd/x.y": "",
		// 6
		"http://steals.test/foo/bar/bar": "a", "http://steals.test/foo/bar/b": "",
		// and the group that everybody writes, which stops at a slash
		"http://group.test/appx": "",
	} {
		status := 200
		if by == "" {
			status = 404
		}
		g.want(what, status, by)
	}
	for what, uri := range map[string]string{
		"http://rewrite.test/foo/bar/a/b?c=d":              "/new/a/b?c=d", // 7
		"http://acme.test/x":                               "/all",         // 8
		"http://acme.test/.well-known/acme/challenge":      "/.well-known/acme/challenge",
		"http://acme.test/.well-known/acme/challenge/a%2F": "/.well-known/acme/challenge/a%2F",
		"http://group.test/app":                            "/",
		"http://group.test/app/x":                          "/x",
		"http://prefix.test/aaa/a%2Fb/../c//d":             "/aaa/a%2Fb/../c//d", // what no rule rewrites stays as it came
		"http://group.test/app/a%2Fb%24%20c":               "/a/b$%20c",
	} {
		if a := g.ask(what); a.seen.URI != uri {
			t.Errorf("%s: %d, the backend was asked for %q, want %q", what, a.status, a.seen.URI, uri)
		}
	}
}

// Hosts without paths, rules without hosts, hosts that nobody has, and backends that are none.
func TestPortableHosts(t *testing.T) {
	t.Parallel()
	g := newGate(t).web("a", "b")
	only := g.ruleOf("only", nil)
	only.Spec.Rules = []networkingv1.IngressRule{{Host: "only.test"}}
	only.Spec.DefaultBackend = &networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{Name: "a", Port: networkingv1.ServiceBackendPort{Number: 80}}}
	g.ingress(only)
	resource := g.ruleOf("resource", []string{"resource.test Prefix /bucket a", "resource.test Prefix /web b"})
	resource.Spec.Rules[0].HTTP.Paths[0].Backend = networkingv1.IngressBackend{Resource: &corev1.TypedLocalObjectReference{APIGroup: new("x.test"), Kind: "Bucket", Name: "b"}}
	g.ingress(resource)
	g.service("empty")
	g.rule("empty", []string{"empty.test Prefix / empty"}).rule("missing", []string{"missing.test Prefix / nobody"})
	g.open()
	// 9
	g.want("http://only.test/x", 200, "a")
	// 11
	for _, method := range []string{"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"} {
		for _, scheme := range []string{"http", "https"} {
			if a := g.ask(method + " " + scheme + "://unknown.test/x"); a.status != 404 {
				t.Errorf("%s over %s for a host that nobody has: %d", method, scheme, a.status)
			}
		}
	}
	// 12
	g.want("http://resource.test/bucket", 404, "")
	g.want("http://resource.test/web", 200, "b")
	// 13
	g.want("http://empty.test/", 503, "")
	g.want("http://missing.test/", 503, "")
	g.scale("empty", g.pod("scaled"))
	until(t, "a Service that has got endpoints is served", func() error { return answeredBy(g.ask("http://empty.test/"), 200, "scaled") })
	g.web("nobody")
	until(t, "a Service that has come is served", func() error { return answeredBy(g.ask("http://missing.test/"), 200, "nobody") })
	g.must(nil, g.client.CoreV1().Services("default").Delete(t.Context(), "nobody", metav1.DeleteOptions{}))
	until(t, "a Service that has gone is not served", func() error { return answeredBy(g.ask("http://missing.test/"), 503, "") })
}

// A rule without a host is for all hosts, but for those that have rules.
func TestPortableAnyHost(t *testing.T) {
	t.Parallel()
	g := newGate(t).web("a", "b")
	g.rule("any", []string{"- Prefix / a"}).rule("wild", []string{"*.wild.test Prefix / b"}).rule("one", []string{"one.wild.test Prefix /x a"})
	g.open()
	// 10
	g.want("http://whoever.test/", 200, "a")
	g.want("http://192.0.2.1/x", 200, "a")
	g.want("http://a.wild.test/", 200, "b")
	g.want("http://a.b.wild.test/", 200, "a")
	g.want("http://one.wild.test/x", 200, "a")
	g.want("http://one.wild.test/", 404, "") // a host that has rules has no others
}
