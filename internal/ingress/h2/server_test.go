package h2

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"minato/internal/ingress/h1"
)

// TestServerBodies: bodies of any size come whole both ways, on many streams at once.
func TestServerBodies(t *testing.T) {
	c := client(t, echo)
	var all sync.WaitGroup
	for i, size := range []int{0, 1, 100, 16 << 10, 16<<10 + 1, 64<<10 - 1, 300_000, 1 << 20, 3 << 20} {
		for range 4 {
			all.Go(func() {
				body := make([]byte, size)
				for i := range body {
					body[i] = byte(rand.Uint32())
				}
				req, _ := http.NewRequest("POST", fmt.Sprintf("http://a.example/%d", i), io.NopCloser(bytes.NewReader(body)))
				req.Trailer = http.Header{"X-End": {"yes"}}
				resp, err := c.Do(req)
				if err != nil {
					t.Error(err)
					return
				}
				defer resp.Body.Close()
				got, err := io.ReadAll(resp.Body)
				if err != nil || !bytes.Equal(got, body) {
					t.Errorf("%d bytes: %d came back, %v", size, len(got), err)
				}
				if resp.Header.Get("X-Path") != fmt.Sprintf("/%d", i) || resp.Trailer.Get("X-End") != "yes" {
					t.Errorf("header %v, trailer %v", resp.Header, resp.Trailer)
				}
			})
		}
	}
	all.Wait()
}

// TestFaults: what RFC 9113 has a stream or a connection end for.
func TestFaults(t *testing.T) {
	long := strings.Repeat("x", 3000)
	for _, c := range []struct {
		name   string
		send   func(p *peer)
		stream http2.ErrCode // of stream 1
		conn   http2.ErrCode
	}{
		{name: "a name in upper case (8.2.1)", send: func(p *peer) { p.request(1, true, append(getRoot, "X-A", "b")...) }, stream: http2.ErrCodeProtocol},
		{name: "Connection (8.2.2)", send: func(p *peer) { p.request(1, true, append(getRoot, "connection", "close")...) }, stream: http2.ErrCodeProtocol},
		{name: "Transfer-Encoding (8.2.2)", send: func(p *peer) { p.request(1, false, append(postRoot, "transfer-encoding", "chunked")...) }, stream: http2.ErrCodeProtocol},
		{name: "TE (8.2.2)", send: func(p *peer) { p.request(1, true, append(getRoot, "te", "gzip")...) }, stream: http2.ErrCodeProtocol},
		{name: "a line break (8.2.1)", send: func(p *peer) { p.request(1, true, append(getRoot, "x", "a\r\nb: c")...) }, stream: http2.ErrCodeProtocol},
		{name: "NUL in a value (8.2.1)", send: func(p *peer) { p.request(1, true, append(getRoot, "x", "a\x00b")...) }, stream: http2.ErrCodeProtocol},
		{name: "a colon in a name (8.2.1)", send: func(p *peer) { p.request(1, true, append(getRoot, "x:y", "b")...) }, stream: http2.ErrCodeProtocol},
		{name: "no path (8.3.1)", send: func(p *peer) { p.request(1, true, getRoot[:4]...) }, stream: http2.ErrCodeProtocol},
		{name: "a pseudo-field twice (8.3.1)", send: func(p *peer) { p.request(1, true, append(getRoot, ":path", "/b")...) }, stream: http2.ErrCodeProtocol},
		{name: "a pseudo-field of answers (8.3)", send: func(p *peer) { p.request(1, true, append(getRoot, ":status", "200")...) }, stream: http2.ErrCodeProtocol},
		{name: "two lengths (8.1.1)", send: func(p *peer) { p.request(1, false, append(postRoot, "content-length", "1", "content-length", "2")...) }, stream: http2.ErrCodeProtocol},
		{name: "a length without a body (8.1.1)", send: func(p *peer) { p.request(1, true, append(postRoot, "content-length", "1")...) }, stream: http2.ErrCodeProtocol},
		{name: "a body beyond its length (8.1.1)", send: func(p *peer) {
			p.request(1, false, append(postRoot, "content-length", "1")...)
			p.must(p.WriteData(1, false, []byte("ab")))
		}, stream: http2.ErrCodeProtocol},
		{name: "a body short of its length (8.1.1)", send: func(p *peer) {
			p.request(1, false, append(postRoot, "content-length", "3")...)
			p.must(p.WriteData(1, true, []byte("ab")))
		}, stream: http2.ErrCodeProtocol},
		{name: "DATA behind the end (5.1)", send: func(p *peer) {
			p.request(1, true, append(getRoot, "x", long)...)
			p.must(p.WriteData(1, true, []byte("ab")))
		}, stream: http2.ErrCodeStreamClosed},
		{name: "a window that overflows (6.9.1)", send: func(p *peer) {
			p.request(1, false, postRoot...)
			p.must(p.WriteWindowUpdate(1, 1<<31-1))
		}, stream: http2.ErrCodeFlowControl},
		{name: "the connection's window overflows (6.9.1)", send: func(p *peer) { p.must(p.WriteWindowUpdate(0, 1<<31-1)) }, conn: http2.ErrCodeFlowControl},
		{name: "a stream of a server (5.1.1)", send: func(p *peer) { p.request(2, true, getRoot...) }, conn: http2.ErrCodeProtocol},
		{name: "DATA of a stream that has not begun (5.1)", send: func(p *peer) { p.must(p.WriteData(1, true, nil)) }, conn: http2.ErrCodeProtocol},
		{name: "a frame amid a header block (6.10)", send: func(p *peer) {
			p.must(p.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: p.block(getRoot...)}))
			p.must(p.WritePing(false, [8]byte{}))
		}, conn: http2.ErrCodeProtocol},
		{name: "a block that cannot be decoded (4.3)", send: func(p *peer) {
			p.must(p.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0xff, 0xff, 0xff}, EndHeaders: true}))
		}, conn: http2.ErrCodeCompression},
		{name: "a block without end (10.5.1)", send: func(p *peer) {
			p.must(p.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: p.block(getRoot...)}))
			for range 40 {
				if p.WriteContinuation(1, false, []byte{0, 1, 'x', 1, 'y'}) != nil {
					return
				}
			}
		}, conn: http2.ErrCodeEnhanceYourCalm},
		{name: "thousands of settings", send: func(p *peer) {
			p.must(p.WriteRawFrame(http2.FrameSettings, 0, 0, bytes.Repeat([]byte{0, 4, 0, 0, 0, 1}, 2000)))
		}, conn: http2.ErrCodeEnhanceYourCalm},
		{name: "a push (8.4)", send: func(p *peer) {
			p.must(p.WritePushPromise(http2.PushPromiseParam{StreamID: 1, PromiseID: 2, BlockFragment: p.block(getRoot...), EndHeaders: true}))
		}, conn: http2.ErrCodeProtocol},
		{name: "a frame that is too large (4.2)", send: func(p *peer) {
			p.request(1, false, postRoot...)
			p.must(p.WriteRawFrame(http2.FrameData, 0, 1, make([]byte, maxFrame+1)))
		}, conn: http2.ErrCodeFrameSize},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, p := connect(t, nil)
			p.AllowIllegalWrites = true
			c.send(p)
			if c.conn != 0 {
				if got := p.awaitGoAway().ErrCode; got != c.conn {
					t.Errorf("the connection ends with %s, want %s", got, c.conn)
				}
				return
			}
			if got := p.awaitReset(1); got != c.stream {
				t.Errorf("the stream ends with %s, want %s", got, c.stream)
			}
			p.request(3, true, getRoot...) // the connection goes on
			p.awaitEnd(3)
		})
	}
}

