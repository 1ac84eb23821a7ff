package filter

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"minato/internal/ingress/table"
)

// mirrorBody is a Body in memory.
type mirrorBody struct{ *bytes.Reader }

func bodyOf(s string) mirrorBody { return mirrorBody{bytes.NewReader([]byte(s))} }

// notRead is a Body that was not read ahead.
type notRead struct{}

func (notRead) Size() int64                       { return -1 }
func (notRead) ReadAt([]byte, int64) (int, error) { return 0, io.EOF }

// copied is what a mirror gets.
type copied struct {
	method, host, uri, body string
	header                  http.Header
	length                  int64
}

func mirrorServer(t *testing.T, wait <-chan struct{}) (address string, got chan copied) {
	t.Helper()
	got = make(chan copied, 2000)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		got <- copied{r.Method, r.Host, r.RequestURI, string(b), r.Header, r.ContentLength}
		if wait != nil {
			<-wait
		}
		w.WriteHeader(500) // nobody minds
	}))
	t.Cleanup(s.Close)
	return s.Listener.Addr().String(), got
}

// anywhere sends copies to this machine, too.
func anywhere(c *afterConfig) {
	c.Mirror = &http.Client{Transport: &http.Transport{DisableCompression: true}, Timeout: 30 * time.Second}
}

func receive(t *testing.T, got chan copied) copied {
	t.Helper()
	select {
	case c := <-got:
		return c
	case <-time.After(10 * time.Second):
		t.Fatal("the mirror gets nothing")
		return copied{}
	}
}

// TestMirror: mirror-target, mirror-host and mirror-request-body: the copy has method, header and body of the request.
func TestMirror(t *testing.T) {
	address, got := mirrorServer(t, nil)
	for _, c := range []struct {
		name         string
		target       *table.Text
		host         *table.Text
		noBody       bool
		request      string
		uri, wantURL string
	}{
		{"as it came", textOf("http://"+address, table.VarRequestURI), textOf("mirror.example"), false, "/shop//a%2Fb?b=%20&c", "/shop//a%2Fb?b=%20&c", ""},
		{"fixed path", textOf("http://"+address+"/copy?of=", table.VarURI), textOf(table.VarHost, ".mirror"), false, "/x", "/copy?of=/shop/a", ""},
		{"no path", textOf("http://" + address), textOf("m"), true, "/x", "/", ""},
		{"two slashes", textOf("http://"+address+"/", table.VarRequestURI), textOf("m"), true, "/x?y=1", "//x?y=1", ""},
	} {
		a := newTestAfter(t, anywhere)
		a.running(t)
		x := afterExchange(&table.Location{Mirror: &table.Mirror{Target: *c.target, Host: *c.host, Body: !c.noBody}},
			"X-A", "1", "X-A", "2", "Authorization", "Basic xyz", "Cookie", "a=b", "Upgrade", "websocket", "Connection", "upgrade", "Expect", "100-continue", "Host", "a.example")
		x.Method, x.Target = "POST", c.request
		a.mirror(x, bodyOf("the body"))
		m := receive(t, got)
		wantHost := string(x.AppendText(nil, c.host))
		if m.method != "POST" || m.host != wantHost || m.uri != c.uri {
			t.Errorf("%s: %s %s to %s", c.name, m.method, m.uri, m.host)
		}
		if c.noBody && (m.body != "" || m.length != 0) || !c.noBody && (m.body != "the body" || m.length != 8) {
			t.Errorf("%s: the body is %q of %d", c.name, m.body, m.length)
		}
		if strings.Join(m.header["X-A"], ",") != "1,2" || m.header.Get("Authorization") != "Basic xyz" || m.header.Get("Cookie") != "a=b" {
			t.Errorf("%s: the header is %v", c.name, m.header)
		}
		for _, name := range []string{"Upgrade", "Expect", "User-Agent", "Accept-Encoding"} {
			if m.header[name] != nil {
				t.Errorf("%s: the copy has %s: %v", c.name, name, m.header[name])
			}
		}
		waitFor(t, "the copy counts", func() bool { return a.mirrors.counts() == MirrorCounts{Sent: 1} && a.mirrors.held.Load() == 0 })
	}
}

// waitFor polls.
func waitFor(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within 10 seconds", what)
		}
	}
}

// TestMirrorSlow: a mirror that does not answer delays nobody: what it does not take is dropped and counted.
func TestMirrorSlow(t *testing.T) {
	wait := make(chan struct{})
	address, _ := mirrorServer(t, wait)
	a := newTestAfter(t, func(c *afterConfig) { anywhere(c); c.MirrorQueue, c.MirrorWorkers = 10, 3 })
	a.running(t)
	x := afterExchange(&table.Location{Mirror: &table.Mirror{Target: *textOf("http://" + address), Host: *textOf("m"), Body: true}})
	begin := time.Now()
	for range 1000 {
		a.mirror(x, bodyOf("b"))
	}
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("1000 copies took %s", took)
	}
	dropped := a.mirrors.counts().Dropped
	if dropped < 1000-13 || dropped >= 1000 {
		t.Errorf("%d of 1000 were dropped, with room for 13", dropped)
	}
	close(wait)
	waitFor(t, "the rest is sent", func() bool { c := a.mirrors.counts(); return c.Sent+c.Dropped == 1000 && a.mirrors.held.Load() == 0 })
}

