package h1

import (
	"bytes"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// parsed returns the Header of a request with the field lines.
func parsed(t testing.TB, lines ...string) *Header {
	t.Helper()
	var pool Buffers
	q := new(Request)
	lim := defaultRequestLimits()
	lim.PassInvalid = true
	text := "GET / HTTP/1.0\r\n" + strings.Join(lines, "\r\n") + "\r\n\r\n"
	if len(lines) == 0 {
		text = "GET / HTTP/1.0\r\n\r\n"
	}
	if err := NewReader(strings.NewReader(text), &pool).ReadRequest(q, &lim); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return &q.Header
}

func lines(h *Header) string { return strings.ReplaceAll(string(h.AppendTo(nil)), "\r\n", "|") }

// Every known name is found in any case, by both functions.
func TestNames(t *testing.T) {
	slots := map[uint8]string{}
	for id := ID(1); id < idCount; id++ {
		name := id.String()
		if other := slots[nameHash(name)]; other != "" {
			t.Errorf("%s and %s have one slot", name, other)
		}
		slots[nameHash(name)] = name
		for _, s := range []string{name, strings.ToLower(name), strings.ToUpper(name)} {
			if got := idOf(s); got != id {
				t.Errorf("idOf(%s) is %s", s, got)
			}
			if got := lookup([]byte(s)); got != id {
				t.Errorf("lookup(%s) is %s", s, got)
			}
		}
		for i := range name {
			other := name[:i] + "x" + name[i+1:]
			if strings.EqualFold(other, name) {
				continue
			}
			if a, b := idOf(other), lookup([]byte(other)); a == id || b == id {
				t.Errorf("%s is taken for %s", other, name)
			}
		}
	}
	if idCount > 64 {
		t.Errorf("%d fields do not fit a mask", idCount)
	}
}

func TestHeaderEdit(t *testing.T) {
	for _, c := range []struct {
		name string
		edit func(h *Header) error
		want string
	}{
		{"nothing", func(*Header) error { return nil }, "Host: h|A: 1|Cookie: c|a: 2|B:  3 |"},
		{"add", func(h *Header) error { return h.AddString(XRealIP, " 1.2.3.4\t") }, "Host: h|A: 1|Cookie: c|a: 2|B:  3 |X-Real-IP: 1.2.3.4|"},
		{"add by name", func(h *Header) error { return h.AddName("x-b", "v") }, "Host: h|A: 1|Cookie: c|a: 2|B:  3 |x-b: v|"},
		{"set in place", func(h *Header) error { return h.Set(Host, []byte("other")) }, "Host: other|A: 1|Cookie: c|a: 2|B:  3 |"},
		{"set removes the others", func(h *Header) error { return h.SetName("a", "9") }, "Host: h|a: 9|Cookie: c|B:  3 |"},
		{"set twice", func(h *Header) error { _ = h.SetName("n", "1"); return h.SetName("N", "2") }, "Host: h|A: 1|Cookie: c|a: 2|B:  3 |N: 2|"},
		{"set of known ones", func(h *Header) error {
			_ = h.AddString(Cookie, "d")
			return h.SetString(Cookie, "e")
		}, "Host: h|A: 1|Cookie: e|a: 2|B:  3 |"},
		{"delete", func(h *Header) error { h.Del(Cookie); return nil }, "Host: h|A: 1|a: 2|B:  3 |"},
		{"delete by name", func(h *Header) error { h.DelName("a"); return nil }, "Host: h|Cookie: c|B:  3 |"},
		{"delete by name, known", func(h *Header) error { h.DelName("COOKIE"); return nil }, "Host: h|A: 1|a: 2|B:  3 |"},
		{"delete a set", func(h *Header) error { h.DelMask(Mask(Host, Cookie, Date)); return nil }, "A: 1|a: 2|B:  3 |"},
		{"delete what is not there", func(h *Header) error { h.DelName("zz"); h.Del(Date); return nil }, "Host: h|A: 1|Cookie: c|a: 2|B:  3 |"},
		{"delete by function", func(h *Header) error {
			h.DelFunc(func(id ID, name, value []byte) bool { return id == Host || string(value) == "2" })
			return nil
		}, "A: 1|Cookie: c|B:  3 |"},
		{"the mask of unknown fields is empty", func(h *Header) error { h.DelMask(Mask(Unknown)); h.Del(Unknown); return nil }, "Host: h|A: 1|Cookie: c|a: 2|B:  3 |"},
	} {
		h := parsed(t, "Host: h", "A: 1", "Cookie: c", "a: 2", "B:  3 ")
		if err := c.edit(h); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		// Received lines are normalised when they are written.
		if got, want := lines(h), strings.ReplaceAll(c.want, "B:  3 |", "B: 3|"); got != want {
			t.Errorf("%s: %s, want %s", c.name, got, want)
		}
		for id := ID(1); id < idCount; id++ {
			n := 0
			for i := range h.Len() {
				if h.FieldID(i) == id {
					n++
				}
			}
			if h.Has(id) != (n > 0) || h.Count(id) != n {
				t.Errorf("%s: Has(%s) %v, Count %d, there are %d", c.name, id, h.Has(id), h.Count(id), n)
			}
		}
	}
}

func TestHeaderGet(t *testing.T) {
	h := parsed(t, "Host: h", "A: 1", "Cookie: c", "Cookie: d", "a: 2")
	for _, c := range []struct{ name, want string }{{"host", "[h]"}, {"A", "[1 2]"}, {"COOKIE", "[c d]"}, {"x", "[]"}, {"Date", "[]"}, {"", "[]"}} {
		var all []string
		for v := range h.Values(c.name) {
			all = append(all, string(v))
		}
		if got := fmt.Sprint(all); got != c.want {
			t.Errorf("Values(%s): %s, want %s", c.name, got, c.want)
		}
		first := ""
		if len(all) > 0 {
			first = all[0]
		}
		if got := string(h.GetName(c.name)); got != first || h.HasName(c.name) != (len(all) > 0) {
			t.Errorf("GetName(%s): %q, want %q", c.name, got, first)
		}
	}
	if string(h.Get(Cookie)) != "c" || h.Get(Date) != nil || h.Get(Unknown) != nil || h.Has(Unknown) {
		t.Error("Get of known fields")
	}
}

// What is set can never break a line: header injection.
func TestInjection(t *testing.T) {
	for _, v := range []string{"a\r\nB: c", "a\nB: c", "a\rB: c", "a\x00", "a\x0b", "\x7f", "a\r", "\n"} {
		h := parsed(t, "Host: h", "A: 1")
		before := lines(h)
		for name, err := range map[string]error{
			"Add": h.Add(Location, []byte(v)), "AddString": h.AddString(Location, v), "AddName": h.AddName("L", v),
			"Set": h.Set(Host, []byte(v)), "SetString": h.SetString(Host, v), "SetName": h.SetName("A", v), "SetName of a new one": h.SetName("N", v),
		} {
			if err != ErrInvalidValue {
				t.Errorf("%s(%q): %v, want ErrInvalidValue", name, v, err)
			}
		}
		if got := lines(h); got != before {
			t.Errorf("%q changed the header: %s", v, got)
		}
	}
	for _, n := range []string{"", "a b", "a:", "a\r\n", "é", "a\x00", ":path", "a(", strings.Repeat("a", 70000)} {
		var h Header
		if a, b := h.AddName(n, "v"), h.SetName(n, "v"); a != ErrInvalidName || b != ErrInvalidName || h.Len() != 0 {
			t.Errorf("name %.20q: %v, %v", n, a, b)
		}
	}
	var h Header
	if h.Add(Unknown, nil) != ErrInvalidName || h.Set(Unknown, nil) != ErrInvalidName || h.Len() != 0 {
		t.Error("a field without a name was added")
	}
	for range maxFields {
		_ = h.AddName("a", "b")
	}
	if err := h.AddName("a", "b"); err != ErrTooManyFields {
		t.Errorf("one field more than the bound: %v", err)
	}
}

func TestHeaderHTTP(t *testing.T) {
	h := parsed(t, "Host: h", "x-a: 1", "X-A: 2", "etag: e")
	dst := http.Header{"Old": {"o"}}
	h.ToHTTP(dst)
	if want := (http.Header{"Old": {"o"}, "X-A": {"1", "2"}, "Etag": {"e"}}); fmt.Sprint(dst) != fmt.Sprint(want) {
		t.Errorf("ToHTTP: %v, want %v", dst, want)
	}
	var c Header
	h.CopyTo(&c)
	if !c.Equal(h) || c.Count(Host) != 1 || !c.Has(ETag) {
		t.Errorf("CopyTo: %s", lines(&c))
	}
}

func TestRemoveHopByHop(t *testing.T) {
	for _, c := range []struct {
		source  string
		upgrade bool
		in      []string
		want    string
	}{
		{"RFC 9110 7.6.1", false, []string{"A: 1", "Connection: keep-alive", "Keep-Alive: 5", "Proxy-Connection: x", "Transfer-Encoding: chunked", "Upgrade: h2c", "HTTP2-Settings: x", "Trailer: X", "B: 2"}, "A: 1|B: 2|"},
		{"names in Connection", false, []string{"X-Hop: 1", "Connection: x-hop, Y", "Y: 2", "Connection: z", "z: 3", "X-Hop: 4", "W: 5"}, "W: 5|"},
		{"several Connections, fields before them", false, []string{"a: 1", "b: 2", "Connection: a", "c: 3", "Connection: b,c", "d: 4"}, "d: 4|"},
		{"no known field is stripped", false, []string{"Host: h", "Connection: Host, Authorization, Cookie, X-Forwarded-For, X-Real-IP, X-Request-ID, Content-Length, Proxy-Authorization", "Authorization: a", "Cookie: c", "X-Forwarded-For: f", "X-Real-IP: r", "X-Request-ID: i", "Content-Length: 0", "Proxy-Authorization: p"},
			"Host: h|Authorization: a|Cookie: c|X-Forwarded-For: f|X-Real-IP: r|X-Request-ID: i|Content-Length: 0|Proxy-Authorization: p|"},
		{"nor what gateways set", false, []string{"Connection: X-Forwarded-Client-Cert, X-Auth-Request-User, X-Original-Method, Content-Security-Policy", "X-Forwarded-Client-Cert: c", "X-Auth-Request-User: u", "X-Original-Method: GET", "Content-Security-Policy: x"},
			"X-Forwarded-Client-Cert: c|X-Auth-Request-User: u|X-Original-Method: GET|Content-Security-Policy: x|"},
		{"RFC 9110 10.1.4: TE", false, []string{"Connection: TE", "TE: gzip, trailers;q=1, trailers", "A: 1"}, "TE: trailers|A: 1|"},
		{"TE without trailers", false, []string{"TE: gzip", "A: 1"}, "A: 1|"},
		{"two TEs", false, []string{"TE: gzip", "TE: trailers"}, "TE: trailers|"},
		{"RFC 9110 7.8: upgrade", true, []string{"Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: k"}, "Upgrade: websocket|Sec-WebSocket-Key: k|"},
		{"nothing to remove", false, []string{"A: 1"}, "A: 1|"},
		{"close and empty elements", false, []string{"Connection: , close,,", "A: 1"}, "A: 1|"},
	} {
		text := []string{}
		var codings []string
		for _, l := range c.in { // a request of 1.0 cannot have a coding
			if strings.HasPrefix(l, "Transfer-Encoding") {
				codings = append(codings, l)
				continue
			}
			text = append(text, l)
		}
		h := parsed(t, text...)
		for range codings {
			_ = h.AddString(TransferEncoding, "chunked")
		}
		h.RemoveHopByHop(c.upgrade)
		if got := lines(h); got != c.want {
			t.Errorf("%s: %s, want %s", c.source, got, c.want)
		}
	}
	names := make([]string, 100)
	for i := range names {
		names[i] = fmt.Sprintf("n%d", i)
	}
	in := append([]string{"Connection: " + strings.Join(names, ",")}, slices.Collect(func(yield func(string) bool) {
		for _, n := range names {
			if !yield(n + ": 1") {
				return
			}
		}
	})...)
	h := parsed(t, in...)
	h.RemoveHopByHop(false)
	if h.Len() != len(names)-maxNamed {
		t.Errorf("%d of 100 named fields are left, want %d", h.Len(), len(names)-maxNamed)
	}
}

func TestCookie(t *testing.T) {
	h := parsed(t, "Cookie: a=1; b=\"2\";c ; =x; d = 4", "Cookie: a=9; e==; A=5")
	for name, want := range map[string]string{"a": "1", "b": "2", "e": "=", "A": "5", "c": "-", "d": "-", "f": "-", "": "x"} {
		got := "-"
		if v := h.Cookie(name); v != nil {
			got = string(v)
		}
		if got != want {
			t.Errorf("cookie %q is %q, want %q", name, got, want)
		}
	}
	if v := parsed(t, "A: a=1").Cookie("a"); v != nil {
		t.Errorf("%q without cookies", v)
	}
}

func TestValidHost(t *testing.T) {
	for host, want := range map[string]bool{
		"h": true, "a.b-c_d.example": true, "a.": true, "A:80": true, "h:": true, "1.2.3.4:65535": true, "[::1]": true, "[2001:db8::1]:443": true, "xn--eckwd4c7c.jp": true,
		"": false, ".": false, ".a": false, "a..b": false, "a..": false, ":80": false, "h:65536": false, "h:8a": false, "h:-1": false, "a b": false, "a/b": false,
		"a\\b": false, "a@b": false, "a,b": false, "a;b": false, "a%2fb": false, "a\x00": false, "\xe6": false, "a?b": false, "a#b": false, "*.a": false, "~": false,
		"[]": false, "[::1": false, "::1": false, "[::1]x": false, "[1.2.3.4]": false, "[fe80::1%eth0]": false, "[::::]": false, "h]": false, "[g]": false,
	} {
		if got := ValidHost([]byte(host)); got != want {
			t.Errorf("%q: %v", host, got)
		}
	}
	for host, want := range map[string][2]string{"h": {"h", ""}, "h:80": {"h", "80"}, "[::1]": {"[::1]", ""}, "[::1]:80": {"[::1]", "80"}, "h:": {"h", ""}} {
		if a, b := SplitHost([]byte(host)); string(a) != want[0] || string(b) != want[1] {
			t.Errorf("%q: %q, %q", host, a, b)
		}
	}
}

// Equal tells whether both have the same fields in the same order, names in any case.
func (h *Header) Equal(o *Header) bool {
	if h.Len() != o.Len() {
		return false
	}
	for i := range h.fields {
		n1, v1 := h.Field(i)
		n2, v2 := o.Field(i)
		if !equalFold(n1, n2) || !bytes.Equal(v1, v2) {
			return false
		}
	}
	return true
}