// TestWindows: the window of a body that nobody reads comes back.
func TestWindows(t *testing.T) {
	release := make(chan struct{})
	_, p := connect(t, func(c *Config) {
		c.StreamWindow, c.Window = 1<<16-1, 1<<16-1
		c.Serve = func(s *Stream) {
			<-release
			var h h1.Header
			_ = s.WriteHead(200, &h, 0, true)
		}
	})
	p.request(1, false, postRoot...)
	for range 3 {
		p.must(p.WriteData(1, false, make([]byte, 16<<10)))
	}
	p.must(p.WriteDataPadded(1, false, make([]byte, 16<<10-300), make([]byte, 255)))
	close(release)
	// The rest of the body is of no use; the window of the connection comes back.
	if code := p.awaitReset(1); code != http2.ErrCodeNo {
		t.Errorf("the stream ends with %s", code)
	}
	p.request(3, false, postRoot...)
	for range 3 {
		p.must(p.WriteData(3, false, make([]byte, 16<<10)))
	}
	p.awaitEnd(3)
}

// TestBeyondTheWindow: what exceeds a window resets the stream.
func TestBeyondTheWindow(t *testing.T) {
	_, p := connect(t, func(c *Config) {
		c.StreamWindow = 20 << 10
		c.Serve = func(s *Stream) { <-s.Context().Done() }
	})
	p.request(1, false, postRoot...)
	p.must(p.WriteData(1, false, make([]byte, 16<<10)))
	p.must(p.WriteData(1, false, make([]byte, 16<<10)))
	if code := p.awaitReset(1); code != http2.ErrCodeFlowControl {
		t.Errorf("the stream ends with %s", code)
	}
}

