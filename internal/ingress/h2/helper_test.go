package h2

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"minato/internal/ingress/h1"
)

var started = time.Now()

func clock() int64 { return int64(time.Since(started)) + 1 }

// pair returns both ends of a TCP connection.
func pair(t testing.TB) (near, far *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	a, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	b, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		a.Close()
		b.Close()
	})
	return a.(*net.TCPConn), b.(*net.TCPConn)
}

// echo answers with the request's body, and its trailer.
func echo(s *Stream) {
	s.Patience = 5 * time.Second
	var h h1.Header
	_ = h.AddName("X-Path", s.Path)
	if s.WriteHead(200, &h, -1, false) != nil {
		return
	}
	for {
		p, err := s.Next()
		if err == io.EOF {
			break
		}
		if err != nil || s.Write(p, false) != nil {
			return
		}
		if !s.Ready() && s.Flush() != nil {
			return
		}
	}
	_ = s.WriteTrailer(s.Trailer())
}

// serverConfig is a server's with bounds that are easy to meet.
func serverConfig(conn *net.TCPConn, serve func(*Stream)) Config {
	return Config{
		Conn: conn, Abort: conn.Close, Buffers: &Buffers{}, Serve: serve, Now: clock, MaxStreams: 10, MaxHeader: 4 << 10,
		StreamWindow: 256 << 10, Window: 1 << 20, Idle: time.Minute, Header: time.Minute, Send: time.Minute,
		Silence: time.Minute, Ping: time.Second,
	}
}

// run runs a connection, and demands that it ends with the test.
func run(t testing.TB, c *Conn, far net.Conn) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		c.Run()
		close(done)
	}()
	t.Cleanup(func() {
		far.Close()
		select {
		case <-done:
		case <-time.After(10 * time.Second):
			t.Error("Run does not end")
		}
	})
}

// peer speaks frames with a connection.
type peer struct {
	t testing.TB
	*http2.Framer
	conn net.Conn
	enc  *hpack.Encoder
	buf  bytes.Buffer
}

// connect starts a server and greets it.
func connect(t testing.TB, change func(*Config)) (*Conn, *peer) {
	t.Helper()
	near, far := pair(t)
	cfg := serverConfig(near, echo)
	if change != nil {
		change(&cfg)
	}
	c := New(cfg)
	run(t, c, far)
	p := newPeer(t, far)
	if _, err := io.WriteString(far, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	p.must(p.WriteSettings())
	return c, p
}

func newPeer(t testing.TB, conn net.Conn) *peer {
	p := &peer{t: t, conn: conn, Framer: http2.NewFramer(conn, conn)}
	p.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	p.enc = hpack.NewEncoder(&p.buf)
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	return p
}

func (p *peer) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

// block is a header block of pairs.
func (p *peer) block(pairs ...string) []byte {
	p.buf.Reset()
	for i := 0; i+1 < len(pairs); i += 2 {
		p.must(p.enc.WriteField(hpack.HeaderField{Name: pairs[i], Value: pairs[i+1]}))
	}
	return bytes.Clone(p.buf.Bytes())
}

var getRoot = []string{":method", "GET", ":scheme", "https", ":path", "/", ":authority", "a.example"}
var postRoot = []string{":method", "POST", ":scheme", "https", ":path", "/", ":authority", "a.example"}

func (p *peer) request(id uint32, end bool, pairs ...string) {
	p.t.Helper()
	p.must(p.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: p.block(pairs...), EndHeaders: true, EndStream: end}))
}

// await reads frames until is is true.
func (p *peer) await(what string, is func(f http2.Frame) bool) http2.Frame {
	p.t.Helper()
	for {
		f, err := p.ReadFrame()
		if err != nil {
			p.t.Fatalf("%s: %v", what, err)
		}
		if is(f) {
			return f
		}
	}
}

// awaitReset reads until the stream is reset, and returns the code.
func (p *peer) awaitReset(id uint32) http2.ErrCode {
	p.t.Helper()
	f := p.await("a reset", func(f http2.Frame) bool { r, ok := f.(*http2.RSTStreamFrame); return ok && r.StreamID == id })
	return f.(*http2.RSTStreamFrame).ErrCode
}

// awaitGoAway reads until the connection is ended, and returns the code.
func (p *peer) awaitGoAway() *http2.GoAwayFrame {
	p.t.Helper()
	f := p.await("a GOAWAY", func(f http2.Frame) bool { _, ok := f.(*http2.GoAwayFrame); return ok })
	return f.(*http2.GoAwayFrame)
}

// awaitEnd reads until the stream ends, and returns how many bytes came.
func (p *peer) awaitEnd(id uint32) (n int) {
	p.t.Helper()
	p.await("the stream's end", func(f http2.Frame) bool {
		if f.Header().StreamID != id {
			return false
		}
		switch f := f.(type) {
		case *http2.DataFrame:
			n += len(f.Data())
			return f.StreamEnded()
		case *http2.MetaHeadersFrame:
			return f.StreamEnded()
		case *http2.RSTStreamFrame:
			p.t.Fatalf("stream %d is reset with %s", id, f.ErrCode)
		}
		return false
	})
	return n
}

// client is a client of x/net to a server of this package.
func client(t testing.TB, serve func(*Stream)) *http.Client {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	var open atomic.Int64
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			cfg := serverConfig(conn.(*net.TCPConn), serve)
			cfg.MaxStreams = 100
			if open.Add(1)%2 == 0 {
				cfg.Raw, _ = conn.(*net.TCPConn).SyscallConn()
			}
			all.Go(New(cfg).Run)
		}
	}()
	tr := &http2.Transport{AllowHTTP: true, DisableCompression: true, DialTLSContext: func(ctx context.Context, _, _ string, _ *tls.Config) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", l.Addr().String())
	}}
	t.Cleanup(func() {
		l.Close()
		tr.CloseIdleConnections()
		all.Wait()
	})
	return &http.Client{Transport: tr, Timeout: time.Minute}
}

// awaitSlow waits until something has come of which not all has.
func (c *Conn) awaitSlow(t testing.TB) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); c.slowFrom.Load() == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("nothing has come")
		}
	}
}

// awaitCalm waits until nothing is written, and no stream is served that has ended: a write that is under way would be one of a
// minute to a Look that is a minute ahead.
func (c *Conn) awaitCalm(t testing.TB) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		c.mu.Lock()
		calm := !c.writing && c.serving == len(c.streams)
		c.mu.Unlock()
		if calm {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the connection does not come to rest")
		}
	}
}
