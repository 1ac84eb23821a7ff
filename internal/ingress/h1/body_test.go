package h1

import (
	"errors"
	"io"
	"strings"
	"testing"
)

const chunkedHead = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"

// drain reads a body in one of several ways.
func drain(b *Body, way string) (string, error) {
	var out strings.Builder
	switch way {
	case "next":
		for {
			p, err := b.Next()
			if err == io.EOF {
				return out.String(), nil
			}
			if err != nil {
				return out.String(), err
			}
			out.Write(p)
		}
	case "writeto":
		_, err := b.WriteTo(&out)
		return out.String(), err
	}
	size := 3
	if way == "large" {
		size = 64 << 10
	}
	p := make([]byte, size)
	for {
		n, err := b.Read(p)
		out.Write(p[:n])
		if err == io.EOF {
			return out.String(), nil
		}
		if err != nil {
			return out.String(), err
		}
	}
}

func TestChunkedBody(t *testing.T) {
	for _, c := range []struct{ source, text, want, err string }{
		{"RFC 9112 7.1", "5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", "hello world", ""},
		{"no data", "0\r\n\r\n", "", ""},
		{"leading zeros and capitals", "00A\r\n0123456789\r\n000\r\n\r\n", "0123456789", ""},
		{"RFC 9112 7.1.1: extensions are ignored", "5;a=b;c=\"d e\" ; f\r\nhello\r\n0;x\r\n\r\n", "hello", ""},
		{"RFC 9112 7.1.1: white space before an extension", "5 \t;a\r\nhello\r\n0\r\n\r\n", "hello", ""},
		{"large chunk", "186a0\r\n" + strings.Repeat("x", 100000) + "\r\n0\r\n\r\n", strings.Repeat("x", 100000), ""},
		{"RFC 9112 7.1.2: trailers", "1\r\na\r\n0\r\nX-Sum: 1\r\nY: 2\r\n\r\n", "a", ""},

		{"bare LF behind the size", "5\nhello\r\n0\r\n\r\n", "", "a chunk is malformed"},
		{"bare CR behind the size", "5\rhello\r\n0\r\n\r\n", "", "a chunk is malformed"},
		{"bare LF behind the data", "5\r\nhello\n0\r\n\r\n", "hello", "a chunk is malformed"},
		{"another byte before the LF behind the data", "5\r\nhello \n0\r\n\r\n", "hello", "a chunk is malformed"},
		{"another byte behind the CR", "5\r\nhello\r0\r\n\r\n", "hello", "a chunk is malformed"},
		{"data longer than the size", "4\r\nhello\r\n0\r\n\r\n", "hell", "a chunk is malformed"},
		{"no size", "\r\nhello\r\n0\r\n\r\n", "", "a chunk is malformed"},
		{"extension alone", ";a\r\nhello\r\n0\r\n\r\n", "", "a chunk is malformed"},
		{"sign", "+5\r\nhello\r\n0\r\n\r\n", "", "a chunk is malformed"},
		{"negative", "-5\r\nhello\r\n0\r\n\r\n", "", "a chunk is malformed"},
		{"prefix", "0x5\r\nhello\r\n0\r\n\r\n", "", "a chunk is malformed"},
		{"underscore", "1_0\r\nhello\r\n0\r\n\r\n", "", "a chunk is malformed"},
		{"space before the size", " 5\r\nhello\r\n0\r\n\r\n", "", "a chunk is malformed"},
		{"space behind the size", "5 \r\nhello\r\n0\r\n\r\n", "", "a chunk is malformed"},
		{"size that overflows", "ffffffffffffffff\r\nhello\r\n", "", "a chunk is malformed"},
		{"many zeros", strings.Repeat("0", 16) + "5\r\nhello\r\n0\r\n\r\n", "", "a chunk is malformed"},
		{"bare LF in an extension", "5;a\nb\r\nhello\r\n0\r\n\r\n", "", "a chunk is malformed"},
		{"bare CR in an extension", "5;a\rb\r\nhello\r\n0\r\n\r\n", "", "a chunk is malformed"},
		{"NUL in an extension", "5;a\x00\r\nhello\r\n0\r\n\r\n", "", "a chunk is malformed"},
		{"long extension", "5;" + strings.Repeat("a", 300) + "\r\nhello\r\n0\r\n\r\n", "", "the chunk extensions are too long"},
		{"extension without end", "5;" + strings.Repeat("a", 5000), "", "the chunk extensions are too long"},
		{"many extensions", strings.Repeat("1;"+strings.Repeat("a", 200)+"\r\nx\r\n", 100) + "0\r\n\r\n", strings.Repeat("x", 81), "the chunk extensions are too long"},
		{"end within a chunk", "5\r\nhel", "hel", "unexpected EOF"},
		{"end within a size", "5", "", "unexpected EOF"},
		{"end behind a chunk", "5\r\nhello\r\n", "hello", "unexpected EOF"},
		{"end before the empty line", "5\r\nhello\r\n0\r\n", "hello", "unexpected EOF"},
		{"RFC 9112 7.1.2: folded trailer", "0\r\nA: b\r\n c\r\n\r\n", "", "a field is folded over several lines"},
		{"bare LF in the trailers", "0\r\nA: b\n\r\n", "", "a line ends in LF without CR"},
		{"bare LF as the end", "0\r\n\n", "", "a line ends in LF without CR"},
		{"space before a trailer's colon", "0\r\nA : b\r\n\r\n", "", "a field's name is malformed"},
		{"large trailers", "0\r\n" + strings.Repeat("A: "+strings.Repeat("b", 1000)+"\r\n", 20) + "\r\n", "", "the header is too large"},
		{"long trailer", "0\r\nA: " + strings.Repeat("b", 9000) + "\r\n\r\n", "", "a field is too long"},
	} {
		next := ""
		if c.err == "" {
			next = "GET /next HTTP/1.1\r\nHost: h\r\n\r\n"
		}
		for _, way := range []string{"next", "writeto", "small", "large"} {
			for how, src := range readers(chunkedHead + c.text + next) {
				var pool Buffers
				var q Request
				rd := NewReader(src, &pool)
				lim := defaultRequestLimits()
				if err := rd.ReadRequest(&q, &lim); err != nil {
					t.Fatal(err)
				}
				got, err := drain(&q.Body, way)
				text := ""
				if err != nil {
					text = err.Error()
				}
				if got != c.want || text != c.err {
					t.Errorf("%s (%s, %s): %.60q, error %q; want %.60q, %q", c.source, way, how, got, text, c.want, c.err)
				}
				var e *Error
				if errors.As(err, &e) && e.Status != 400 {
					t.Errorf("%s: status %d", c.source, e.Status)
				}
				if done := q.Body.Done(); done != (c.err == "") {
					t.Errorf("%s: Done is %v", c.source, done)
				}
				if _, again := q.Body.Next(); err != nil && again != err {
					t.Errorf("%s: the error does not stay: %v, then %v", c.source, err, again)
				}
				if c.err == "" {
					if err := rd.ReadRequest(&q, &lim); err != nil || string(q.Path) != "/next" {
						t.Errorf("%s (%s, %s): the next request: %q, %v", c.source, way, how, q.Path, err)
					}
				}
			}
		}
	}
}

