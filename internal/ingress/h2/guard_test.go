package h2

import (
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"minato/internal/ingress/h1"
)

// TestBlockedWindow: a stream whose window stays closed is ended, though the client opens that of the connection.
func TestBlockedWindow(t *testing.T) {
	var at atomic.Int64
	at.Store(1)
	errs := make(chan error, 1)
	c, p := connect(t, func(c *Config) {
		c.Silence, c.Ping, c.Idle, c.Header, c.Now = 0, 0, 0, 0, at.Load
		c.Serve = func(s *Stream) {
			var h h1.Header
			_ = s.WriteHead(200, &h, -1, false)
			errs <- s.Write([]byte("x"), true)
		}
	})
	p.must(p.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0}))
	p.request(1, true, getRoot...)
	p.await("the head", func(f http2.Frame) bool { _, ok := f.(*http2.MetaHeadersFrame); return ok })
	for blocked := false; !blocked; time.Sleep(time.Millisecond) {
		c.mu.Lock()
		blocked = c.streams[1].blocked != 0
		c.mu.Unlock()
	}
	for range 7 {
		at.Add(int64(10 * time.Second))
		p.must(p.WriteWindowUpdate(0, 1))
		p.must(p.WritePing(false, [8]byte{1}))
		p.await("the window is taken", func(f http2.Frame) bool { _, ok := f.(*http2.PingFrame); return ok })
	}
	c.Look(at.Load())
	if err := <-errs; err != ErrTimeout {
		t.Errorf("Write: %v", err)
	}
}

// TestKeep: who watches a stream whose serving has ended with a fault is not called: what it would end may be another's.
func TestKeep(t *testing.T) {
	called, kept := make(chan bool, 2), make(chan struct{})
	_, p := connect(t, func(c *Config) {
		c.Serve = func(s *Stream) {
			s.Watch(func() { called <- true })
			s.Keep()
			close(kept)
		}
	})
	p.request(1, false, postRoot...)
	<-kept
	p.awaitReset(1)
	select {
	case <-called:
		t.Error("it was called")
	default:
	}
}

// TestPingsOfClients: a client may answer what it gets with pings, as those of gRPC do; for nothing it may not.
func TestPingsOfClients(t *testing.T) {
	_, p := connect(t, nil)
	p.request(1, false, postRoot...)
	bodies := make(chan struct{}, 1)
	go func() {
		for {
			f, err := p.ReadFrame()
			if err != nil {
				return
			}
			if _, ok := f.(*http2.DataFrame); ok {
				bodies <- struct{}{}
			}
		}
	}()
	for i := range 3000 {
		p.must(p.WriteData(1, false, []byte("x")))
		<-bodies
		if err := p.WritePing(false, [8]byte{}); err != nil {
			t.Fatalf("after %d pings: %v", i, err)
		}
	}
	for range 100_000 {
		if p.WritePing(false, [8]byte{}) != nil {
			return
		}
	}
	t.Error("the flood went on")
}

// TestWindowBelowZero: a stream ends whose window the other side has made less than what was sent.
func TestWindowBelowZero(t *testing.T) {
	end, panicked := make(chan struct{}), make(chan any, 1)
	_, p := connect(t, func(c *Config) {
		c.Serve = func(s *Stream) {
			defer func() { panicked <- recover() }()
			var h h1.Header
			_ = s.WriteHead(200, &h, -1, false)
			_ = s.Write(make([]byte, 1000), false)
			_ = s.Flush()
			<-end
			_ = s.Write(nil, true)
		}
	})
	p.request(1, true, getRoot...)
	p.await("the body", func(f http2.Frame) bool { _, ok := f.(*http2.DataFrame); return ok })
	p.must(p.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0}))
	p.must(p.WritePing(false, [8]byte{1}))
	p.await("the settings are taken", func(f http2.Frame) bool { _, ok := f.(*http2.PingFrame); return ok })
	close(end)
	if v := <-panicked; v != nil {
		t.Fatalf("the end of the body: %v", v)
	}
	p.awaitEnd(1)
}

// TestEarlyAnswers: what is on its way of the bodies of many streams whose answers came early, trailers as well, harms none.
func TestEarlyAnswers(t *testing.T) {
	const n = 100
	_, p := connect(t, func(c *Config) {
		c.MaxStreams = n
		c.Serve = func(s *Stream) {
			var h h1.Header
			_ = s.WriteHead(401, &h, 0, true)
		}
	})
	for i := range uint32(n) {
		p.request(2*i+1, false, postRoot...)
	}
	for range n {
		p.await("a reset", func(f http2.Frame) bool { _, ok := f.(*http2.RSTStreamFrame); return ok })
	}
	for range 5 {
		for i := range uint32(n) {
			p.must(p.WriteData(2*i+1, false, []byte("x")))
		}
	}
	for i := range uint32(n) {
		p.request(2*i+1, true, "x-end", "yes")
	}
	p.request(2*n+1, true, getRoot...)
	p.await("an answer", func(f http2.Frame) bool {
		if g, ok := f.(*http2.GoAwayFrame); ok {
			t.Fatalf("%v", g)
		}
		h, ok := f.(*http2.MetaHeadersFrame)
		return ok && h.StreamID == 2*n+1
	})
}

// TestResetsOfAnswered: a client may reset streams whose answers it has, as those of gRPC do if the answer came before their
// last message. Streams that it resets before do not count less for the trailers that it sends.
func TestResetsOfAnswered(t *testing.T) {
	_, p := connect(t, func(c *Config) {
		c.Serve = func(s *Stream) {
			var h h1.Header
			_ = s.WriteHead(200, &h, 0, true)
		}
	})
	for i := range uint32(2 * mostResets) {
		p.request(2*i+1, false, postRoot...)
		p.awaitEnd(2*i + 1)
		p.must(p.WriteRSTStream(2*i+1, http2.ErrCodeNo))
	}
	p.conn.Close()

	serving := make(chan struct{})
	_, p = connect(t, func(c *Config) {
		c.Serve = func(s *Stream) {
			for {
				if _, err := s.Next(); err != nil {
					break
				}
			}
			<-serving
		}
	})
	end := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, p.conn)
		end <- err
	}()
	defer close(serving)
	for i := range uint32(20 * mostResets) {
		err := p.WriteHeaders(http2.HeadersFrameParam{StreamID: 2*i + 1, BlockFragment: p.block(postRoot...), EndHeaders: true})
		if err == nil {
			err = p.WriteHeaders(http2.HeadersFrameParam{StreamID: 2*i + 1, BlockFragment: p.block("x-end", "yes"), EndHeaders: true, EndStream: true})
		}
		if err == nil && i%10 > 0 {
			err = p.WriteRSTStream(2*i+1, http2.ErrCodeCancel)
		}
		if err != nil {
			break
		}
	}
	if err := <-end; err != nil && strings.Contains(err.Error(), "timeout") {
		t.Error("the flood went on")
	}
}
