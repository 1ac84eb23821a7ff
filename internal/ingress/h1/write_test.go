package h1

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestAppendRequestHead(t *testing.T) {
	for _, c := range []struct{ method, target, want string }{
		{"GET", "/a?b", "GET /a?b HTTP/1.1\r\nHost: h\r\n\r\n"},
		{"GET", "", "GET / HTTP/1.1\r\nHost: h\r\n\r\n"},
		{"GET", "/日?x=é", "GET /%E6%97%A5?x=%C3%A9 HTTP/1.1\r\nHost: h\r\n\r\n"},
		{"GET", "/a b\r\nX: y\x00\x7f#", "GET /a%20b%0D%0AX:%20y%00%7F%23 HTTP/1.1\r\nHost: h\r\n\r\n"},
		{"GET /x", "/", ""},
		{"GET\r\n", "/", ""},
		{"", "/", ""},
	} {
		h := parsed(t, "Host: h")
		got, err := appendRequestHead(nil, []byte(c.method), []byte(c.target), h)
		if c.want == "" {
			if err != ErrInvalidMethod || len(got) != 0 {
				t.Errorf("%q: %q, %v; want ErrInvalidMethod", c.method, got, err)
			}
			continue
		}
		if string(got) != c.want || err != nil {
			t.Errorf("%q %q: %q, %v", c.method, c.target, got, err)
		}
	}
}

func TestAppendResponseHead(t *testing.T) {
	for _, c := range []struct {
		status int
		phrase string
		want   string
	}{
		{200, "", "HTTP/1.1 200 OK\r\n\r\n"},
		{200, "OK", "HTTP/1.1 200 OK\r\n\r\n"},
		{200, "Fine", "HTTP/1.1 200 Fine\r\n\r\n"},
		{404, "", "HTTP/1.1 404 Not Found\r\n\r\n"},
		{404, "a\r\nB: c", "HTTP/1.1 404 Not Found\r\n\r\n"},
		{404, "\x00", "HTTP/1.1 404 Not Found\r\n\r\n"},
		{599, "", "HTTP/1.1 599 \r\n\r\n"},
		{99, "x", "HTTP/1.1 500 Internal Server Error\r\n\r\n"},
		{1000, "x", "HTTP/1.1 500 Internal Server Error\r\n\r\n"},
	} {
		if got := string(AppendResponseHead(nil, c.status, []byte(c.phrase), new(Header))); got != c.want {
			t.Errorf("%d %q: %q, want %q", c.status, c.phrase, got, c.want)
		}
	}
}

// Runs of received lines are written as they stand, and edits break them up.
func TestAppendTo(t *testing.T) {
	h := parsed(t, "A: 1", "B:2", "C: 3 ", "D:\t4", "E: 5", "F: 6", "G:", "H: ")
	if got, want := lines(h), "A: 1|B: 2|C: 3|D: 4|E: 5|F: 6|G: |H: |"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	h.DelName("E")
	_ = h.SetName("A", "x")
	if got, want := lines(h), "A: x|B: 2|C: 3|D: 4|F: 6|G: |H: |"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestAppendChunk(t *testing.T) {
	out := appendChunk(nil, []byte(strings.Repeat("x", 26)))
	out = appendChunk(out, nil)
	out = append(append(AppendChunkHeader(out, 1<<20), 'y'), "\r\n"...)
	out = AppendLastChunk(out, nil)
	if got, want := string(out), "1a\r\n"+strings.Repeat("x", 26)+"\r\n100000\r\ny\r\n0\r\n\r\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestClock(t *testing.T) {
	var c Clock
	at := time.Date(2026, 11, 27, 20, 0, 0, 999, time.FixedZone("JST", 9*3600))
	for _, step := range []time.Duration{0, time.Millisecond, time.Second, -time.Second, 24 * time.Hour} {
		now := at.Add(step)
		if got, want := string(c.AppendDate(nil, now)), now.UTC().Format(http.TimeFormat); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	var dst []byte
	if n := testing.AllocsPerRun(100, func() { dst = c.AppendDate(dst[:0], at) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
