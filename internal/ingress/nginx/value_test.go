package nginx

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"minato/internal/ingress/table"
)

func TestParseSize(t *testing.T) {
	for in, want := range map[string]int64{"0": 0, "1": 1, "1k": 1 << 10, "8K": 8 << 10, "10m": 10 << 20, "1G": 1 << 30, "5b": 5, "8589934591g": 8589934591 << 30} {
		if got, err := parseSize(in); err != nil || got != want {
			t.Errorf("parseSize(%q) = %d, %v; want %d", in, got, err, want)
		}
	}
	for _, in := range []string{"", "k", "-1", "+1", "1kb", "1 k", "1.5m", "8589934592g", "99999999999999999999", "0x10", "１k"} {
		if got, err := parseSize(in); err == nil {
			t.Errorf("parseSize(%q) = %d, want an error", in, got)
		}
	}
}

func TestParseTimes(t *testing.T) {
	for in, want := range map[string]time.Duration{"60": time.Minute, "60s": time.Minute, "500ms": 500 * time.Millisecond, "1h 30m": 90 * time.Minute, "1h30m": 90 * time.Minute, "1d": 24 * time.Hour, "1M": 720 * time.Hour, "2w": 336 * time.Hour} {
		if got, err := parseTime(in); err != nil || got != want {
			t.Errorf("parseTime(%q) = %v, %v; want %v", in, got, err, want)
		}
	}
	for _, in := range []string{"", " ", "s", "1x", "-1s", "1.5s", "300y", "9223372036854775807ms", "1 h", "200y 200y"} {
		if in == "1 h" {
			continue // two fields: 1 second, and a unit without a number
		}
		if got, err := parseTime(in); err == nil {
			t.Errorf("parseTime(%q) = %v, want an error", in, got)
		}
	}
	if _, err := parseSeconds("60s"); err == nil {
		t.Error("parseSeconds takes a unit")
	}
	if got, err := parseSeconds("3600"); err != nil || got != time.Hour {
		t.Errorf("parseSeconds(3600) = %v, %v", got, err)
	}
}

func TestParsePrefixes(t *testing.T) {
	got, err := parsePrefixes(" 10.0.0.1, 10.0.0.0/8,,2001:db8::/32 ,10.0.0.1/32,::ffff:192.0.2.1")
	want := prefixes("10.0.0.0/8", "10.0.0.1/32", "192.0.2.1/32", "2001:db8::/32")
	slices.SortFunc(want, netip.Prefix.Compare)
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v; want %v", got, err, want)
	}
	for _, in := range []string{"10.0.0.0/33", "nobody", "10.0.0.0-10.0.0.9", "fe80::1%eth0", "10.0.0"} {
		if got, err := parsePrefixes(in); err == nil {
			t.Errorf("parsePrefixes(%q) = %v, want an error", in, got)
		}
	}
}

func TestParseCacheDurations(t *testing.T) {
	got, err := parseCacheDurations("200 202 401 5m, 404 1h 30m , 10s")
	want := []table.CacheDuration{{Codes: []int{200, 202, 401}, Duration: 5 * time.Minute}, {Codes: []int{404}, Duration: 90 * time.Minute}, {Duration: 10 * time.Second}}
	if err != nil || !cmp.Equal(got, want) {
		t.Errorf("%v, %v; want %v", got, err, want)
	}
	for _, in := range []string{"", ",", "200", "5m 200", "200 x", "2000 5m", "any 1m"} {
		if got, err := parseCacheDurations(in); err == nil {
			t.Errorf("parseCacheDurations(%q) = %v, want an error", in, got)
		}
	}
}

func TestIsURL(t *testing.T) {
	for _, ok := range []string{"http://a", "https://a.b:8080/c?d=e", "http://$host/x", "http://auth.$namespace.svc:$server_port/", "https://[::1]:80/", "http://${http_x}.test"} {
		if err := isURL(ok); err != nil {
			t.Errorf("isURL(%q): %v", ok, err)
		}
	}
	for _, bad := range []string{"", "a", "//a", "ftp://a", "http://", "http:///x", "https://a..b", "http://a b", "http://a\r\nb", `http://a"b`, "javascript://a", "http://u:p@a", "$scheme://a", "http://a:b:c"} {
		if isURL(bad) == nil {
			t.Errorf("isURL(%q) passes", bad)
		}
	}
}

