package h1

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"testing"
)

// seeds are requests of every kind, good and bad.
var seeds = []string{
	smallRequest, tenFields, browserRequest,
	"POST /a?b HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhelloGET / HTTP/1.1\r\nHost: h\r\n\r\n",
	chunkedHead + "5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n",
	"GET http://u@a/%2f?q HTTP/1.1\r\nHost: b\r\nConnection: close, x\r\nx: 1\r\n\r\n",
	"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
	"GET / HTTP/1.1\nHost: h\n\n", "GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n", "\r\nGET / HTTP/1.0\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nConnection: Transfer-Encoding\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
	"GET /\xe6\x97 HTTP/1.1\r\nHost: [::1]:1\r\nA: \xe6\t b \r\nB_c: d\r\n\r\n",
}

// readAll reads one request and its body.
func readAll(text []byte, one bool, lim *Limits) (q *Request, body []byte, rest int, err error) {
	var pool Buffers
	var src io.Reader = bytes.NewReader(text)
	if one {
		src = readerFunc(func(p []byte) (int, error) {
			if len(text) == 0 {
				return 0, io.EOF
			}
			p[0] = text[0]
			text = text[1:]
			return 1, nil
		})
	}
	q = new(Request)
	rd := NewReader(src, &pool)
	if err = rd.ReadRequest(q, lim); err == nil {
		body, err = io.ReadAll(&q.Body)
	}
	left := rd.Buffered()
	if r, ok := src.(*bytes.Reader); ok {
		left += r.Len()
	} else {
		left += len(text)
	}
	return q, body, left, err
}

// FuzzRequest holds that a request that is read and written is the same when it is
// read again, that how the bytes arrive does not matter, and that what net/http
// accepts, too, it reads in the same way.
func FuzzRequest(f *testing.F) {
	for _, s := range seeds {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if len(text) > 4000 {
			return
		}
		lim := defaultRequestLimits()
		q, body, rest, err := readAll(bytes.Clone(text), false, &lim)
		q1, body1, rest1, err1 := readAll(bytes.Clone(text), true, &lim)
		if a, b := outcome(q, err), outcome(q1, err1); err == nil && (a != b || rest != rest1) || (err == nil) != (err1 == nil) || !bytes.Equal(body, body1) {
			t.Fatalf("%q differs by how it arrives:\n%s %q %d\n%s %q %d", text, a, body, rest, b, body1, rest1)
		}
		if err != nil {
			return
		}
		again(t, q, body)
		compare(t, text, q, body, rest)
	})
}

// again writes a request and reads it.
func again(t *testing.T, q *Request, body []byte) {
	out, err := appendRequestHead(nil, q.MethodName, q.URI, &q.Header)
	if err != nil {
		t.Fatal(err)
	}
	if q.Minor == 0 { // it is written as 1.1
		out = bytes.Replace(out, []byte(" HTTP/1.1\r\n"), []byte(" HTTP/1.0\r\n"), 1)
	}
	if q.Chunked {
		out = AppendLastChunk(appendChunk(out, body), q.Body.Trailer())
	} else {
		out = append(out, body...)
	}
	lim := defaultRequestLimits()
	lim.MaxHead, lim.MaxLine = 1<<20, 1<<20 // escapes make a target longer
	q2, body2, rest, err := readAll(out, false, &lim)
	if err != nil || rest != 0 || !bytes.Equal(body, body2) {
		t.Fatalf("%q: %v, %d bytes left, body %q", out, err, rest, body2)
	}
	escaped := string(AppendTarget(nil, q.URI))
	if string(q2.URI) != escaped || !q2.Header.Equal(&q.Header) || !q2.Body.Trailer().Equal(q.Body.Trailer()) ||
		q2.Method != q.Method || q2.KeepAlive != q.KeepAlive || q2.ContentLength != q.ContentLength {
		t.Fatalf("%q is read as\n%s, not as\n%s", out, outcome(q2, nil), outcome(q, nil))
	}
}

