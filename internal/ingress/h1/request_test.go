package h1

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

// readers gives the bytes at once, one by one, and in halves.
func readers(text string) map[string]io.Reader {
	return map[string]io.Reader{
		"whole":  strings.NewReader(text),
		"bytes":  iotest.OneByteReader(strings.NewReader(text)),
		"halves": iotest.HalfReader(strings.NewReader(text)),
	}
}

// outcome is a request in one line, for comparison.
func outcome(q *Request, err error) string {
	var e *Error
	switch {
	case errors.As(err, &e):
		return fmt.Sprintf("%d %s", e.Status, e.Reason)
	case err != nil:
		return err.Error()
	}
	s := fmt.Sprintf("%s %s 1.%d host=%s len=%d", q.MethodName, q.URI, q.Minor, q.Host, q.ContentLength)
	for _, f := range []struct {
		set  bool
		name string
	}{{q.KeepAlive, "keep"}, {q.ExpectContinue, "expect"}, {q.WantsUpgrade, "upgrade"}, {q.AcceptsTrailers, "trailers"}, {!q.Plain, "normalise"}} {
		if f.set {
			s += " " + f.name
		}
	}
	if string(q.Header.Get(Host)) != string(q.Host) {
		s += fmt.Sprintf(" Host=%q", q.Header.Get(Host))
	}
	for i := range q.Header.Len() {
		name, value := q.Header.Field(i)
		if id := q.Header.FieldID(i); id != Host {
			s += fmt.Sprintf(" %s=%q", name, value)
		}
	}
	return s
}

type requestCase struct{ source, text, want string }

func runRequests(t *testing.T, cases []requestCase, lim Limits) {
	t.Helper()
	for _, c := range cases {
		for how, src := range readers(c.text) {
			var pool Buffers
			var q Request
			rd := NewReader(src, &pool)
			if got := outcome(&q, rd.ReadRequest(&q, &lim)); got != c.want {
				t.Errorf("%s: %.120q (%s)\n got %s\nwant %s", c.source, c.text, how, got, c.want)
			}
		}
	}
}

