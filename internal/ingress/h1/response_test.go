package h1

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
)

func TestReadResponse(t *testing.T) {
	const ok = "HTTP/1.1 200 OK\r\n"
	for _, c := range []struct {
		source string
		method Method
		text   string
		want   string // status, phrase, length, flags, body; or the error
		rest   int    // bytes left
	}{
		{"RFC 9112 6.2", MethodGet, ok + "Content-Length: 5\r\n\r\nhello", `200 "OK" len=5 keep "hello"`, 0},
		{"RFC 9112 7.1", MethodGet, ok + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", `200 "OK" len=-1 chunked keep "hello"`, 0},
		{"RFC 9112 6.3: until the end of the connection", MethodGet, ok + "\r\nhello", `200 "OK" len=-1 close "hello"`, 0},
		{"empty body", MethodGet, ok + "Content-Length: 0\r\n\r\n", `200 "OK" len=0 keep ""`, 0},
		{"RFC 9110 9.3.2: HEAD", MethodHead, ok + "Content-Length: 5\r\n\r\n", `200 "OK" len=5 keep ""`, 0},
		{"HEAD of a chunked body", MethodHead, ok + "Transfer-Encoding: chunked\r\n\r\n", `200 "OK" len=-1 chunked keep ""`, 0},
		{"HEAD without a length", MethodHead, ok + "\r\n", `200 "OK" len=-1 keep ""`, 0},
		{"RFC 9110 15.4.5: 304", MethodGet, "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", `304 "Not Modified" len=5 keep ""`, 0},
		{"RFC 9110 15.3.5: 204", MethodGet, "HTTP/1.1 204 No Content\r\n\r\n", `204 "No Content" len=-1 keep ""`, 0},
		{"204 with a length of 0", MethodGet, "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", `204 "No Content" len=0 keep ""`, 0},
		{"204 with a body: not kept", MethodGet, "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello", `204 "No Content" len=5 ""`, 5},
		{"RFC 9110 15.2: 100", MethodPut, "HTTP/1.1 100 Continue\r\n\r\n", `100 "Continue" len=-1 keep interim ""`, 0},
		{"RFC 8297: 103", MethodGet, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + ok, `103 "Early Hints" len=-1 keep interim ""`, len(ok)},
		{"RFC 9110 15.2.2: 101", MethodGet, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n\x81\x00", `101 "Switching Protocols" len=-1 keep ""`, 2},
		{"RFC 9112 9.3: close", MethodGet, ok + "Connection: close\r\nContent-Length: 0\r\n\r\n", `200 "OK" len=0 ""`, 0},
		{"RFC 9112 9.3: 1.0", MethodGet, "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nab", `200 "OK" len=2 "ab"`, 0},
		{"keep-alive in 1.0", MethodGet, "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nab", `200 "OK" len=2 keep "ab"`, 0},
		{"bytes behind the response stay", MethodGet, ok + "Content-Length: 1\r\n\r\nabc", `200 "OK" len=1 keep "a"`, 2},
		{"no phrase", MethodGet, "HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n", `200 "" len=0 keep ""`, 0},
		{"no space before the phrase", MethodGet, "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", `200 "" len=0 keep ""`, 0},
		{"phrase with obs-text", MethodGet, "HTTP/1.1 299 \xe6\x97\r\nContent-Length: 0\r\n\r\n", `299 "\xe6\x97" len=0 keep ""`, 0},
		{"names that clients cannot send pass", MethodGet, ok + "a_b: 1\r\nx.y: 2\r\nContent-Length: 0\r\n\r\n", `200 "OK" len=0 keep ""`, 0},

		{"bare LF", MethodGet, "HTTP/1.1 200 OK\nContent-Length: 0\n\n", "a line ends in LF without CR", -1},
		{"bare LF after a field", MethodGet, ok + "Content-Length: 0\n\r\n", "a line ends in LF without CR", -1},
		{"bare CR", MethodGet, "HTTP/1.1 200 OK\rA: b\r\n\r\n", "a line holds CR without LF", -1},
		{"empty line before", MethodGet, "\r\n" + ok + "\r\n", "the status line is malformed", -1},
		{"rest of another response", MethodGet, "hello" + ok + "\r\n", "the status line is malformed", -1},
		{"not HTTP", MethodGet, "SSH-2.0-OpenSSH", "the status line is malformed", -1},
		{"HTTP/0.9", MethodGet, "<html>hello", "the status line is malformed", -1},
		{"HTTP/2.0", MethodGet, "HTTP/2.0 200 OK\r\n\r\n", "the status line is malformed", -1},
		{"HTTP/1.2", MethodGet, "HTTP/1.2 200 OK\r\n\r\n", "the version of HTTP is not supported", -1},
		{"no status", MethodGet, "HTTP/1.1\r\n\r\n", "the status line is malformed", -1},
		{"two digits", MethodGet, "HTTP/1.1 20 OK\r\n\r\n", "the status line is malformed", -1},
		{"four digits", MethodGet, "HTTP/1.1 2000 OK\r\n\r\n", "the status line is malformed", -1},
		{"below 100", MethodGet, "HTTP/1.1 099 OK\r\n\r\n", "the status line is malformed", -1},
		{"sign", MethodGet, "HTTP/1.1 +20 OK\r\n\r\n", "the status line is malformed", -1},
		{"NUL in the phrase", MethodGet, "HTTP/1.1 200 O\x00K\r\n\r\n", "the status line is malformed", -1},
		{"two lengths", MethodGet, ok + "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", "a field that must be unique is repeated", -1},
		{"length and coding", MethodGet, ok + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", "the message has both Content-Length and Transfer-Encoding", -1},
		{"bad length", MethodGet, ok + "Content-Length: 5,5\r\n\r\nhello", "Content-Length is malformed", -1},
		{"other coding", MethodGet, ok + "Transfer-Encoding: gzip, chunked\r\n\r\n", "the transfer coding is not supported", -1},
		{"coding in 1.0", MethodGet, "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "the message has Transfer-Encoding in HTTP/1.0", -1},
		{"interim with a body", MethodGet, "HTTP/1.1 100 Continue\r\nContent-Length: 5\r\n\r\nhello", "an interim response has a body", -1},
		{"interim with a coding", MethodGet, "HTTP/1.1 103 Early Hints\r\nTransfer-Encoding: chunked\r\n\r\n", "an interim response has a body", -1},
		{"folded field", MethodGet, ok + "A: b\r\n c\r\n\r\n", "a field is folded over several lines", -1},
		{"space before a colon", MethodGet, ok + "A : b\r\n\r\n", "a field's name is malformed", -1},
		{"control byte", MethodGet, ok + "A: b\x00\r\n\r\n", "a field holds a control byte", -1},
		{"proxy-buffer-size: head over 4k", MethodGet, ok + strings.Repeat("A: "+strings.Repeat("b", 1000)+"\r\n", 5) + "\r\n", "the header is too large", -1},
		{"proxy-buffer-size: field over 4k", MethodGet, ok + "A: " + strings.Repeat("b", 5000) + "\r\n\r\n", "the header is too large", -1},
		{"phrase over 4k", MethodGet, "HTTP/1.1 200 " + strings.Repeat("b", 5000), "the header is too large", -1},
		{"bad chunk", MethodGet, ok + "Transfer-Encoding: chunked\r\n\r\nx\r\n", "a chunk is malformed", -1},
		{"no response", MethodGet, "", "EOF", -1},
		{"part of a response", MethodGet, "HTTP/1.1 200 OK\r\nA: b\r\n", "unexpected EOF", -1},
		{"part of a body", MethodGet, ok + "Content-Length: 5\r\n\r\nhell", "unexpected EOF", -1},
	} {
		for how, src := range readers(c.text) {
			if got, rest := respond(t, src, c.method); got != c.want || c.rest >= 0 && how == "whole" && rest != c.rest {
				t.Errorf("%s: %.80q (%s)\n got %s, %d bytes left\nwant %s, %d", c.source, c.text, how, got, rest, c.want, c.rest)
			}
		}
	}
}

// respond reads a response and says what it is.
func respond(t *testing.T, src io.Reader, method Method) (got string, rest int) {
	t.Helper()
	var pool Buffers
	var p Response
	lim := ResponseLimits(4096)
	rd := NewReader(src, &pool)
	err := rd.ReadResponse(&p, method, &lim)
	var body []byte
	if err == nil && p.Status != 101 {
		body, err = io.ReadAll(&p.Body)
	}
	var e *Error
	if errors.As(err, &e) && e.Status != 502 {
		t.Errorf("status %d for %v, want 502", e.Status, err)
	}
	if err != nil {
		return err.Error(), -1
	}
	got = fmt.Sprintf("%d %q len=%d", p.Status, p.Phrase, p.ContentLength)
	for _, f := range []struct {
		set  bool
		name string
	}{{p.Chunked, "chunked"}, {p.UntilClose, "close"}, {p.KeepAlive, "keep"}, {p.Interim(), "interim"}} {
		if f.set {
			got += " " + f.name
		}
	}
	if !p.Body.Done() {
		t.Errorf("the body of %s is not done", got)
	}
	return got + fmt.Sprintf(" %q", body), rd.Buffered()
}

func TestInterimThenFinal(t *testing.T) {
	var pool Buffers
	var p Response
	lim := ResponseLimits(4096)
	rd := NewReader(strings.NewReader("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nok"), &pool)
	for _, want := range []int{100, 103, 201} {
		if err := rd.ReadResponse(&p, MethodPost, &lim); err != nil || p.Status != want || p.Interim() != (want < 200) {
			t.Fatalf("%d, %v; want %d", p.Status, err, want)
		}
	}
	if body, err := io.ReadAll(&p.Body); string(body) != "ok" || err != nil {
		t.Errorf("%q, %v", body, err)
	}
}
