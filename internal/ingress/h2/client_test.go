package h2

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"minato/internal/ingress/h1"
)

// open returns a connection to a server of x/net.
func open(t testing.TB, raw bool, h http.HandlerFunc) *Conn {
	t.Helper()
	near, far := pair(t)
	go (&http2.Server{MaxConcurrentStreams: 50}).ServeConn(far, &http2.ServeConnOpts{Handler: h})
	cfg := Config{
		Client: true, Conn: near, Abort: near.Close, Buffers: &Buffers{}, Now: clock, MaxHeader: 16 << 10,
		StreamWindow: 256 << 10, Window: 1 << 20, Idle: time.Minute, Send: time.Minute, Silence: time.Minute, Ping: time.Second,
	}
	if raw {
		cfg.Raw, _ = near.SyscallConn()
	}
	c := New(cfg)
	run(t, c, far)
	return c
}

// against returns a connection to an endpoint that speaks frames.
func against(t testing.TB) (*Conn, *peer) {
	t.Helper()
	near, far := pair(t)
	raw, _ := near.SyscallConn()
	c := New(Config{
		Client: true, Conn: near, Abort: near.Close, Raw: raw, Buffers: &Buffers{}, Now: clock, MaxHeader: 16 << 10,
		StreamWindow: 256 << 10, Window: 1 << 20, Idle: time.Minute,
	})
	run(t, c, far)
	p := newPeer(t, far)
	if _, err := io.ReadFull(far, make([]byte, len(http2.ClientPreface))); err != nil {
		t.Fatal(err)
	}
	p.must(p.WriteSettings())
	return c, p
}

// ask opens a stream without a body.
func ask(t testing.TB, c *Conn) *Stream {
	t.Helper()
	if !c.Reserve() {
		t.Fatal("the connection takes no stream")
	}
	var h h1.Header
	s, err := c.Open(&Request{Method: "GET", Authority: "a.example", Path: "/", Header: &h}, true)
	if err != nil {
		t.Fatal(err)
	}
	s.Patience = 10 * time.Second
	_ = s.Flush()
	return s
}

// TestClientBodies: bodies of any size come whole both ways, with header and trailer.
func TestClientBodies(t *testing.T) {
	for _, raw := range []bool{true, false} {
		c := open(t, raw, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Got", r.Header.Get("X-Sent")+" "+r.Host+" "+r.URL.Path+" "+r.Header.Get("Te"))
			w.WriteHeader(103)
			_, _ = io.Copy(w, r.Body)
			w.Header().Set(http.TrailerPrefix+"X-End", "yes")
		})
		var all sync.WaitGroup
		for _, size := range []int{0, 1, 20_000, 100_000, 2 << 20} {
			for range 4 {
				all.Go(func() {
					body := make([]byte, size)
					for i := range body {
						body[i] = byte(rand.Uint32())
					}
					for !c.Reserve() {
						time.Sleep(time.Millisecond)
					}
					var h h1.Header
					_ = h.AddName("X-Sent", strings.Repeat("v", 30))
					_ = h.AddName("Connection", "close")
					s, err := c.Open(&Request{Method: "POST", Authority: "a.example", Path: "/p", Header: &h, Trailers: true, Length: int64(size)}, false)
					if err != nil {
						t.Error(err)
						return
					}
					defer s.Close()
					s.Patience = 10 * time.Second
					sent := make(chan error, 1)
					go func() { sent <- errors.Join(s.Write(body, true), s.Flush()) }()
					early := 0
					if err := s.Head(func(status int, _ *h1.Header) error { early = status; return nil }); err != nil {
						t.Errorf("Head: %v", err)
					}
					var got []byte
					for {
						p, err := s.Next()
						if err != nil {
							if err != io.EOF {
								t.Errorf("Next: %v", err)
							}
							break
						}
						got = append(got, p...)
					}
					if err := <-sent; err != nil {
						t.Errorf("Write: %v", err)
					}
					if s.Status != 200 || early != 103 || !bytes.Equal(got, body) {
						t.Errorf("status %d after %d, %d bytes of %d", s.Status, early, len(got), size)
					}
					if v := string(s.Header.GetName("X-Got")); v != strings.Repeat("v", 30)+" a.example /p trailers" {
						t.Errorf("header %q", v)
					}
					if v := string(s.Trailer().GetName("X-End")); v != "yes" {
						t.Errorf("trailer %q", v)
					}
				})
			}
		}
		all.Wait()
	}
}