// TestStreamsAtOnce: more streams than there may be are refused, and their requests can be sent again; streams that were reset
// count as long as they are served.
func TestStreamsAtOnce(t *testing.T) {
	release := make(chan struct{})
	var serving, most atomic.Int64
	_, p := connect(t, func(c *Config) {
		c.Serve = func(s *Stream) {
			n := serving.Add(1)
			for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
			}
			<-release
			serving.Add(-1)
			var h h1.Header
			_ = s.WriteHead(204, &h, -1, true)
		}
	})
	id := uint32(1)
	for range 10 {
		p.request(id, true, getRoot...)
		id += 2
	}
	p.request(id, true, getRoot...)
	if code := p.awaitReset(id); code != http2.ErrCodeRefusedStream {
		t.Errorf("the stream too many is reset with %s", code)
	}
	for i := uint32(1); i < id; i += 2 {
		p.must(p.WriteRSTStream(i, http2.ErrCodeCancel))
	}
	for range 10 {
		id += 2
		p.request(id, true, getRoot...)
	}
	p.must(p.WritePing(false, [8]byte{1}))
	p.await("the answer to a ping", func(f http2.Frame) bool { _, ok := f.(*http2.PingFrame); return ok })
	if n := serving.Load(); n != 10 {
		t.Errorf("%d streams are served, want 10", n)
	}
	close(release)
	p.awaitEnd(id)
	if n := most.Load(); n > 10 {
		t.Errorf("%d streams were served at once, of 10", n)
	}
}

// TestResetEndsServing: a stream that the client resets ends what it waits for.
func TestResetEndsServing(t *testing.T) {
	ended, serving := make(chan error, 4), make(chan struct{}, 4)
	_, p := connect(t, func(c *Config) {
		c.Serve = func(s *Stream) {
			serving <- struct{}{}
			called := make(chan struct{})
			s.Watch(func() { close(called) })
			_, err := s.Next()
			<-called
			<-s.Context().Done()
			if s.Unwatch() || s.Err() == nil || s.Write([]byte("x"), false) == nil {
				t.Error("the stream goes on")
			}
			ended <- err
		}
	})
	p.request(1, false, postRoot...)
	p.must(p.WriteRSTStream(1, http2.ErrCodeCancel))
	if err := <-ended; err != ErrReset {
		t.Errorf("Next: %v", err)
	}
	<-serving
	p.request(3, false, postRoot...)
	<-serving
	p.conn.Close()
	if err := <-ended; err != ErrClosed {
		t.Errorf("Next: %v", err)
	}
}

// TestHeaderTooLarge: the request is served as one that is too large, and the connection goes on.
func TestHeaderTooLarge(t *testing.T) {
	_, p := connect(t, func(c *Config) {
		c.Serve = func(s *Stream) {
			var h h1.Header
			status := 200
			if s.TooLarge {
				status = 431
			}
			_ = s.WriteHead(status, &h, -1, true)
		}
	})
	status := func() string {
		f := p.await("an answer", func(f http2.Frame) bool { _, ok := f.(*http2.MetaHeadersFrame); return ok })
		return f.(*http2.MetaHeadersFrame).PseudoValue("status")
	}
	p.request(1, true, append(getRoot, "x", strings.Repeat("y", 3<<10), "z", strings.Repeat("y", 2<<10))...)
	if s := status(); s != "431" {
		t.Errorf("status %s", s)
	}
	p.request(3, true, getRoot...)
	if s := status(); s != "200" {
		t.Errorf("status %s", s)
	}
}

// TestShutdown: streams that are on their way when the connection is to end are served, and it ends after them.
func TestShutdown(t *testing.T) {
	c, p := connect(t, nil)
	p.request(1, false, postRoot...)
	c.Shutdown()
	if f := p.awaitGoAway(); f.ErrCode != http2.ErrCodeNo || f.LastStreamID != maxWindow {
		t.Errorf("the first GOAWAY: %v", f)
	}
	ping := p.await("a ping", func(f http2.Frame) bool { _, ok := f.(*http2.PingFrame); return ok }).(*http2.PingFrame)
	p.request(3, true, getRoot...)
	p.must(p.WritePing(true, ping.Data))
	if f := p.awaitGoAway(); f.ErrCode != http2.ErrCodeNo || f.LastStreamID != 3 {
		t.Errorf("the last GOAWAY: %v", f)
	}
	p.request(5, false, postRoot...) // not processed
	p.must(p.WriteData(5, false, []byte("x")))
	p.request(5, true, "x-end", "yes")
	p.must(p.WriteData(1, true, []byte("abc")))
	if n := p.awaitEnd(1); n != 3 {
		t.Errorf("%d bytes came", n)
	}
	for {
		if _, err := p.ReadFrame(); err != nil {
			if err != io.EOF {
				t.Errorf("the end: %v", err)
			}
			return
		}
	}
}