// TestMirrorBounds: bodies that are too large, not here, or more than the memory allows are not copied, nor in part.
func TestMirrorBounds(t *testing.T) {
	a := newTestAfter(t, func(c *afterConfig) { c.MirrorBody, c.MirrorMemory = 10<<10, 20<<10 })
	loc := &table.Location{Mirror: &table.Mirror{Target: *textOf("http://127.0.0.1:1"), Host: *textOf("m"), Body: true}}
	x := afterExchange(loc)
	a.mirror(x, bodyOf(strings.Repeat("x", 10<<10+1)))
	a.mirror(x, notRead{})
	if c := a.mirrors.counts(); c.Dropped != 2 || len(a.mirrors.queue) != 0 {
		t.Errorf("%+v", c)
	}
	a.mirror(x, bodyOf(strings.Repeat("x", 10<<10)))
	a.mirror(x, bodyOf(strings.Repeat("x", 10<<10))) // 14 KiB each
	if c := a.mirrors.counts(); c.Dropped != 3 || len(a.mirrors.queue) != 1 {
		t.Errorf("%+v, %d in the queue", c, len(a.mirrors.queue))
	}
	loc.Mirror.Body = false
	a.mirror(x, notRead{})
	if len(a.mirrors.queue) != 2 {
		t.Error("without its body a request whose body is not here is not copied")
	}
	a.running(t) // nobody is at that address
	waitFor(t, "the copies fail", func() bool { return a.mirrors.counts().Failed == 2 && a.mirrors.held.Load() == 0 })
}

// TestMirrorTargets: what a client sends does not reach the authority.
func TestMirrorTargets(t *testing.T) {
	a := newTestAfter(t, nil)
	for _, c := range []struct {
		text   *table.Text
		target string
		ok     bool
	}{
		{textOf("http://m.example", table.VarRequestURI), "/x", true},
		{textOf("http://m.example:80", table.VarRequestURI), "/@evil.example/", true},
		{textOf("http://m.example", table.VarRequestURI), "*", false},
		{textOf("http://m.example", table.VarRequestURI), "@evil.example/", false},
		{textOf("http://m.example", table.VarRequestURI), ".evil.example/x", true}, // no request target is so: it begins with a slash or is a star
		{textOf("ftp://m.example"), "/", false},
		{textOf("m.example"), "/", false},
		{textOf("https://", table.VarCookie), "/", false},
		{textOf("https://[::1]:8443/x"), "/", true},
	} {
		x := afterExchange(&table.Location{Mirror: &table.Mirror{Target: *c.text, Host: *textOf("m")}})
		x.Target = c.target
		before := len(a.mirrors.queue)
		a.mirror(x, bodyOf(""))
		if got := len(a.mirrors.queue) > before; got != c.ok {
			t.Errorf("%v with %q: %t", c.text.Parts, c.target, got)
		}
	}
}

// TestMirrorAddresses: whoever may write an Ingress must not reach what listens on the node alone.
func TestMirrorAddresses(t *testing.T) {
	for address, want := range map[string]bool{
		"10.1.2.3:80": true, "[fd00::1]:443": true, "192.0.2.1:8080": true, "127.0.0.1:80": false, "127.8.9.1:80": false, "[::1]:80": false,
		"[::ffff:127.0.0.1]:80": false, "169.254.169.254:80": false, "[fe80::1%eth0]:80": false, "0.0.0.0:80": false, "[::]:80": false, "224.0.0.1:80": false, "x": false,
	} {
		if got := mayMirrorTo(address) == nil; got != want {
			t.Errorf("%s: %t", address, got)
		}
	}
	address, got := mirrorServer(t, nil)
	a := newTestAfter(t, nil)
	a.running(t)
	for _, target := range []string{address, strings.Replace(address, "127.0.0.1", "localhost", 1)} {
		x := afterExchange(&table.Location{Mirror: &table.Mirror{Target: *textOf("http://" + target), Host: *textOf("m")}})
		a.mirror(x, bodyOf(""))
	}
	waitFor(t, "the copies fail", func() bool { return a.mirrors.counts().Failed == 2 })
	if len(got) > 0 {
		t.Error("the machine itself got a copy")
	}
}

// TestMirrorEnd: what waits when run ends is dropped and counted.
func TestMirrorEnd(t *testing.T) {
	var asked atomic.Int32
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	defer s.Close()
	a := newTestAfter(t, anywhere)
	x := afterExchange(&table.Location{Mirror: &table.Mirror{Target: *textOf("http://" + s.Listener.Addr().String()), Host: *textOf("m")}})
	for range 5 {
		a.mirror(x, bodyOf(""))
	}
	ended, cancel := testContext()
	cancel()
	if err := a.run(ended); err != nil {
		t.Fatal(err)
	}
	c := a.mirrors.counts()
	if c.Sent+c.Dropped+c.Failed != 5 || a.mirrors.held.Load() != 0 {
		t.Errorf("%+v, %d bytes held", c, a.mirrors.held.Load())
	}
}