// compare holds a request against net/http's reading of it.
func compare(t *testing.T, text []byte, q *Request, body []byte, rest int) {
	src := bufio.NewReader(bytes.NewReader(bytes.TrimPrefix(text, []byte("\r\n"))))
	r, err := http.ReadRequest(src)
	if err != nil {
		return // it is the stricter one here
	}
	theirs, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	if r.Method != string(q.MethodName) || r.RequestURI != string(q.Target) || r.Host != string(q.Host) || !bytes.Equal(theirs, body) {
		t.Fatalf("%q: net/http reads %s %s of %s with %q,\nthis %s %s of %s with %q", text, r.Method, r.RequestURI, r.Host, theirs, q.MethodName, q.Target, q.Host, body)
	}
	left, _ := io.Copy(io.Discard, src)
	if !q.Chunked && int(left) != rest {
		t.Fatalf("%q: net/http leaves %d bytes, this %d", text, left, rest)
	}
}

// FuzzResponse holds the same of responses.
func FuzzResponse(f *testing.F) {
	for _, s := range []string{okResponse, "HTTP/1.1 200\r\n\r\nx", "HTTP/1.0 204 No\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 100 Continue\r\n\r\n" + okResponse,
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nA: b\r\n\r\n"} {
		f.Add([]byte(s), false)
		f.Add([]byte(s), true)
	}
	f.Fuzz(func(t *testing.T, text []byte, head bool) {
		if len(text) > 3000 {
			return
		}
		method, name := MethodGet, "GET"
		if head {
			method, name = MethodHead, "HEAD"
		}
		var pool Buffers
		var p Response
		lim := ResponseLimits(4096)
		if err := NewReader(bytes.NewReader(text), &pool).ReadResponse(&p, method, &lim); err != nil {
			return
		}
		body, err := io.ReadAll(&p.Body)
		if err != nil {
			return
		}
		out := AppendResponseHead(nil, p.Status, p.Phrase, &p.Header)
		var p2 Response
		if err := NewReader(bytes.NewReader(out), &pool).ReadResponse(&p2, MethodHead, &lim); p.Minor == 1 && (err != nil || p2.Status != p.Status || !p2.Header.Equal(&p.Header)) {
			t.Fatalf("%q is read as %d, %v", out, p2.Status, err)
		}
		r, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(text)), &http.Request{Method: name})
		if err != nil {
			return
		}
		theirs, err := io.ReadAll(r.Body)
		if err != nil || p.Status == 101 {
			return
		}
		if r.StatusCode != p.Status || !bytes.Equal(theirs, body) {
			t.Fatalf("%q: net/http reads %d with %q, this %d with %q", text, r.StatusCode, theirs, p.Status, body)
		}
	})
}

// FuzzHeader holds that no edit makes a line that was not asked for.
func FuzzHeader(f *testing.F) {
	f.Add("X-A", "v", "/x", "OK")
	f.Add("a\r\nb", "c\r\nd", "/ HTTP/1.1\r\nA: b", "x\r\n")
	f.Fuzz(func(t *testing.T, name, value, target, phrase string) {
		var h Header
		if h.AddName(name, value) != nil && h.Len() != 0 {
			t.Fatal("an error, and a field")
		}
		_ = h.SetName(name, value+"x")
		_ = h.SetString(Location, value)
		out := AppendResponseHead(nil, 200, []byte(phrase), &h)
		if n := bytes.Count(out, []byte("\n")); n != h.Len()+2 || bytes.Count(out, []byte("\r")) != n {
			t.Fatalf("%d lines for %d fields: %q", n, h.Len(), out)
		}
		head, err := appendRequestHead(nil, []byte("GET"), []byte(target), &h)
		if n := bytes.Count(head, []byte("\n")); err != nil || n != h.Len()+2 || bytes.Count(head, []byte(" HTTP/1.1\r\n")) < 1 {
			t.Fatalf("%d lines for %d fields: %q, %v", n, h.Len(), head, err)
		}
		if sp := bytes.Count(head[:bytes.IndexByte(head, '\r')], []byte(" ")); sp != 2 {
			t.Fatalf("%d spaces in the request line %q", sp, head)
		}
		h.RemoveHopByHop(false)
	})
}