func TestReadRequest(t *testing.T) {
	runRequests(t, []requestCase{
		{"RFC 9112 3", "GET / HTTP/1.1\r\nHost: h\r\n\r\n", "GET / 1.1 host=h len=0 keep"},
		{"RFC 9112 3.2.1", "GET /a%20b?x=%zz&y HTTP/1.1\r\nhOST:h:80\r\n\r\n", "GET /a%20b?x=%zz&y 1.1 host=h:80 len=0 keep normalise"},
		{"RFC 9112 3.2.2", "GET http://a/b?c HTTP/1.1\r\nHost: a\r\n\r\n", "GET /b?c 1.1 host=a len=0 keep"},
		{"RFC 9112 3.2.2: the target's host wins", "GET HTTP://a:8080 HTTP/1.1\r\nHost: b\r\n\r\n", "GET / 1.1 host=a:8080 len=0 keep"},
		{"RFC 9112 3.2.2: query without a path", "GET https://a?q HTTP/1.1\r\nHost: a\r\n\r\n", "GET /?q 1.1 host=a len=0 keep"},
		{"RFC 9112 3.2.2: without Host in 1.0", "GET http://a/ HTTP/1.0\r\n\r\n", "GET / 1.0 host=a len=0"},
		{"RFC 9112 3.2.4", "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", "OPTIONS * 1.1 host=h len=0 keep normalise"},
		{"RFC 9112 3.2: no Host in 1.0", "GET / HTTP/1.0\r\n\r\n", "GET / 1.0 host= len=0"},
		{"RFC 9112 2.2: one empty line before", "\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", "GET / 1.1 host=h len=0 keep"},
		{"RFC 9112 9.3: close", "GET / HTTP/1.1\r\nHost: h\r\nConnection: Close\r\n\r\n", `GET / 1.1 host=h len=0 Connection="Close"`},
		{"RFC 9112 9.3: keep-alive in 1.0", "GET / HTTP/1.0\r\nConnection: x, keep-alive\r\n\r\n", `GET / 1.0 host= len=0 keep Connection="x, keep-alive"`},
		{"RFC 9112 9.3: close beats keep-alive", "GET / HTTP/1.0\r\nConnection: keep-alive\r\nConnection: close\r\n\r\n", `GET / 1.0 host= len=0 Connection="keep-alive" Connection="close"`},
		{"RFC 9112 6.2", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 007\r\n\r\n", `POST / 1.1 host=h len=7 keep Content-Length="007"`},
		{"RFC 9112 7.1", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: Chunked\r\n\r\n", `POST / 1.1 host=h len=-1 keep Transfer-Encoding="Chunked"`},
		{"RFC 9110 10.1.1", "PUT / HTTP/1.1\r\nHost: h\r\nExpect: 100-Continue\r\nContent-Length: 1\r\n\r\n", `PUT / 1.1 host=h len=1 keep expect Expect="100-Continue" Content-Length="1"`},
		{"RFC 9110 10.1.1: not in 1.0", "PUT / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n", `PUT / 1.0 host= len=1 Expect="100-continue" Content-Length="1"`},
		{"nginx passes other expectations over", "PUT / HTTP/1.1\r\nHost: h\r\nExpect: x\r\n\r\n", `PUT / 1.1 host=h len=0 keep Expect="x"`},
		{"RFC 9110 7.8", "GET / HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n", `GET / 1.1 host=h len=0 keep upgrade Connection="keep-alive, Upgrade" Upgrade="websocket"`},
		{"no upgrade with a body", "POST / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: x\r\nContent-Length: 1\r\n\r\n", `POST / 1.1 host=h len=1 keep Connection="upgrade" Upgrade="x" Content-Length="1"`},
		{"upgrade of SPDY, whose requests have a length of 0", "POST / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\nContent-Length: 0\r\n\r\n", `POST / 1.1 host=h len=0 keep upgrade Connection="Upgrade" Upgrade="SPDY/3.1" Content-Length="0"`},
		{"RFC 9110 7.8: Upgrade that Connection does not name", "GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n\r\n", `GET / 1.1 host=h len=0 keep Upgrade="websocket"`},
		{"RFC 9113 3.1: no upgrade to h2c", "GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n", `GET / 1.1 host=h len=0 keep Connection="upgrade, HTTP2-Settings" Upgrade="h2c"`},
		{"RFC 9110 10.1.4", "GET / HTTP/1.1\r\nHost: h\r\nTE: deflate;q=0.5, Trailers\r\n\r\n", `GET / 1.1 host=h len=0 keep trailers TE="deflate;q=0.5, Trailers"`},
		{"RFC 9110 5.5: white space around values, obs-text, tab", "GET / HTTP/1.1\r\nHost: h\r\nA: \t b\tc \xe6\x97 \t\r\nB:\r\nC:x\r\n\r\n", `GET / 1.1 host=h len=0 keep A="b\tc \xe6\x97" B="" C="x"`},
		{"nginx: underscores are dropped", "GET / HTTP/1.1\r\nHost: h\r\nX_Forwarded_For: 1\r\nContent_Length: 5\r\nA: b\r\n\r\n", `GET / 1.1 host=h len=0 keep A="b"`},
		{"nginx: other names than letters, digits, hyphens are dropped", "GET / HTTP/1.1\r\nHost: h\r\nX.Y: 1\r\n\r\n", `GET / 1.1 host=h len=0 keep`},
		{"raw bytes beyond ASCII in the target, as nginx", "GET /日本 HTTP/1.1\r\nHost: h\r\n\r\n", "GET /日本 1.1 host=h len=0 keep normalise"},
		{"paths that need no normalising", "GET /a.b/c-d/e?/../%2e//x HTTP/1.1\r\nHost: h\r\n\r\n", "GET /a.b/c-d/e?/../%2e//x 1.1 host=h len=0 keep"},
		{"dot segments", "GET /a/../b HTTP/1.1\r\nHost: h\r\n\r\n", "GET /a/../b 1.1 host=h len=0 keep normalise"},
		{"double slash", "GET //a HTTP/1.1\r\nHost: h\r\n\r\n", "GET //a 1.1 host=h len=0 keep normalise"},
		{"backslash", `GET /a\..\b HTTP/1.1` + "\r\nHost: h\r\n\r\n", `GET /a\..\b 1.1 host=h len=0 keep normalise`},
		{"IPv6", "GET / HTTP/1.1\r\nHost: [::1]:8443\r\n\r\n", "GET / 1.1 host=[::1]:8443 len=0 keep"},
		{"other methods", "M-SEARCH / HTTP/1.1\r\nHost: h\r\n\r\n", "M-SEARCH / 1.1 host=h len=0 keep"},
		{"end of connection", "", "EOF"},
		{"end within the request line", "GET / HT", "unexpected EOF"},
		{"end within the head", "GET / HTTP/1.1\r\nHost: h\r\n", "unexpected EOF"},
	}, defaultRequestLimits())
}

// What two parsers could read in two ways, and what nginx refuses.
func TestRefusedRequests(t *testing.T) {
	const start = "POST / HTTP/1.1\r\nHost: h\r\n"
	end := "\r\n\r\n"
	runRequests(t, []requestCase{
		// Lines.
		{"bare LF after the request line", "GET / HTTP/1.1\nHost: h\r\n\r\n", "400 a line ends in LF without CR"},
		{"bare LF after a field", "GET / HTTP/1.1\r\nHost: h\nA: b\r\n\r\n", "400 a line ends in LF without CR"},
		{"bare LF as the empty line", "GET / HTTP/1.1\r\nHost: h\r\n\n", "400 a line ends in LF without CR"},
		{"bare CR in the request line", "GET / HTTP/1.1\rX: y\r\nHost: h\r\n\r\n", "400 a line holds CR without LF"},
		{"bare CR in a value", start + "A: b\rContent-Length: 5" + end, "400 a line holds CR without LF"},
		{"CR CR LF", start + "A: b\r\r\n\r\n", "400 a line holds CR without LF"},
		{"bare CR at the end", start + "\rA: b" + end, "400 a line holds CR without LF"},
		{"two empty lines before the request", "\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", "400 the method is malformed"},
		{"LF before the request", "\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", "400 a line ends in LF without CR"},
		// Bytes.
		{"NUL in a value", start + "A: b\x00c" + end, "400 a field holds a control byte"},
		{"control in a value", start + "A: b\x0bc" + end, "400 a field holds a control byte"},
		{"DEL in a value", start + "A: b\x7f" + end, "400 a field holds a control byte"},
		{"NUL in a name", start + "A\x00: b" + end, "400 a field's name is malformed"},
		{"control in a name", start + "A\x0b: b" + end, "400 a field's name is malformed"},
		{"obs-text in a name", start + "A\xe6: b" + end, "400 a field's name is malformed"},
		{"delimiter in a name", start + "A(b): c" + end, "400 a field's name is malformed"},
		{"slash in a name", start + "A/b: c" + end, "400 a field's name is malformed"},
		// Fields.
		{"RFC 9112 5.2: obs-fold", start + "A: b\r\n c" + end, "400 a field is folded over several lines"},
		{"RFC 9112 5.2: obs-fold with a tab", start + "Transfer-Encoding:\r\n\tchunked" + end, "400 a field is folded over several lines"},
		{"RFC 9112 2.2: space before the first field", "GET / HTTP/1.1\r\n Host: h\r\n\r\n", "400 a field is folded over several lines"},
		{"RFC 9112 5.1: space before the colon", start + "Content-Length : 5" + end, "400 a field's name is malformed"},
		{"RFC 9112 5.1: tab before the colon", start + "Transfer-Encoding\t: chunked" + end, "400 a field's name is malformed"},
		{"space in a name", start + "A b: c" + end, "400 a field's name is malformed"},
		{"no name", start + ": c" + end, "400 a field's name is malformed"},
		{"no colon", start + "Abc" + end, "400 a field's name is malformed"},
		{"no colon, no name", start + "=" + end, "400 a field's name is malformed"},
		// Framing.
		{"RFC 9112 6.3: two lengths", start + "Content-Length: 5\r\nContent-Length: 6" + end, "400 a field that must be unique is repeated"},
		{"two equal lengths", start + "Content-Length: 5\r\ncontent-length: 5" + end, "400 a field that must be unique is repeated"},
		{"list of lengths", start + "Content-Length: 5, 5" + end, "400 Content-Length is malformed"},
		{"signed length", start + "Content-Length: +5" + end, "400 Content-Length is malformed"},
		{"negative length", start + "Content-Length: -5" + end, "400 Content-Length is malformed"},
		{"hexadecimal length", start + "Content-Length: 0x5" + end, "400 Content-Length is malformed"},
		{"space within a length", start + "Content-Length: 1 0" + end, "400 Content-Length is malformed"},
		{"fraction", start + "Content-Length: 5.0" + end, "400 Content-Length is malformed"},
		{"no length", start + "Content-Length:" + end, "400 Content-Length is malformed"},
		{"length that overflows", start + "Content-Length: 18446744073709551621" + end, "400 Content-Length is malformed"},
		{"obs-text as a digit", start + "Content-Length: \xd9\xa5" + end, "400 Content-Length is malformed"},
		{"RFC 9112 6.1: length and coding", start + "Content-Length: 5\r\nTransfer-Encoding: chunked" + end, "400 the message has both Content-Length and Transfer-Encoding"},
		{"coding and length", start + "Transfer-Encoding: chunked\r\nContent-Length: 0" + end, "400 the message has both Content-Length and Transfer-Encoding"},
		{"two codings", start + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked" + end, "400 a field that must be unique is repeated"},
		{"hidden coding", start + "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked" + end, "400 a field that must be unique is repeated"},
		{"nginx: unknown coding", start + "Transfer-Encoding: gzip" + end, "501 the transfer coding is not supported"},
		{"chunked twice", start + "Transfer-Encoding: chunked, chunked" + end, "501 the transfer coding is not supported"},
		{"chunked last", start + "Transfer-Encoding: gzip, chunked" + end, "501 the transfer coding is not supported"},
		{"chunked not last", start + "Transfer-Encoding: chunked, identity" + end, "501 the transfer coding is not supported"},
		{"identity", start + "Transfer-Encoding: identity" + end, "501 the transfer coding is not supported"},
		{"chunked with a parameter", start + "Transfer-Encoding: chunked;q=1" + end, "501 the transfer coding is not supported"},
		{"quoted", start + `Transfer-Encoding: "chunked"` + end, "501 the transfer coding is not supported"},
		{"xchunked", start + "Transfer-Encoding: xchunked" + end, "501 the transfer coding is not supported"},
		{"empty element", start + "Transfer-Encoding: ,chunked" + end, "501 the transfer coding is not supported"},
		{"no coding", start + "Transfer-Encoding:" + end, "501 the transfer coding is not supported"},
		{"control before the coding", start + "Transfer-Encoding: \x0bchunked" + end, "400 a field holds a control byte"},
		{"obs-text before the coding", start + "Transfer-Encoding: \xa0chunked" + end, "501 the transfer coding is not supported"},
		{"RFC 9112 6.1: coding in 1.0", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", "400 the message has Transfer-Encoding in HTTP/1.0"},
		// Host.
		{"RFC 9112 3.2: no Host", "GET / HTTP/1.1\r\nA: b\r\n\r\n", "400 the request has no Host field"},
		{"RFC 9112 3.2: two Hosts", "GET / HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n", "400 a field that must be unique is repeated"},
		{"two Hosts in 1.0", "GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", "400 a field that must be unique is repeated"},
		{"nginx: empty Host", "GET / HTTP/1.1\r\nHost:\r\n\r\n", "400 the host is malformed"},
		{"space in Host", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n", "400 the host is malformed"},
		{"list of hosts", "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", "400 the host is malformed"},
		{"user information in Host", "GET / HTTP/1.1\r\nHost: u@h\r\n\r\n", "400 the host is malformed"},
		{"path in Host", "GET / HTTP/1.1\r\nHost: h/x\r\n\r\n", "400 the host is malformed"},
		{"port beyond 65535", "GET / HTTP/1.1\r\nHost: h:65536\r\n\r\n", "400 the host is malformed"},
		{"two ports", "GET / HTTP/1.1\r\nHost: h:80:80\r\n\r\n", "400 the host is malformed"},
		{"bad IPv6", "GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", "400 the host is malformed"},
		{"bytes behind IPv6", "GET / HTTP/1.1\r\nHost: [::1]x\r\n\r\n", "400 the host is malformed"},
		{"bad Host beside an absolute target", "GET http://a/ HTTP/1.1\r\nHost: a b\r\n\r\n", "400 the host is malformed"},
		{"no Host beside an absolute target", "GET http://a/ HTTP/1.1\r\n\r\n", "400 the request has no Host field"},
		{"empty host in the target", "GET http:///x HTTP/1.1\r\nHost: h\r\n\r\n", "400 the host is malformed"},
		{"RFC 9110 4.2.4: user information in the target", "GET http://u:p@a/ HTTP/1.1\r\nHost: a\r\n\r\n", "400 the host is malformed"},
		// Request line.
		{"raw space in the target", "GET /a b HTTP/1.1\r\nHost: h\r\n\r\n", "400 the request target is malformed"},
		{"two spaces before the version", "GET /  HTTP/1.1\r\nHost: h\r\n\r\n", "400 the request target is malformed"},
		{"two spaces before the target", "GET  / HTTP/1.1\r\nHost: h\r\n\r\n", "400 the request target is malformed"},
		{"space behind the version", "GET / HTTP/1.1 \r\nHost: h\r\n\r\n", "400 the request line is malformed"},
		{"tab in the request line", "GET\t/\tHTTP/1.1\r\nHost: h\r\n\r\n", "400 the method is malformed"},
		{"tab in the target", "GET /a\tb HTTP/1.1\r\nHost: h\r\n\r\n", "400 the request target is malformed"},
		{"control in the target", "GET /\x01 HTTP/1.1\r\nHost: h\r\n\r\n", "400 the request line is malformed"},
		{"NUL in the target", "GET /\x00 HTTP/1.1\r\nHost: h\r\n\r\n", "400 the request line is malformed"},
		{"DEL in the target", "GET /\x7f HTTP/1.1\r\nHost: h\r\n\r\n", "400 the request line is malformed"},
		{"raw space, anywhere", "GET /abc defghijklmnop HTTP/1.1\r\nHost: h\r\n\r\n", "400 the request target is malformed"},
		{"tab, anywhere", "GET /abc\tdefghijklmnop HTTP/1.1\r\nHost: h\r\n\r\n", "400 the request target is malformed"},
		{"fragment, anywhere", "GET /abc#defghijklmnop HTTP/1.1\r\nHost: h\r\n\r\n", "400 the request target is malformed"},
		{"fragment", "GET /#x HTTP/1.1\r\nHost: h\r\n\r\n", "400 the request target is malformed"},
		{"nginx: bad escape in the path", "GET /%2 HTTP/1.1\r\nHost: h\r\n\r\n", "400 the request target is malformed"},
		{"nginx: bad digits in an escape", "GET /%zz HTTP/1.1\r\nHost: h\r\n\r\n", "400 the request target is malformed"},
		{"nginx: escaped NUL in the path", "GET /a%00b HTTP/1.1\r\nHost: h\r\n\r\n", "400 the request target is malformed"},
		{"relative target", "GET a/b HTTP/1.1\r\nHost: h\r\n\r\n", "400 the request target is malformed"},
		{"other scheme", "GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", "400 the request target is malformed"},
		{"asterisk of another method", "GET * HTTP/1.1\r\nHost: h\r\n\r\n", "400 the request target is malformed"},
		{"nginx: CONNECT", "CONNECT h:443 HTTP/1.1\r\nHost: h\r\n\r\n", "405 the method is not served by a gateway"},
		{"nginx: TRACE", "TRACE / HTTP/1.1\r\nHost: h\r\n\r\n", "405 the method is not served by a gateway"},
		{"nginx: small letters in the method", "get / HTTP/1.1\r\nHost: h\r\n\r\n", "400 the method is malformed"},
		{"delimiter in the method", "GE(T / HTTP/1.1\r\nHost: h\r\n\r\n", "400 the method is malformed"},
		{"space before the method", " GET / HTTP/1.1\r\nHost: h\r\n\r\n", "400 the method is malformed"},
		{"long method", strings.Repeat("A", 33) + " / HTTP/1.1\r\nHost: h\r\n\r\n", "400 the method is malformed"},
		{"HTTP/0.9", "GET /\r\n", "400 the request line is malformed"},
		{"no target", "GET HTTP/1.1\r\n\r\n", "400 the request line is malformed"},
		{"RFC 9112 2.3: case of the version", "GET / http/1.1\r\nHost: h\r\n\r\n", "400 the request line is malformed"},
		{"two digits", "GET / HTTP/1.10\r\nHost: h\r\n\r\n", "400 the request line is malformed"},
		{"RFC 9110 15.6.6: HTTP/2.0", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "505 the version of HTTP is not supported"},
		{"HTTP/1.2", "GET / HTTP/1.2\r\nHost: h\r\n\r\n", "505 the version of HTTP is not supported"},
		// Others that nginx wants once.
		{"nginx: two Authorizations", start + "Authorization: a\r\nAuthorization: b" + end, "400 a field that must be unique is repeated"},
	}, defaultRequestLimits())
}

func TestRequestLimits(t *testing.T) {
	long := func(n int) string { return strings.Repeat("x", n) }
	const ok = " 1.1 host=h len=0 keep"
	lim := defaultRequestLimits()
	runRequests(t, []requestCase{
		{"a request line of 8k fits", "GET /" + long(8192-16) + " HTTP/1.1\r\nHost: h\r\n\r\n", "GET /" + long(8192-16) + ok},
		{"one byte more is 414", "GET /" + long(8192-15) + " HTTP/1.1\r\nHost: h\r\n\r\n", "414 the request line is too long"},
		{"a request line without end is 414", "GET /" + long(9000), "414 the request line is too long"},
		{"a field of 8k fits", "GET / HTTP/1.1\r\nHost: h\r\nA: " + long(8192-5) + "\r\n\r\n", "GET /" + ok + ` A="` + long(8192-5) + `"`},
		{"one byte more is 400", "GET / HTTP/1.1\r\nHost: h\r\nA: " + long(8192-4) + "\r\n\r\n", "400 a field is too long"},
		{"a field without end is 400", "GET / HTTP/1.1\r\nHost: h\r\nA: " + long(9000), "400 a field is too long"},
		{"a name without end is 400", "GET / HTTP/1.1\r\nHost: h\r\n" + long(9000), "400 a field is too long"},
		{"a head of more than 33k", "GET / HTTP/1.1\r\nHost: h\r\n" + strings.Repeat("A: "+long(8000)+"\r\n", 5) + "\r\n", "400 the header is too large"},
		{"a head without end", "GET / HTTP/1.1\r\nHost: h\r\n" + strings.Repeat("A: "+long(1000)+"\r\n", 34), "400 the header is too large"},
		{"too many fields", "GET / HTTP/1.1\r\nHost: h\r\n" + strings.Repeat("A:\r\n", 1000) + "\r\n", "400 the header has too many fields"},
		{"dropped fields count", "GET / HTTP/1.1\r\nHost: h\r\n" + strings.Repeat("_:\r\n", 1000) + "\r\n", "400 the header has too many fields"},
	}, lim)

	lim.PassUnderscores = true
	runRequests(t, []requestCase{
		{"enable-underscores-in-headers", "GET / HTTP/1.1\r\nHost: h\r\na_b: 1\r\nx.y: 2\r\n\r\n", "GET /" + ok + ` a_b="1"`},
	}, lim)
	lim.PassUnderscores, lim.PassInvalid = false, true
	runRequests(t, []requestCase{
		{"ignore-invalid-headers off", "GET / HTTP/1.1\r\nHost: h\r\na_b: 1\r\nx.y: 2\r\n\r\n", "GET /" + ok + ` a_b="1" x.y="2"`},
		{"what is no token stays refused", "GET / HTTP/1.1\r\nHost: h\r\nx@y: 2\r\n\r\n", "400 a field's name is malformed"},
	}, lim)

	large := RequestLimits(1<<10, 4, 128<<10)
	runRequests(t, []requestCase{
		{"large-client-header-buffers 4 128k", "GET / HTTP/1.1\r\nHost: h\r\nA: " + long(100<<10) + "\r\n\r\n", "GET /" + ok + ` A="` + long(100<<10) + `"`},
	}, large)
}

// Bytes behind a request stay for the next one.
func TestPipeline(t *testing.T) {
	text := "POST /1 HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello" +
		"POST /2 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nA: b\r\n\r\n" +
		"GET /3 HTTP/1.1\r\nHost: h\r\n\r\n\r\nGET /4 HTTP/1.1\r\nHost: h\r\n\r\n"
	for how, src := range readers(strings.Repeat(text, 100)) {
		var pool Buffers
		var q Request
		rd := NewReader(src, &pool)
		lim := defaultRequestLimits()
		for i := range 400 {
			if err := rd.ReadRequest(&q, &lim); err != nil {
				t.Fatalf("%s: request %d: %v", how, i, err)
			}
			body, err := io.ReadAll(&q.Body)
			if want := [...]string{"hello", "abc", "", ""}[i%4]; err != nil || string(body) != want || !q.Body.Done() {
				t.Fatalf("%s: body %d is %q, %v; want %q", how, i, body, err, want)
			}
			if want := fmt.Sprintf("/%d", i%4+1); string(q.Path) != want {
				t.Fatalf("%s: path %d is %q, want %q", how, i, q.Path, want)
			}
		}
		if err := rd.ReadRequest(&q, &lim); err != io.EOF {
			t.Errorf("%s: at the end: %v, want EOF", how, err)
		}
	}
}

// The views of a head stay while its body is read, however long it is.
func TestHeadOutlivesBody(t *testing.T) {
	for _, framing := range []string{"Content-Length: 1000000\r\n\r\n" + strings.Repeat("x", 1e6), "Transfer-Encoding: chunked\r\n\r\n" + strings.Repeat("a\r\n0123456789\r\n", 1e5) + "0\r\nX: y\r\n\r\n"} {
		head := "POST /path HTTP/1.1\r\nHost: h\r\nA: " + strings.Repeat("v", 3000) + "\r\n"
		for how, src := range readers(head + framing + "GET / HTTP/1.1\r\nHost: next\r\n\r\n") {
			if how == "bytes" && testing.Short() {
				continue
			}
			var pool Buffers
			var q Request
			rd := NewReader(src, &pool)
			lim := defaultRequestLimits()
			if err := rd.ReadRequest(&q, &lim); err != nil {
				t.Fatal(err)
			}
			n, err := q.Body.WriteTo(io.Discard)
			if n != 1e6 || err != nil {
				t.Fatalf("%s: the body has %d bytes, %v", how, n, err)
			}
			if string(q.Path) != "/path" || string(q.Host) != "h" || string(q.Header.GetName("a")) != strings.Repeat("v", 3000) {
				t.Errorf("%s: the head changed: %q %q", how, q.Path, q.Host)
			}
			if q.Chunked && string(q.Body.Trailer().GetName("X")) != "y" {
				t.Errorf("%s: no trailer", how)
			}
			if err := rd.ReadRequest(&q, &lim); err != nil || string(q.Host) != "next" {
				t.Errorf("%s: next request: %q, %v", how, q.Host, err)
			}
		}
	}
}

// What is left of a message is never taken for the next one.
func TestUnreadBodyBreaksTheConnection(t *testing.T) {
	const next = "GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n"
	for _, c := range []struct {
		name, text string
		between    func(q *Request)
	}{
		{"not read", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 37\r\n\r\n" + next, func(*Request) {}},
		{"reset", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 37\r\n\r\n" + next, func(q *Request) { q.Reset() }},
		{"read in part", chunkedHead + "5\r\nhello\r\n" + next, func(q *Request) { _, _ = q.Body.Next() }},
		{"read without the last chunk", chunkedHead + "5\r\nhello\r\n0\r\n\r\n", func(q *Request) { _, _ = q.Body.Next() }},
		{"refused when read", chunkedHead + "5 \r\nhello\r\n" + next, func(q *Request) { _, _ = q.Body.Next() }},
		{"over the bound", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 37\r\n\r\n" + next, func(q *Request) { _ = q.Body.SetMax(1) }},
		{"refused", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 37, 37\r\n\r\n" + next, nil},
		{"refused early", "POST / HTTP/1.2\r\n" + next, nil},
	} {
		var pool Buffers
		var q, q2 Request
		lim := defaultRequestLimits()
		rd := NewReader(strings.NewReader(c.text), &pool)
		if err := rd.ReadRequest(&q, &lim); (err == nil) != (c.between != nil) {
			t.Fatalf("%s: %v", c.name, err)
		}
		if c.between != nil {
			c.between(&q)
		}
		for _, again := range []*Request{&q2, &q} {
			if err := rd.ReadRequest(again, &lim); err != ErrBroken {
				t.Errorf("%s: the next request: %q, %v; want ErrBroken", c.name, again.Target, err)
			}
		}
		rd.Reset(strings.NewReader(next))
		if err := rd.ReadRequest(&q, &lim); err != nil {
			t.Errorf("%s: after Reset: %v", c.name, err)
		}
	}
}
