package table

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	networkingv1 "k8s.io/api/networking/v1"

	"minato/internal/ingress/regex"
)

// naive finds a path among rules by going through all of them, as the fields' documentation says it.
func naive(rules []networkingv1.HTTPIngressPath, patterns bool, path string) string {
	best, at := "404", -1
	if patterns {
		type one struct{ text, svc, own string }
		var all []one
		for _, r := range rules {
			if literal := *r.PathType; literal != networkingv1.PathTypeExact && !strings.HasSuffix(r.Path, "/") {
				all = append(all, one{r.Path + "/", r.Backend.Service.Name, "2"})
			}
			own := "1"
			if *r.PathType == networkingv1.PathTypeExact {
				own = "0"
			}
			all = append(all, one{r.Path, r.Backend.Service.Name, own})
		}
		slices.SortStableFunc(all, func(a, b one) int {
			if len(a.text) != len(b.text) {
				return len(b.text) - len(a.text)
			}
			if c := strings.Compare(b.text, a.text); c != 0 {
				return c
			}
			return strings.Compare(a.own, b.own)
		})
		for _, p := range all {
			re, err := regex.Compile("^"+p.text, regex.Options{IgnoreCase: true})
			if err != nil {
				if hasPrefixFold(path, lowerASCII(p.text)) {
					return p.svc
				}
				continue
			}
			if ok, err := re.Match(path); ok && err == nil {
				return p.svc
			}
		}
		return best
	}
	for _, r := range rules {
		rank := -1
		switch *r.PathType {
		case networkingv1.PathTypeExact:
			if r.Path == path {
				rank = 1 << 20
			}
		default:
			want, have := strings.TrimSuffix(r.Path, "/"), strings.TrimSuffix(path, "/")
			switch {
			case want == have:
				rank = 10 * len(want)
				if strings.HasSuffix(r.Path, "/") == strings.HasSuffix(path, "/") {
					rank++
				}
			case strings.HasPrefix(have, want+"/"):
				rank = 10 * len(want)
				if strings.HasSuffix(r.Path, "/") {
					rank++
				}
			}
		}
		if rank > at {
			best, at = r.Backend.Service.Name, rank
		}
	}
	return best
}

// FuzzMatch compares the path structure with a search through all rules. Rules are lines of a type (E, P, I, or R for
// a host of patterns) and a path.
func FuzzMatch(f *testing.F) {
	f.Add("P/\nP/foo\nE/foo\nP/foo/\nP/foo/bar", "/foo/bar/x")
	f.Add("P/aaa/bbb/\nE/aaa/\nP/aaa", "/aaa/bbb")
	f.Add("R/id/[0-9]+\nP/foo\nE/Foo/\nI/foo.", "/FOO/")
	f.Add("R/app(/|$)(.*)\nR/a|/b\nP/a", "/app/x")
	f.Add("R/\nP/f(oo", "/F(oo/")
	f.Add("E/a/b/c/d/e\nP/a/b", "/a/b/c/d/e/f/g/")
	f.Fuzz(func(t *testing.T, text, path string) {
		if len(text) > 300 || len(path) > 100 {
			return
		}
		b := NewBuilder()
		var rules []networkingv1.HTTPIngressPath
		seen := map[pathKey]bool{}
		patterns := false
		for i, line := range strings.Split(text, "\n") {
			if len(line) < 2 || line[1] != '/' || strings.Contains(line, "//") {
				continue
			}
			x := map[byte]networkingv1.PathType{'E': networkingv1.PathTypeExact, 'P': networkingv1.PathTypePrefix, 'I': networkingv1.PathTypeImplementationSpecific}
			pt, ok := x[line[0]]
			if line[0] == 'R' {
				pt, ok, patterns = networkingv1.PathTypePrefix, true, true
			}
			p := part{path: line[1:], pathType: pt}
			if !ok || seen[p.key()] {
				continue
			}
			seen[p.key()] = true
			r := networkingv1.HTTPIngressPath{Path: line[1:], PathType: &pt, Backend: backendFor(fmt.Sprintf("s%d", i))}
			rules = append(rules, r)
			one := ing(fmt.Sprintf("i%d", i), 0)
			one.Object.Spec.Rules = []networkingv1.IngressRule{{Host: "h", IngressRuleValue: networkingv1.IngressRuleValue{HTTP: &networkingv1.HTTPIngressRuleValue{Paths: []networkingv1.HTTPIngressPath{r}}}}}
			b.Set(one)
		}
		if patterns {
			// An Ingress of its own has the host matched as patterns, so that the others are plain ones in it.
			r := ing("regex", 0, "h E /~[~] none").with(useRegex)
			if !seen[pathKey{"/~[~]", true}] {
				rules = append(rules, r.Object.Spec.Rules[0].HTTP.Paths...)
			}
			b.Set(r)
		}
		clean, _, err := NormalizePath(nil, path)
		if err != nil {
			return
		}
		table := b.Table()
		if table.names.get("h") == nil {
			return
		}
		if got, want := answer(table, "h", clean), naive(rules, patterns, clean); got != want && got != regex.ErrSteps.Error() {
			t.Errorf("%q among %q goes to %s, want %s", clean, text, got, want)
		}
		explained := table.Explain(Request{Host: "h", RawPath: path})
		if explained.Route != nil && (len(explained.Candidates) == 0 || !explained.Candidates[0].Chosen) {
			t.Errorf("%q among %q: the route isn't among the candidates %+v", clean, text, explained.Candidates)
		}
	})
}

// FuzzNormalizePath checks what all clean paths have, and that making one clean twice changes nothing that escapes don't
// change.
func FuzzNormalizePath(f *testing.F) {
	for _, p := range []string{"/", "/a/../b", "/%2e%2e/a", "/a%2fb", "//a///b", "/a/./b/.", "/..", "/%zz", "/a%00", "/.well-known/x", "/a/b/..", "/%25%32%65", "/...", "/..a/.b"} {
		f.Add(p)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		p, flags, err := NormalizePath(nil, raw)
		if err != nil {
			return
		}
		if p[0] != '/' || strings.Contains(p, "//") || strings.Contains(p, "/./") || strings.Contains(p, "/../") || strings.HasSuffix(p, "/..") || strings.HasSuffix(p, "/.") || strings.Contains(p, "\x00") {
			t.Errorf("%q becomes %q, which isn't clean", raw, p)
		}
		if flags == 0 && p != raw {
			t.Errorf("%q becomes %q, and no flag says so", raw, p)
		}
		escaped := strings.NewReplacer("%", "%25").Replace(p)
		if again, _, err := NormalizePath(nil, escaped); err != nil || again != p {
			t.Errorf("%q becomes %q, and that %q: %v", raw, p, again, err)
		}
	})
}
