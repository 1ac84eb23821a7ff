package nginx

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"minato/internal/ingress/table"
)

// ingress-nginx 1.15 has 136 annotations, and two of them have another name; its main branch has session-cookie-partitioned
// too.
func TestAllAnnotationsAreThere(t *testing.T) {
	names, aliases := 0, 0
	seen := map[string]bool{}
	for _, a := range known().all {
		if seen[a.Name] {
			t.Errorf("%s is there twice", a.Name)
		}
		seen[a.Name] = true
		if a.AliasOf == "" {
			names++
		} else {
			aliases++
		}
		if a.Group == "" || a.Scope == "" || a.Bad == "" || a.Values == "" || a.Default == "" || a.Example == "" || a.Note == "" {
			t.Errorf("%s: its row has an empty field: %+v", a.Name, a)
		}
		if a.Support == Differs && a.Difference == "" {
			t.Errorf("%s: support %s and difference %q", a.Name, a.Support, a.Difference)
		}
		for _, n := range append([]string{a.AliasOf}, a.Needs...) {
			if _, ok := Lookup(n); n != "" && !ok {
				t.Errorf("%s names %s, which isn't there", a.Name, n)
			}
		}
	}
	if names != 137 || aliases != 2 {
		t.Errorf("%d annotations and %d aliases, want 137 and 2", names, aliases)
	}
}

// companions are what an annotation needs besides its row's Needs to act.
func companions(a Annotation) []string {
	switch a.Name {
	case "fastcgi-index", "fastcgi-params-configmap":
		return []string{"backend-protocol", "FCGI"}
	case "auth-type", "auth-secret-type":
		if a.Name == "auth-secret-type" {
			return []string{"auth-type", "basic", "auth-secret", "map"}
		}
		return []string{"auth-secret", "users"}
	case "auth-secret":
		return []string{"auth-type", "basic"}
	case "auth-realm":
		return []string{"auth-type", "basic", "auth-secret", "users"}
	case "proxy-redirect-from":
		return []string{"proxy-redirect-to", "/x"}
	case "proxy-redirect-to":
		return []string{"proxy-redirect-from", "http://internal/", "proxy-redirect-to", "/x"}
	case "upstream-hash-by-subset-size":
		return []string{"upstream-hash-by", "$uri", "upstream-hash-by-subset", "true"}
	case "limit-rate-after":
		return []string{"limit-rate", "1"}
	case "proxy-ssl-verify":
		return []string{"proxy-ssl-secret", "backend-tls"}
	case "canary-by-header-value", "canary-by-header-pattern":
		return []string{"canary", "true", "canary-by-header", "X-Canary"}
	case "affinity-canary-behavior", "affinity-mode":
		return []string{"affinity", "cookie"}
	}
	if len(a.Needs) > 0 {
		need, _ := Lookup(a.Needs[0])
		return append(companions(need), need.Name, need.Example)
	}
	return nil
}

// Every annotation that is said to be honoured changes what is done, without a finding that it isn't; every one that is
// refused has a finding that says so. None is accepted and ignored.
func TestNoAnnotationIsIgnored(t *testing.T) {
	for _, a := range known().all {
		t.Run(a.Name, func(t *testing.T) {
			before, _ := read(t, companions(a)...)
			after, findings := read(t, append(companions(a), a.Name, a.Example)...)
			mine := about(findings, a.Name)
			changed := !cmp.Equal(before, after, plain()...)
			if after.Fault != "" {
				t.Fatalf("the example closes the paths: %s", after.Fault)
			}
			for _, f := range mine {
				if f.Reason == ReasonInvalid || f.Reason == ReasonUnknown || f.Reason == ReasonNoEffect {
					t.Errorf("the example has a finding: %s: %s", f.Reason, f.Message)
				}
			}
			switch a.Support {
			case Refused:
				if len(mine) != 1 || mine[0].Reason != ReasonRefused || !mine[0].Warning {
					t.Errorf("findings %q, want that it is refused", messages(mine))
				}
				if changed {
					t.Error("it is refused and changes what is done")
				}
			default:
				if !changed && len(mine) == 0 {
					t.Error("it is accepted and ignored")
				}
			}
		})
	}
}