// Fields that decide on framing, routing and credentials cannot come behind the body
// (RFC 9110, 6.5.1).
func TestTrailers(t *testing.T) {
	text := chunkedHead + "0\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\nHost: x\r\nAuthorization: y\r\nX-Forwarded-For: z\r\n" +
		"Set-Cookie: a\r\nCache-Control: b\r\ngrpc-status: 0\r\nunder_score: 1\r\nX-Sum: 5\r\n\r\n"
	var pool Buffers
	var q Request
	rd := NewReader(strings.NewReader(text), &pool)
	lim := defaultRequestLimits()
	if err := rd.ReadRequest(&q, &lim); err != nil {
		t.Fatal(err)
	}
	if _, err := q.Body.Next(); err != io.EOF {
		t.Fatal(err)
	}
	if got, want := string(AppendLastChunk(nil, q.Body.Trailer())), "0\r\ngrpc-status: 0\r\nX-Sum: 5\r\n\r\n"; got != want {
		t.Errorf("the trailers are %q, want %q", got, want)
	}
}

func TestLengthBody(t *testing.T) {
	for _, way := range []string{"next", "writeto", "small", "large"} {
		for how, src := range readers("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n" + strings.Repeat("x", 99999)) {
			var pool Buffers
			var q Request
			lim := defaultRequestLimits()
			if err := NewReader(src, &pool).ReadRequest(&q, &lim); err != nil {
				t.Fatal(err)
			}
			got, err := drain(&q.Body, way)
			if len(got) != 99999 || err != io.ErrUnexpectedEOF || q.Body.Done() || q.Body.Remaining() != 1 || q.Body.BytesRead() != 99999 {
				t.Errorf("%s, %s: %d bytes, %v, %d remaining", way, how, len(got), err, q.Body.Remaining())
			}
		}
	}
}