// TestAnswers: what an endpoint may not answer, and what its end means for requests.
func TestAnswers(t *testing.T) {
	for _, c := range []struct {
		name string
		send func(p *peer)
		want error
	}{
		{"no status (8.3.2)", func(p *peer) { p.request(1, true, "server", "x") }, ErrMalformed},
		{"a pseudo-field of requests (8.3)", func(p *peer) { p.request(1, true, ":status", "200", ":path", "/") }, ErrMalformed},
		{"101 (8.6)", func(p *peer) { p.request(1, false, ":status", "101") }, ErrMalformed},
		{"an end with 1xx (8.1)", func(p *peer) { p.request(1, true, ":status", "103") }, ErrMalformed},
		{"too many 1xx", func(p *peer) {
			for range mostInterims + 2 { // one is taken
				p.request(1, false, ":status", "103")
			}
		}, ErrMalformed},
		{"DATA first (8.1)", func(p *peer) { p.must(p.WriteData(1, true, []byte("x"))) }, ErrMalformed},
		{"a reset", func(p *peer) { p.must(p.WriteRSTStream(1, http2.ErrCodeCancel)) }, ErrReset},
		{"a refusal (8.7)", func(p *peer) { p.must(p.WriteRSTStream(1, http2.ErrCodeRefusedStream)) }, ErrUnprocessed},
		{"GOAWAY before it (6.8)", func(p *peer) { p.must(p.WriteGoAway(0, http2.ErrCodeNo, nil)) }, ErrUnprocessed},
		{"GOAWAY behind it (6.8)", func(p *peer) {
			p.must(p.WriteGoAway(1, http2.ErrCodeNo, nil))
			p.request(1, true, ":status", "200")
		}, nil},
		{"the end", func(p *peer) { p.conn.Close() }, ErrClosed},
		{"a header that is too large", func(p *peer) {
			p.request(1, true, ":status", "200", "a", strings.Repeat("x", 9<<10), "b", strings.Repeat("x", 3<<10))
			p.request(1, true, ":status", "200", "a", strings.Repeat("x", 9<<10), "b", strings.Repeat("y", 9<<10))
		}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			conn, p := against(t)
			p.AllowIllegalWrites = true
			s := ask(t, conn)
			defer s.Close()
			p.await("the request", func(f http2.Frame) bool { _, ok := f.(*http2.MetaHeadersFrame); return ok })
			go func() { _, _ = io.Copy(io.Discard, p.conn) }()
			c.send(p)
			slow := func(int, *h1.Header) error {
				for s.Err() == nil {
					time.Sleep(time.Millisecond)
				}
				return nil
			}
			if err := s.Head(slow); err != c.want {
				t.Errorf("Head: %v, want %v", err, c.want)
			}
		})
	}
}

// TestAnswerOutlivesConnection: an answer that has come whole is one, whatever comes of the connection.
func TestAnswerOutlivesConnection(t *testing.T) {
	conn, p := against(t)
	s := ask(t, conn)
	defer s.Close()
	p.await("the request", func(f http2.Frame) bool { _, ok := f.(*http2.MetaHeadersFrame); return ok })
	p.request(1, false, ":status", "200")
	p.must(p.WriteData(1, true, []byte("whole")))
	p.conn.Close()
	for conn.Usable() {
		time.Sleep(time.Millisecond)
	}
	if err := s.Head(nil); err != nil {
		t.Fatal(err)
	}
	b, err := s.Next()
	if string(b) != "whole" || err != nil {
		t.Errorf("Next: %q, %v", b, err)
	}
	if _, err := s.Next(); err != io.EOF {
		t.Errorf("the end: %v", err)
	}
}

// TestReserve: no more streams than the endpoint takes, and none once it goes away.
func TestReserve(t *testing.T) {
	conn, p := against(t)
	p.must(p.WriteSettings(http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: 2}))
	p.await("the settings are taken", func(f http2.Frame) bool { s, ok := f.(*http2.SettingsFrame); return ok && s.IsAck() })
	p.await("the settings are taken", func(f http2.Frame) bool { s, ok := f.(*http2.SettingsFrame); return ok && s.IsAck() })
	s := ask(t, conn)
	if !conn.Reserve() || conn.Reserve() {
		t.Error("two streams are not what may be reserved")
	}
	conn.Unreserve()
	p.await("the request", func(f http2.Frame) bool { _, ok := f.(*http2.MetaHeadersFrame); return ok })
	p.request(1, true, ":status", "204")
	if err := s.Head(nil); err != nil || s.Status != 204 {
		t.Errorf("%d %v", s.Status, err)
	}
	s.Close()
	p.must(p.WriteGoAway(1, http2.ErrCodeNo, nil))
	for conn.Usable() {
		time.Sleep(time.Millisecond)
	}
	if conn.Reserve() {
		t.Error("a stream after GOAWAY")
	}
}

// TestAbort: a stream that is ended from elsewhere ends who waits for it.
func TestAbort(t *testing.T) {
	conn, p := against(t)
	s := ask(t, conn)
	go s.Abort()
	if err := s.Head(nil); err != ErrReset {
		t.Errorf("Head: %v", err)
	}
	s.Close()
	if code := p.awaitReset(1); code != http2.ErrCodeCancel {
		t.Errorf("the stream is reset with %s", code)
	}
}

