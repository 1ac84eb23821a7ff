package filter

import (
	"regexp"
	"strings"
	"testing"

	"minato/internal/ingress/table"
)

// TestTrace: W3C Trace Context, created or gone on with (enable-opentelemetry, opentelemetry-trust-incoming-span).
func TestTrace(t *testing.T) {
	yes, no := true, false
	const in = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
	const id = "0af7651916cd43dd8448eb211c80319c"
	on, distrusting, trusting := table.Location{Tracing: &yes}, table.Location{Tracing: &yes, TracingTrust: &no}, table.Location{Tracing: &yes, TracingTrust: &yes}
	fresh, kept := `^00-[0-9a-f]{32}-[0-9a-f]{16}-01$`, `^00-`+id+`-[0-9a-f]{16}-00$`
	for _, c := range []struct {
		name   string
		loc    table.Location
		fields []string
		want   string // a pattern; "" for none
		state  string
	}{
		{"off", table.Location{}, nil, "", ""},
		{"off: a client's passes", table.Location{}, []string{"traceparent", in, "tracestate", "a=1"}, "^" + in + "$", "a=1"},
		{"switched off", table.Location{Tracing: &no}, []string{"traceparent", in}, "^" + in + "$", ""},
		{"new", on, nil, fresh, ""},
		{"trusted by default", on, []string{"traceparent", in, "tracestate", "a=1"}, kept, "a=1"},
		{"trusted", trusting, []string{"Traceparent", in}, kept, ""},
		{"not trusted", distrusting, []string{"traceparent", in, "tracestate", "a=1"}, fresh, ""},
		{"later version", on, []string{"traceparent", "cc" + in[2:] + "-more"}, kept, ""},
		{"twice", on, []string{"traceparent", in, "traceparent", in, "tracestate", "a=1"}, fresh, ""},
		{"version ff", on, []string{"traceparent", "ff" + in[2:]}, fresh, ""},
		{"too long for 00", on, []string{"traceparent", in + "-more"}, fresh, ""},
		{"too short", on, []string{"traceparent", in[:54]}, fresh, ""},
		{"upper case", on, []string{"traceparent", strings.ToUpper(in)}, fresh, ""},
		{"zero trace", on, []string{"traceparent", "00-" + strings.Repeat("0", 32) + "-b7ad6b7169203331-01"}, fresh, ""},
		{"zero span", on, []string{"traceparent", "00-" + id + "-" + strings.Repeat("0", 16) + "-01"}, fresh, ""},
		{"no digits", on, []string{"traceparent", strings.Replace(in, "0a", "zz", 1)}, fresh, ""},
		{"later version, no hyphen behind", on, []string{"traceparent", "cc" + in[2:] + "x"}, fresh, ""},
	} {
		a := newTestAfter(t, nil)
		x := afterExchange(&c.loc, c.fields...)
		a.trace(x, &c.loc)
		got := string(x.Forward.GetName("traceparent"))
		if c.want == "" && got != "" || c.want != "" && !regexp.MustCompile(c.want).MatchString(got) {
			t.Errorf("%s: %q", c.name, got)
		}
		if c.name != "off: a client's passes" && c.name != "switched off" && strings.Contains(got, "b7ad6b7169203331") {
			t.Errorf("%s: the ID of the client's span goes on to the backend", c.name)
		}
		if c.want != "" && c.name != "twice" && c.name != "off: a client's passes" {
			n := 0
			for range x.Forward.Values("traceparent") {
				n++
			}
			if n != 1 {
				t.Errorf("%s: %d contexts", c.name, n)
			}
		}
		if s := string(x.Forward.GetName("tracestate")); s != c.state {
			t.Errorf("%s: tracestate %q", c.name, s)
		}
	}
}

// TestTraceIDs: no two requests have the same, and chance that says 0 makes none of zeros, which are invalid.
func TestTraceIDs(t *testing.T) {
	yes := true
	loc := table.Location{Tracing: &yes}
	a := newTestAfter(t, nil)
	seen := map[string]bool{}
	for range 1000 {
		x := afterExchange(&loc)
		a.trace(x, &loc)
		v := string(x.Forward.GetName("traceparent"))
		if seen[v[3:35]] || seen[v[36:52]] {
			t.Fatalf("%s is there twice", v)
		}
		seen[v[3:35]], seen[v[36:52]] = true, true
	}
	a = newTestAfter(t, func(c *afterConfig) { c.Random = func() uint64 { return 0 } })
	x := afterExchange(&loc)
	a.trace(x, &loc)
	if v := x.Forward.GetName("traceparent"); !validTraceparent(v) {
		t.Errorf("%s is invalid", v)
	}
}

func FuzzTraceparent(f *testing.F) {
	f.Add("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	f.Add("cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what")
	valid := regexp.MustCompile(`^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(-.*)?$`)
	f.Fuzz(func(t *testing.T, s string) {
		m := valid.FindStringSubmatch(s)
		want := m != nil && m[1] != "ff" && m[2] != strings.Repeat("0", 32) && m[3] != strings.Repeat("0", 16) && (m[1] != "00" || m[4] == "")
		if strings.Contains(s, "\n") {
			t.Skip("no field has one")
		}
		if got := validTraceparent([]byte(s)); got != want {
			t.Errorf("%q: %t", s, got)
		}
	})
}