func TestBodyBound(t *testing.T) {
	status := func(err error) int {
		var e *Error
		if errors.As(err, &e) {
			return e.Status
		}
		return 0
	}
	var pool Buffers
	var q Request
	lim := defaultRequestLimits()
	read := func(text string) {
		t.Helper()
		if err := NewReader(strings.NewReader(text), &pool).ReadRequest(&q, &lim); err != nil {
			t.Fatal(err)
		}
	}
	const length = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 11\r\n\r\nhello world"
	read(length)
	if err := q.Body.SetMax(11); err != nil {
		t.Error(err)
	}
	if got, err := drain(&q.Body, "next"); got != "hello world" || err != nil {
		t.Error(got, err)
	}
	read(length)
	if err := q.Body.SetMax(10); status(err) != 413 {
		t.Errorf("a body with a length over the bound: %v", err)
	}
	if _, err := q.Body.Next(); status(err) != 413 {
		t.Errorf("it can be read: %v", err)
	}
	read(length)
	if err := q.Body.SetMax(0); err != nil {
		t.Errorf("0 is no bound: %v", err)
	}
	chunks := chunkedHead + strings.Repeat("5\r\nhello\r\n", 3) + "0\r\n\r\n"
	for _, way := range []string{"next", "small", "large"} {
		read(chunks)
		if err := q.Body.SetMax(14); err != nil {
			t.Error(err)
		}
		if got, err := drain(&q.Body, way); got != "hellohello" || status(err) != 413 {
			t.Errorf("%s: a chunked body over the bound: %q, %v", way, got, err)
		}
		read(chunks)
		_ = q.Body.SetMax(15)
		if got, err := drain(&q.Body, way); got != "hellohellohello" || err != nil {
			t.Errorf("%s: a chunked body at the bound: %q, %v", way, got, err)
		}
	}
}

// Of a body with a length, what is buffered is handed out and the rest is moved past
// the Reader.
func TestSplice(t *testing.T) {
	var pool Buffers
	var q Request
	lim := defaultRequestLimits()
	src := strings.NewReader("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10000\r\n\r\n" + strings.Repeat("x", 10000) + "GET /next HTTP/1.1\r\nHost: h\r\n\r\n")
	rd := NewReader(src, &pool)
	if err := rd.ReadRequest(&q, &lim); err != nil {
		t.Fatal(err)
	}
	first := q.Body.Buffered()
	rest := q.Body.Remaining()
	if len(first) == 0 || rest != 10000-int64(len(first)) || rd.Buffered() != 0 {
		t.Fatalf("%d bytes at once, %d remain", len(first), rest)
	}
	n, err := io.CopyN(io.Discard, src, rest)
	if err != nil {
		t.Fatal(err)
	}
	q.Body.Moved(n)
	if !q.Body.Done() || q.Body.BytesRead() != 10000 {
		t.Errorf("the body is not done: %d read", q.Body.BytesRead())
	}
	if err := rd.ReadRequest(&q, &lim); err != nil || string(q.Path) != "/next" {
		t.Errorf("the next request: %q, %v", q.Path, err)
	}
}

func TestDiscard(t *testing.T) {
	for _, c := range []struct {
		text  string
		limit int64
		done  bool
		err   error
	}{
		{"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello", 5, true, nil},
		{"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello", 4, false, nil},
		{"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhell", 5, false, io.ErrUnexpectedEOF},
		{chunkedHead + "5\r\nhello\r\n0\r\n\r\n", 5, true, nil},
		{chunkedHead + "5\r\nhello\r\n0\r\n\r\n", 4, false, nil},
		{"GET / HTTP/1.1\r\nHost: h\r\n\r\n", 0, true, nil},
	} {
		var pool Buffers
		var q Request
		lim := defaultRequestLimits()
		if err := NewReader(strings.NewReader(c.text), &pool).ReadRequest(&q, &lim); err != nil {
			t.Fatal(err)
		}
		if done, err := q.Body.Discard(c.limit); done != c.done || err != c.err {
			t.Errorf("%q, %d: %v, %v", c.text, c.limit, done, err)
		}
	}
}

// NextBuffered never waits: with a source that fails when it is asked, it hands out
// what is here.
func TestNextBuffered(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 50\r\n\r\nhello", "hello"},
		{chunkedHead + "5\r\nhello\r\n3\r\nab", "helloab"},
		{chunkedHead + "5\r\nhello\r\n3", "hello"},
		{chunkedHead + "5\r\nhello\r\n3\r\n", "hello"},
		{chunkedHead + "5\r\nhello", "hello"},
		{chunkedHead, ""},
	} {
		asked := false
		src := io.MultiReader(strings.NewReader(c.text), readerFunc(func([]byte) (int, error) {
			asked = true
			return 0, errors.New("the source was asked")
		}))
		var pool Buffers
		var q Request
		lim := defaultRequestLimits()
		if err := NewReader(src, &pool).ReadRequest(&q, &lim); err != nil {
			t.Fatal(err)
		}
		got := ""
		for {
			p, err := q.Body.NextBuffered()
			if err != nil || asked {
				t.Fatalf("%q: %v", c.text, err)
			}
			if len(p) == 0 {
				break
			}
			got += string(p)
		}
		if got != c.want {
			t.Errorf("%q: %q, want %q", c.text, got, c.want)
		}
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