// TestTimes: a connection is ended that is idle, whose header does not come, that takes nothing, or that does not answer.
func TestTimes(t *testing.T) {
	end := func(t *testing.T, p *peer) {
		t.Helper()
		for {
			if _, err := p.ReadFrame(); err != nil {
				if strings.Contains(err.Error(), "timeout") {
					t.Errorf("the connection goes on: %v", err)
				}
				return
			}
		}
	}
	later := func(d time.Duration) int64 { return clock() + int64(d) }
	t.Run("idle", func(t *testing.T) {
		c, p := connect(t, nil)
		p.request(1, true, getRoot...)
		p.awaitEnd(1)
		c.awaitCalm(t)
		c.Look(later(50 * time.Second))
		p.request(3, true, getRoot...)
		p.awaitEnd(3)
		c.awaitCalm(t)
		c.Look(later(61 * time.Second))
		if f := p.awaitGoAway(); f.ErrCode != http2.ErrCodeNo {
			t.Errorf("GOAWAY: %v", f)
		}
		end(t, p)
	})
	t.Run("header", func(t *testing.T) {
		c, p := connect(t, nil)
		p.request(1, true, getRoot...)
		p.awaitEnd(1)
		c.awaitCalm(t)
		p.must(p.WriteHeaders(http2.HeadersFrameParam{StreamID: 3, BlockFragment: p.block(getRoot...)}))
		c.awaitSlow(t)
		c.Look(later(61 * time.Second))
		end(t, p)
	})
	t.Run("frame", func(t *testing.T) {
		c, p := connect(t, nil)
		p.request(1, true, getRoot...)
		p.awaitEnd(1)
		c.awaitCalm(t)
		_, err := p.conn.Write([]byte{0, 0, 10, 1})
		p.must(err)
		c.awaitSlow(t)
		c.Look(later(62 * time.Second))
		end(t, p)
	})
	t.Run("silence", func(t *testing.T) {
		c, p := connect(t, nil)
		p.request(1, false, postRoot...)
		p.must(p.WriteData(1, false, []byte("x")))
		p.await("the body", func(f http2.Frame) bool { _, ok := f.(*http2.DataFrame); return ok })
		c.awaitCalm(t)
		c.Look(later(61 * time.Second))
		p.await("a ping", func(f http2.Frame) bool { _, ok := f.(*http2.PingFrame); return ok })
		c.Look(later(63 * time.Second))
		end(t, p)
	})
	t.Run("body", func(t *testing.T) {
		errs, serving := make(chan error, 1), make(chan struct{})
		c, p := connect(t, func(c *Config) {
			c.Silence, c.Send = 0, 0
			c.Serve = func(s *Stream) {
				close(serving)
				s.Patience = time.Minute
				_, err := s.Next()
				errs <- err
				var h h1.Header
				_ = s.WriteHead(408, &h, 0, true)
			}
		})
		p.request(1, false, postRoot...)
		<-serving
		deadline := time.Now().Add(10 * time.Second)
		for {
			c.Look(later(61 * time.Second))
			select {
			case err := <-errs:
				if err != ErrTimeout {
					t.Errorf("Next: %v", err)
				}
				p.awaitEnd(1)
				return
			case <-time.After(time.Millisecond):
			}
			if time.Now().After(deadline) {
				t.Fatal("the body is waited for")
			}
		}
	})
	t.Run("window", func(t *testing.T) {
		errs, serving := make(chan error, 1), make(chan struct{})
		c, p := connect(t, func(c *Config) {
			c.Silence = 0
			c.Serve = func(s *Stream) {
				close(serving)
				var h h1.Header
				_ = s.WriteHead(200, &h, -1, false)
				errs <- s.Write(make([]byte, 1<<20), true)
			}
		})
		p.request(1, true, getRoot...)
		go func() { _, _ = io.Copy(io.Discard, p.conn) }()
		<-serving
		deadline := time.Now().Add(10 * time.Second)
		for {
			c.awaitCalm(t)
			c.Look(later(61 * time.Second))
			select {
			case err := <-errs:
				if err != ErrTimeout {
					t.Errorf("Write: %v", err)
				}
				return
			case <-time.After(time.Millisecond):
			}
			if time.Now().After(deadline) {
				t.Fatal("the window is waited for")
			}
		}
	})
}