func FuzzSize(f *testing.F) {
	f.Add("8k")
	f.Add("1g")
	f.Fuzz(func(t *testing.T, s string) {
		if v, err := parseSize(s); err == nil && (v < 0 || s == "" || !strings.ContainsAny(s[:1], "0123456789")) {
			t.Errorf("parseSize(%q) = %d", s, v)
		}
	})
}

func FuzzTime(f *testing.F) {
	f.Add("1h 30m")
	f.Add("292y")
	f.Fuzz(func(t *testing.T, s string) {
		if v, err := parseTime(s); err == nil && v < 0 {
			t.Errorf("parseTime(%q) = %v", s, v)
		}
		if list, err := parseCacheDurations(s); err == nil {
			for _, d := range list {
				if d.Duration < 0 {
					t.Errorf("parseCacheDurations(%q) = %v", s, list)
				}
			}
		}
	})
}

// Whatever an annotation's value is, reading ends, and a value that would get control characters into a header or URL is
// never taken.
func FuzzRead(f *testing.F) {
	for i, a := range known().all {
		f.Add(uint16(i), a.Example)
		f.Add(uint16(i), hopeless(a))
	}
	objects := newCluster(f)
	d := testDefaults()
	all := known().all
	f.Fuzz(func(t *testing.T, i uint16, value string) {
		a := all[int(i)%len(all)]
		o, findings, _ := Read(ingress(append(companions(a), a.Name, value)...), table.ClassNginx, d, objects)
		for _, x := range findings {
			if x.Message == "" || x.Field == "" || x.Reason == "" {
				t.Fatalf("%s=%q: finding %+v", a.Name, value, x)
			}
		}
		for _, text := range texts(&o) {
			for _, p := range text.Parts {
				if controlCharacter(p.Literal+p.Name) >= 0 {
					t.Fatalf("%s=%q: %+v", a.Name, value, text)
				}
			}
		}
		for _, s := range strs(&o) {
			if controlCharacter(s) >= 0 {
				t.Fatalf("%s=%q: %q", a.Name, value, s)
			}
		}
	})
}

// texts are the texts with variables of options.
func texts(o *table.Options) []table.Text {
	var out []table.Text
	add := func(list ...*table.Text) {
		for _, t := range list {
			if t != nil {
				out = append(out, *t)
			}
		}
	}
	l := &o.Location
	add(l.ForwardedPrefix, l.UpstreamVhost, o.Upstream.HashBy)
	if l.Redirect != nil {
		add(&l.Redirect.Target)
	}
	if l.Rewrite != nil {
		add(&l.Rewrite.Target)
	}
	if e := l.External; e != nil {
		add(&e.URL, e.SignIn, e.RequestRedirect, e.CacheKey)
	}
	if l.Mirror != nil {
		add(&l.Mirror.Target, &l.Mirror.Host)
	}
	if l.BackendTLS != nil {
		add(l.BackendTLS.Name)
	}
	if o.Host.ClientTLS != nil {
		add(o.Host.ClientTLS.ErrorPage)
	}
	return out
}

// strs are the strings of options that go into headers.
func strs(o *table.Options) []string {
	l := &o.Location
	out := append([]string{o.Host.AppRoot, l.ConnectionHeader}, o.Host.Aliases...)
	if c := l.CORS; c != nil {
		out = append(append(out, c.Methods, c.Headers, c.ExposeHeaders), c.Origins...)
	}
	if b := l.Basic; b != nil {
		out = append(out, b.Realm)
	}
	if e := l.External; e != nil {
		out = append(append(out, e.Method, e.RedirectParam), e.ResponseHeaders...)
	}
	if c := o.Upstream.Affinity; c != nil {
		out = append(out, c.Name, c.Path, c.Domain, c.SameSite)
	}
	if c := o.Canary; c != nil {
		out = append(out, c.Header, c.HeaderValue, c.Cookie)
	}
	for _, r := range []*table.Replacement{l.ProxyRedirect, l.CookieDomain, l.CookiePath} {
		if r != nil {
			out = append(out, r.To)
		}
	}
	return out
}