// TestOpenAfterGoAway: a stream that is reserved when the endpoint goes away is not opened.
func TestOpenAfterGoAway(t *testing.T) {
	conn, p := against(t)
	if !conn.Reserve() {
		t.Fatal("the connection takes no stream")
	}
	p.must(p.WriteGoAway(0, http2.ErrCodeNo, nil))
	for conn.Usable() {
		time.Sleep(time.Millisecond)
	}
	var h h1.Header
	if _, err := conn.Open(&Request{Method: "GET", Authority: "a.example", Path: "/", Header: &h}, true); err != ErrUnprocessed {
		t.Errorf("Open: %v", err)
	}
	for {
		f, err := p.ReadFrame()
		if err != nil {
			if err != io.EOF {
				t.Errorf("the end: %v", err)
			}
			return
		}
		if f.Header().StreamID != 0 {
			t.Errorf("%v came", f)
		}
	}
}

// TestPingsToEndpoints: an endpoint that is silent is asked once whether it is there, and again after minutes: servers of gRPC
// end connections with more pings.
func TestPingsToEndpoints(t *testing.T) {
	near, far := pair(t)
	conn := New(Config{
		Client: true, Conn: near, Abort: near.Close, Buffers: &Buffers{}, Now: clock, MaxHeader: 16 << 10,
		StreamWindow: 256 << 10, Window: 1 << 20, Silence: 30 * time.Second, Ping: 15 * time.Second,
	})
	run(t, conn, far)
	p := newPeer(t, far)
	_, err := io.ReadFull(far, make([]byte, len(http2.ClientPreface)))
	p.must(err)
	p.must(p.WriteSettings())
	s := ask(t, conn)
	defer s.Close()
	s.Patience = 0
	// pings lets time pass from its beginning to its end, and returns how many pings come.
	pings := func(from, to time.Duration) (n int) {
		for at := from; at <= to; at += 10 * time.Second {
			conn.Look(clock() + int64(at))
			conn.mu.Lock()
			asked := conn.pingAt != 0
			conn.mu.Unlock()
			if !asked {
				continue
			}
			n++
			ping := p.await("a ping", func(f http2.Frame) bool { _, ok := f.(*http2.PingFrame); return ok }).(*http2.PingFrame)
			p.must(p.WritePing(true, ping.Data))
			for asked {
				conn.mu.Lock()
				asked = conn.pingAt != 0
				conn.mu.Unlock()
			}
		}
		return n
	}
	if n := pings(0, 5*time.Minute); n != 1 {
		t.Errorf("%d pings in five minutes", n)
	}
	if n := pings(5*time.Minute, 10*time.Minute); n != 1 {
		t.Errorf("%d pings in the next five minutes", n)
	}
	p.request(1, false, ":status", "200")
	if err := s.Head(nil); err != nil {
		t.Fatal(err)
	}
	if n := pings(10*time.Minute, 11*time.Minute); n != 1 {
		t.Errorf("%d pings after the head of the answer", n)
	}
}

// TestBodiless: answers without a body tell the length of one or not, and end with their header or behind it.
func TestBodiless(t *testing.T) {
	for _, c := range []struct {
		method, status, length string
		want                   int64
		data                   int // -1 is without DATA
		err                    error
	}{
		{"HEAD", "200", "100", 100, -1, io.EOF},
		{"HEAD", "200", "100", 100, 0, io.EOF},
		{"HEAD", "200", "", -1, -1, io.EOF},
		{"HEAD", "200", "", -1, 1, ErrMalformed},
		{"GET", "304", "100", 100, 0, io.EOF},
		{"GET", "304", "", -1, -1, io.EOF},
		{"GET", "204", "", -1, -1, io.EOF},
		{"GET", "200", "", 0, -1, io.EOF},
		{"GET", "200", "100", 100, -1, ErrMalformed},
		{"GET", "200", "100", 100, 0, ErrMalformed},
	} {
		conn, p := against(t)
		if !conn.Reserve() {
			t.Fatal("the connection takes no stream")
		}
		var h h1.Header
		s, err := conn.Open(&Request{Method: c.method, Authority: "a.example", Path: "/", Header: &h}, true)
		p.must(err)
		_ = s.Flush()
		p.await("the request", func(f http2.Frame) bool { _, ok := f.(*http2.MetaHeadersFrame); return ok })
		go func() { _, _ = io.Copy(io.Discard, p.conn) }()
		fields := []string{":status", c.status}
		if c.length != "" {
			fields = append(fields, "content-length", c.length)
		}
		p.request(1, c.data < 0, fields...)
		if c.data >= 0 {
			p.must(p.WriteData(1, true, make([]byte, c.data)))
		}
		err = s.Head(nil)
		if err == nil {
			if s.ContentLength != c.want {
				t.Errorf("%+v: the length is %d", c, s.ContentLength)
			}
			_, err = s.Next()
		}
		if err != c.err {
			t.Errorf("%+v: %v", c, err)
		}
		s.Close()
	}
}
