package h1

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
)

// An idle connection holds no buffer, and its owner can read the first bytes.
func TestReleaseAndSpace(t *testing.T) {
	var pool Buffers
	var q Request
	lim := defaultRequestLimits()
	rd := NewReader(strings.NewReader(" HTTP/1.1\r\nHost: h\r\n\r\nGET /2 HTTP/1.1\r\nHost: h\r\n\r\n"), &pool)
	if rd.cur != nil {
		t.Error("a new Reader holds a buffer")
	}
	n := copy(rd.Space(), "GET /1")
	rd.Filled(n)
	if rd.Buffered() != 6 || string(rd.Bytes()) != "GET /1" {
		t.Errorf("%q is buffered", rd.Bytes())
	}
	for _, want := range []string{"/1", "/2"} {
		if err := rd.ReadRequest(&q, &lim); err != nil || string(q.Path) != want {
			t.Fatalf("%q, %v", q.Path, err)
		}
		rd.Release() // keeps pipelined bytes
	}
	if rd.cur != nil || rd.held != nil || rd.buf != nil {
		t.Error("an idle Reader holds a buffer")
	}
	if len(rd.Space()) != minSize {
		t.Errorf("there is room for %d bytes", len(rd.Space()))
	}
	rd.Release()
	if rd.cur != nil {
		t.Error("an unused buffer is kept")
	}
	if err := rd.ReadRequest(&q, &lim); err != io.EOF {
		t.Error(err)
	}
}

// After a large body the Reader is back at a small buffer, and held ones are given back.
func TestBuffersShrink(t *testing.T) {
	var pool Buffers
	var q Request
	lim := defaultRequestLimits()
	text := "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n" + strings.Repeat("x", 100000)
	const get = "GET / HTTP/1.1\r\nHost: h\r\n\r\n"
	messages := []string{text, get, text, get} // no read goes beyond one
	rd := NewReader(readerFunc(func(p []byte) (int, error) {
		n := copy(p, messages[0])
		if messages[0] = messages[0][n:]; messages[0] == "" {
			messages = messages[1:]
		}
		return n, nil
	}), &pool)
	if err := rd.ReadRequest(&q, &lim); err != nil {
		t.Fatal(err)
	}
	p, err := q.Body.Next()
	for range 1000 {
		if err != nil || rd.held != nil {
			break
		}
		p, err = q.Body.Next()
	}
	if err != nil || rd.held == nil || len(rd.buf) != bodySize {
		t.Fatalf("a large body is read into %d bytes; %d, %v", len(rd.buf), len(p), err)
	}
	if done, err := q.Body.Discard(1 << 20); !done || err != nil {
		t.Fatal(done, err)
	}
	rd.Release()
	if err := rd.ReadRequest(&q, &lim); err != nil {
		t.Fatal(err)
	}
	// The next one gives it back, too.
	for range 2 {
		_, _ = q.Body.Discard(1 << 20)
		if err := rd.ReadRequest(&q, &lim); err != nil || rd.held != nil {
			t.Fatalf("%v; a buffer of the message before is held: %v", err, rd.held != nil)
		}
	}
	rd.Release()
	if rd.cur != nil {
		t.Error("the buffer is held")
	}
}

// Trailers stay while what follows is waited for.
func TestTrailerOutlivesPeek(t *testing.T) {
	var pool Buffers
	var q Request
	lim := defaultRequestLimits()
	rd := NewReader(strings.NewReader(chunkedHead+"ec0\r\n"+strings.Repeat("x", 0xec0)+"\r\n0\r\nX-Sum: abc\r\n\r\n"+strings.Repeat("y", 10000)), &pool)
	if err := rd.ReadRequest(&q, &lim); err != nil {
		t.Fatal(err)
	}
	if done, err := q.Body.Discard(0xec0); !done {
		t.Fatal(err)
	}
	if _, err := rd.Peek(10000); err != nil {
		t.Fatal(err)
	}
	if got := string(q.Body.Trailer().GetName("x-sum")); got != "abc" || string(q.Path) != "/" {
		t.Errorf("the trailer is %q, the path %q", got, q.Path)
	}
}

