package table

import (
	"net/netip"
	"testing"
)

// What one reader of a path takes for another one's path does not get past the guards of that.
func TestMisread(t *testing.T) {
	guard := func(i *Ingress) *Ingress {
		i.Options.Location.Allow = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
		return i
	}
	closed := guard(ing("closed", 2, "h P /closed closed", "h P /too closed"))
	also := guard(ing("also", 2, "h P /also also"))
	faulty := ing("faulty", 2, "h P /faulty faulty")
	faulty.Options.Fault = "a value can't be used"
	rewriting := ing("rewriting", 2, "r P /open open")
	rewriting.Options.Location.Rewrite = &Rewrite{Target: Text{Parts: []Part{{Literal: "/x"}}}}
	same := ing("same", 2, "s P /open open")
	same.Options.Location.Rewrite = &Rewrite{Target: Text{Parts: []Part{{Literal: "/open"}}}}
	table := build(closed, also, faulty, ing("open", 3, "h P / open", "h P /open open"), rewriting, guard(ing("r", 1, "r P /closed closed")), same, guard(ing("s", 1, "s P /closed closed")))
	for _, tt := range []struct {
		host, raw string
		by        string // whose guards would be passed; "" is nobody's
	}{
		{"h", "/closed/../open", "closed"}, {"h", "/closed/%2e%2e/open", "closed"}, {"h", "/closed/..%2fopen", "closed"}, {"h", "/closed/..%5copen", ""},
		{"h", "/closed/x%2fy", ""}, {"h", "/open%2f..%2fclosed", ""}, // the match itself is guarded
		{"h", "/open/../closed", ""}, {"h", "/closed/../too", ""}, {"h", "/closed/../also", ""}, {"h", "/faulty/../open", "faulty"},
		{"h", "/closed;a", "closed"}, {"h", "/closed;a=b/x", "closed"}, {"h", "/open/..;/closed", "closed"}, {"h", "/open/..;a/closed", "closed"}, {"h", "/open/%2e%2e;/closed", "closed"},
		{"h", `/open\..\closed`, "closed"}, {"h", "/open%5c..%5cclosed", "closed"}, {"h", `/open\closed`, ""},
		{"h", "/open;jsessionid=1/x", ""}, {"h", "/a%2Fb", ""}, {"h", "/open/a%2F..%2Fb", ""}, {"h", "/open/./x", ""}, {"h", "//open", ""}, {"h", "/x;y", ""},
		{"r", "/closed/../open", ""}, // the backend gets what the rewrite has made
		{"s", "/closed/../open", "s"},
	} {
		path, flags, err := NormalizePath(nil, tt.raw)
		if err != nil {
			t.Fatalf("%s: %v", tt.raw, err)
		}
		var m Match
		table.Match(tt.host, path, &m)
		got := ""
		if r := table.Misread(tt.host, tt.raw, flags, &m); r != nil {
			got = r.Ingress
		}
		if got != tt.by {
			t.Errorf("%s%s, matched as %s by %q: the guards of %q would be passed, want %q", tt.host, tt.raw, path, m.Route.Ingress, got, tt.by)
		}
		x := table.Explain(Request{Host: tt.host, RawPath: tt.raw})
		if (x.Status == 400) != (tt.by != "") || tt.by != "" && x.Reason == "" {
			t.Errorf("%s%s is explained as %d: %s", tt.host, tt.raw, x.Status, x.Reason)
		}
	}
}
