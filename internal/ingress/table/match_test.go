package table

import "testing"

// Each row names where the behaviour comes from: API for the field's documentation in networking.k8s.io/v1, IN for
// ingress-nginx as measured, CC for ingress-controller-conformance.
func TestMatch(t *testing.T) {
	type want = map[string]string
	for _, tt := range []struct {
		name, source string
		ings         []*Ingress
		want         want
	}{
		{"prefix is by elements", "IN path types; API HTTPIngressPath.pathType", []*Ingress{ing("a", 1, "h P /aaa s")},
			want{"h/aaa": "s", "h/aaa/": "s", "h/aaa/c": "s", "h/aaacc": "404", "h/aa": "404", "h/AAA": "404", "h/": "404"}},
		{"exact root beside prefix root", "IN path types", []*Ingress{ing("a", 1, "h E / e", "h P / p")},
			want{"h/": "e", "h/bar": "p"}},
		{"exact beats prefix", "IN path types", []*Ingress{ing("a", 1, "h E /foo e", "h P /foo p", "h P / r")},
			want{"h/foo": "e", "h/foo/b": "p", "h/foo/": "p", "h/foobar": "r"}},
		{"the same path again", "IN path types", []*Ingress{ing("a", 2, "h P /foo old"), ing("b", 1, "h P /foo young", "h P /bar young")},
			want{"h/foo": "old", "h/bar": "young"}},
		{"the same second: name descending", "IN ordering", []*Ingress{ing("a", 1, "h P /foo a"), ing("b", 1, "h P /foo b")},
			want{"h/foo": "b"}},
		{"patterns are not anchored at their end", "IN use-regex", []*Ingress{ing("a", 1, "h I /id/[0-9]+ s").with(useRegex)},
			want{"h/id/123a": "s", "h/id/a": "404", "h/ID/1": "s"}},
		{"patterns with an end", "IN use-regex", []*Ingress{ing("a", 1, "h I /id/[0-9]+$ s").with(useRegex)},
			want{"h/id/123a": "404", "h/id/123": "s"}},
		{"longer pattern text first", "IN use-regex", []*Ingress{ing("a", 2, "h P /foo/bar/bar plain"), ing("b", 1, "h I /foo/bar/[a-z]{3} regex").with(useRegex)},
			want{"h/foo/bar/bar": "regex", "h/foo/bar/bar/x": "regex", "h/foo/bar/1": "404"}},
		{"exact in a host of patterns", "IN use-regex", []*Ingress{ing("a", 2, "h E /foo e"), ing("b", 1, "h I /x[0-9] r").with(useRegex)},
			want{"h/FOObar": "e", "h/foo": "e", "h/x1": "r"}},
		{"capture group of the usual rewrite", "IN rewrite-target", []*Ingress{ing("a", 1, "h I /app(/|$)(.*) s").with(rewrite("/$2"))},
			want{"h/app": "s", "h/app/": "s", "h/app/x": "s", "h/appx": "404"}},
		{"rewrite equal to the path makes no patterns", "IN rewrite-target", []*Ingress{ing("a", 1, "h P /foo s").with(rewrite("/foo"))},
			want{"h/foo": "s", "h/foobar": "404"}},
		{"rewrite on / leaves other paths alone", "IN rewrite-target", []*Ingress{ing("a", 2, "h P / s").with(rewrite("/x")), ing("b", 1, "h P /.well-known/acme/challenge acme")},
			want{"h/.well-known/acme/challenge": "acme", "h/.well-known/acme/challenge/t": "acme", "h/other": "s"}},
		{"two patterns of a prefix", "IN use-regex", []*Ingress{ing("a", 2, "h P /foo p"), ing("b", 1, "h I /foo. r").with(useRegex)},
			want{"h/foo/": "p", "h/foox": "r", "h/foo": "p"}},
		{"rule without http", "IN default backend", []*Ingress{ing("a", 1, "h -", "default d")},
			want{"h/": "d", "h/x": "d", "other/": "404"}},
		{"younger rule without http", "API IngressRuleValue", []*Ingress{ing("a", 2, "h P /foo s"), ing("b", 1, "h -", "default d")},
			want{"h/foo": "s", "h/x": "d"}},
		{"rule without host", "IN path types", []*Ingress{ing("a", 1, "- P /foo s")},
			want{"h/foo": "s", "/foo": "s", "x.y:80/foo/b": "s", "h/": "404"}},
		{"a star at the end", "articles: GKE's /path1/*", []*Ingress{ing("a", 1, "h I /path1/* one", "h I /* all", "h P /p/* literal", "h E /e/* exact")},
			want{"h/path1/": "one", "h/path1/x/y": "one", "h/path1": "one", "h/path10": "all", "h/": "all", "h/p/x": "all", "h/p/*": "literal", "h/e/x": "all"}},
		{"a star at the end, class nginx", "IN path types", []*Ingress{ofNginx(ing("a", 1, "h I /path1/* one"))},
			want{"h/path1/x": "404", "h/path1/*": "one"}},
		{"nothing", "IN default backend", nil, want{"h/": "404", "/x": "404"}},
		{"resource backend", "IN resource backends", []*Ingress{ing("a", 1, "h P /r resource", "h P / s")},
			want{"h/r": "404", "h/r/x": "404", "h/x": "s"}},
		{"only a default backend", "CC default backend", []*Ingress{ing("a", 1, "default d:80"), ing("b", 2, "h P /foo s")},
			want{"x/": "d", "x/y": "d", "h/foo": "s", "h/": "404"}},
		{"default backend for the rest of the hosts", "API IngressSpec.defaultBackend; IN", []*Ingress{ing("a", 1, "h P /foo s", "default d")},
			want{"h/foo": "s", "h/": "d", "h/x": "d", "x/": "404"}},
		{"only the oldest one's default backend", "IN catch-all", []*Ingress{ing("a", 2, "h P /foo s"), ing("b", 1, "h P /bar s", "default d")},
			want{"h/x": "404"}},
		{"hosts", "API IngressRule.host; CC host rules", []*Ingress{ing("a", 1, "*.foo.com P / wild", "a.foo.com P /x exact", "- P / any")},
			want{"b.foo.com/": "wild", "b.foo.com:8080/x": "wild", "B.FOO.com./": "wild", "a.foo.com/x": "exact", "a.foo.com/y": "404",
				"x.b.foo.com/": "any", "foo.com/": "any", "b%.foo.com/": "any", ".foo.com/": "any", "[::1]:80/": "any", "::1/": "any", "a.foo.com.:80/x": "exact"}},
		{"prefix with a slash", "CC path rules", []*Ingress{ing("a", 1, "h P /aaa/bbb/ s")},
			want{"h/aaa/bbb": "s", "h/aaa/bbb/": "s", "h/aaa/bbb/ccc": "s", "h/aaa/bbbxyz": "404", "h/aaa": "404"}},
		{"prefix with and without a slash", "API HTTPIngressPath.pathType", []*Ingress{ing("a", 1, "h P /foo no", "h P /foo/ yes")},
			want{"h/foo": "no", "h/foo/": "yes", "h/foo/x": "yes"}},
		{"exact with a slash", "CC path rules", []*Ingress{ing("a", 1, "h E /foo/ s")},
			want{"h/foo/": "s", "h/foo": "404", "h/foo/x": "404"}},
		{"longest of several prefixes", "CC path rules", []*Ingress{ing("a", 1, "h P / r", "h P /aaa a", "h P /aaa/bbb b")},
			want{"h/aaa/bbb": "b", "h/aaa/bbb/c": "b", "h/aaa/bb": "a", "h/aaa": "a", "h/ccc": "r", "h/aa": "r"}},
		{"no path is /", "IN", []*Ingress{ing("a", 1, "h I '' s")}, want{"h/": "s", "h/x": "s"}},
		{"no type is prefix", "IN path types", []*Ingress{ing("a", 1, "h - /foo s").with(func(i *Ingress) {
			i.Object.Spec.Rules = ing("a", 1, "h ? /foo s").Object.Spec.Rules
		})}, want{"h/foo/x": "s", "h/foox": "404"}},
		{"a path that is no pattern", "safe reading: its text, closed if patterns were asked for", []*Ingress{ing("a", 1, "h I /x[0-9] r", "h I /adm(in s", "h P / o").with(useRegex), ing("b", 1, "h P /q(u p")},
			want{"h/adm(in": "503", "h/admin": "o", "h/q(u": "p"}},
	} {
		t.Run(tt.name, func(t *testing.T) { check(t, build(tt.ings...), tt.want) })
	}
}

func ofNginx(i *Ingress) *Ingress {
	i.Class = ClassNginx
	return i
}