// An error that comes with bytes is told after them, even if the source tells it once.
func TestErrorWithData(t *testing.T) {
	failed := errors.New("failed")
	for _, way := range []string{"next", "large"} {
		first := true
		src := readerFunc(func(p []byte) (int, error) {
			if first {
				first = false
				return copy(p, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9000\r\n\r\n"), nil
			}
			return copy(p, "abc"), failed
		})
		var pool Buffers
		var q Request
		lim := defaultRequestLimits()
		if err := NewReader(src, &pool).ReadRequest(&q, &lim); err != nil {
			t.Fatal(err)
		}
		if got, err := drain(&q.Body, way); got != "abc" || err != failed {
			t.Errorf("%s: %q, %v", way, got, err)
		}
	}
}

func TestPeek(t *testing.T) {
	var pool Buffers
	for how, src := range readers("\r\n\r\n\x00\r\nQUIT\nrest") {
		rd := NewReader(src, &pool)
		p, err := rd.Peek(12)
		if string(p) != "\r\n\r\n\x00\r\nQUIT\n" || err != nil {
			t.Errorf("%s: %q, %v", how, p, err)
		}
		rd.Skip(12)
		if p, err := rd.Peek(5); string(p) != "rest" || err != io.EOF {
			t.Errorf("%s: %q, %v", how, p, err)
		}
		rd.Skip(100)
		if rd.Buffered() != 0 {
			t.Errorf("%s: %d bytes after Skip", how, rd.Buffered())
		}
	}
}

// A deadline within a message is the source's error, and the message can be read on
// after it.
func TestDeadline(t *testing.T) {
	parts := []string{"POST / HT", "TP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n", "\r\n5\r", "\nhel", "lo\r\n0\r\nA: ", "b\r\n", "\r\n"}
	i, late := 0, false
	src := readerFunc(func(p []byte) (int, error) {
		if late = !late; late {
			return 0, fmt.Errorf("read: %w", os.ErrDeadlineExceeded)
		}
		if i == len(parts) {
			return 0, io.EOF
		}
		i++
		return copy(p, parts[i-1]), nil
	})
	var pool Buffers
	var q Request
	lim := defaultRequestLimits()
	rd := NewReader(src, &pool)
	times := 0
	for {
		err := rd.ReadRequest(&q, &lim)
		if err == nil {
			break
		}
		if times++; !errors.Is(err, os.ErrDeadlineExceeded) || times > 10 {
			t.Fatal(err)
		}
		if rd.Buffered() == 0 && times > 1 {
			t.Error("it is not told that a part has come")
		}
	}
	body := ""
	for times = 0; ; {
		p, err := q.Body.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			if times++; !errors.Is(err, os.ErrDeadlineExceeded) || times > 10 {
				t.Fatal(err)
			}
		}
		body += string(p)
	}
	if body != "hello" || string(q.Body.Trailer().GetName("a")) != "b" || !q.Body.Done() {
		t.Errorf("%q %q", body, q.Body.Trailer().GetName("a"))
	}
}

// A source that returns neither bytes nor an error does not hang the Reader.
func TestNoProgress(t *testing.T) {
	var pool Buffers
	var q Request
	lim := defaultRequestLimits()
	rd := NewReader(readerFunc(func([]byte) (int, error) { return 0, nil }), &pool)
	if err := rd.ReadRequest(&q, &lim); err != io.ErrNoProgress {
		t.Error(err)
	}
	rd.Reset(nil)
	if err := rd.ReadRequest(&q, &lim); err != io.EOF {
		t.Error(err)
	}
}

// Bytes that come with the end of the connection count.
func TestDataWithEOF(t *testing.T) {
	text := "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9000\r\n\r\n" + strings.Repeat("x", 9000)
	for _, way := range []string{"next", "large"} {
		rest := text
		src := readerFunc(func(p []byte) (int, error) {
			n := copy(p, rest)
			if rest = rest[n:]; rest == "" {
				return n, io.EOF
			}
			return n, nil
		})
		var pool Buffers
		var q Request
		lim := defaultRequestLimits()
		rd := NewReader(src, &pool)
		if err := rd.ReadRequest(&q, &lim); err != nil {
			t.Fatal(err)
		}
		if got, err := drain(&q.Body, way); len(got) != 9000 || err != nil {
			t.Errorf("%s: %d bytes, %v", way, len(got), err)
		}
	}
}

// The largest head is taken byte by byte, and nothing is read beyond it.
func TestByteByByte(t *testing.T) {
	reads := 0
	text := "GET /" + strings.Repeat("p", 8000) + " HTTP/1.1\r\nHost: h\r\n" + strings.Repeat("A: "+strings.Repeat("v", 8000)+"\r\n", 3) + "\r\n"
	rest := text
	src := readerFunc(func(p []byte) (int, error) {
		if rest == "" {
			return 0, io.EOF
		}
		reads++
		p[0] = rest[0]
		rest = rest[1:]
		return 1, nil
	})
	var pool Buffers
	var q Request
	lim := defaultRequestLimits()
	if err := NewReader(src, &pool).ReadRequest(&q, &lim); err != nil || reads != len(text) {
		t.Errorf("%d reads for %d bytes, %v", reads, len(text), err)
	}
}

// After a switch of protocols the Reader is read as it is.
func TestReadOn(t *testing.T) {
	var pool Buffers
	var p Response
	lim := ResponseLimits(4096)
	for how, src := range readers("HTTP/1.1 101 Switching Protocols\r\n\r\nframes\r\n\r\n" + strings.Repeat("x", 10000)) {
		rd := NewReader(src, &pool)
		if err := rd.ReadResponse(&p, MethodGet, &lim); err != nil || p.Status != 101 || p.Interim() {
			t.Fatal(p.Status, err)
		}
		all, err := io.ReadAll(rd)
		if len(all) != 10010 || !strings.HasPrefix(string(all), "frames\r\n\r\nx") || err != nil {
			t.Errorf("%s: %d bytes, %v", how, len(all), err)
		}
	}
}