// hopeless are values that no annotation takes.
func hopeless(a Annotation) string {
	switch a.Name {
	case "auth-realm", "canary-by-header-value", "upstream-hash-by", "auth-cache-key", "x-forwarded-prefix", "opentelemetry-operation-name", "annotation-value":
		return "a\nb $"
	case "proxy-redirect-from":
		return "~("
	case "canary-by-header-pattern", "use-regex":
		return "("
	}
	return "no such thing ( $nothing"
}

// A value that can't be used is told of by name and value, and does what its row says: it closes the paths, or the host,
// or is as if absent. Nothing else happens.
func TestBadValues(t *testing.T) {
	for _, a := range known().all {
		if a.Support == Refused {
			continue
		}
		t.Run(a.Name, func(t *testing.T) {
			v := hopeless(a)
			before, _ := read(t, companions(a)...)
			after, findings := read(t, append(companions(a), a.Name, v)...)
			mine := about(findings, a.Name)
			if len(mine) == 0 {
				t.Fatalf("nothing is said about %q; all findings:\n%s", v, messages(findings))
			}
			for _, f := range mine {
				if !strings.Contains(f.Message, a.Name) || f.Ingress.Name != "web" || f.Ingress.Namespace != "shop" || !f.Warning {
					t.Errorf("finding %+v", f)
				}
			}
			host := after.Host.ClientTLS
			switch a.Bad {
			case BadCloses:
				if after.Fault == "" || !strings.Contains(after.Fault, a.Name) {
					t.Errorf("the paths are open: %q", after.Fault)
				}
			case BadClosesHost:
				if host == nil || host.Broken == "" {
					t.Error("the host is open")
				}
			default:
				if after.Fault != "" {
					t.Errorf("the paths are closed: %s", after.Fault)
				}
				switch a.Name {
				case "enable-cors", "cors-allow-origin", "canary-by-header-pattern", "proxy-redirect-from", "proxy-redirect-to":
					return // see their own tests: it is closed, not as if absent
				}
				if a.Name == "mirror-target" || a.Name == "proxy-buffer-size" {
					break
				}
				if d := cmp.Diff(before, after, plain()...); d != "" {
					t.Errorf("it is not as if it were absent:\n%s", d)
				}
			}
		})
	}
}

func TestUnknownAndEmpty(t *testing.T) {
	_, f := read(t, "ssl-redirekt", "true", "enable-opentracing", "true", "app-root", "  ")
	if m := about(f, "ssl-redirekt"); len(m) != 1 || m[0].Reason != ReasonUnknown {
		t.Errorf("a misspelt annotation: %q", messages(m))
	}
	if m := about(f, "enable-opentracing"); len(m) != 1 || !strings.Contains(m[0].Message, "use enable-opentelemetry") {
		t.Errorf("an annotation of old: %q", messages(m))
	}
	if m := about(f, "app-root"); len(m) != 1 || m[0].Reason != ReasonNoEffect || m[0].Warning {
		t.Errorf("an empty annotation: %q", messages(m))
	}
	ing := ingress()
	ing.Annotations["example.com/rewrite-target"] = "/"
	if o, f, _ := Read(ing, table.ClassNginx, testDefaults(), newCluster(t)); len(f) != 0 || o.Location.Rewrite != nil {
		t.Error("an annotation with another prefix is read")
	}
	d := testDefaults()
	d.Prefix = "example.com"
	if o, _, _ := Read(ing, table.ClassNginx, d, newCluster(t)); o.Location.Rewrite == nil {
		t.Error("an annotation with the prefix that is set is not read")
	}
}
