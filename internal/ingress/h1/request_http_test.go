package h1

import (
	"net/http"
	"strings"
	"testing"
)

func TestReadHTTP(t *testing.T) {
	for _, c := range []struct {
		source, method, uri, host string
		length                    int64
		header                    http.Header
		want                      string
	}{
		{"RFC 9113 8.3.1", "GET", "/a?b", "h:8443", 0, http.Header{"X-A": {"1", "2"}}, `GET /a?b 1.1 host=h:8443 len=0 keep X-A="1" X-A="2"`},
		{"length", "POST", "/", "h", 5, http.Header{"Content-Length": {"5"}}, `POST / 1.1 host=h len=5 keep Content-Length="5"`},
		{"no length", "POST", "/", "h", -1, nil, `POST / 1.1 host=h len=-1 keep Transfer-Encoding="chunked"`},
		{"RFC 9113 8.2.2: TE", "POST", "/", "h", 0, http.Header{"Te": {"trailers"}}, `POST / 1.1 host=h len=0 keep trailers Te="trailers"`},
		{"no field of the connection gets in", "POST", "/", "h", 0, http.Header{"Connection": {"upgrade"}, "Upgrade": {"websocket"}, "Transfer-Encoding": {"chunked"}}, `POST / 1.1 host=h len=0 keep Upgrade="websocket"`},
		{"underscores are dropped", "GET", "/", "h", 0, http.Header{"X_forwarded_for": {"1"}, "X.y": {"1"}}, `GET / 1.1 host=h len=0 keep`},
		{"no authority", "GET", "/", "", 0, nil, "400 the request has no Host field"},
		{"bad authority", "GET", "/", "u@h", 0, nil, "400 the host is malformed"},
		{"line break in the authority", "GET", "/", "h\r\nA: b", 0, nil, "400 the host is malformed"},
		{"authority and Host", "GET", "/", "h", 0, http.Header{"Host": {"other"}}, "400 a field that must be unique is repeated"},
		{"space in the path", "GET", "/a b", "h", 0, nil, "400 the request target is malformed"},
		{"line break in the path", "GET", "/ HTTP/1.1\r\nA: b", "h", 0, nil, "400 the request target is malformed"},
		{"fragment", "GET", "/#x", "h", 0, nil, "400 the request target is malformed"},
		{"empty path", "GET", "", "h", 0, nil, "400 the request target is malformed"},
		{"relative path", "GET", "x", "h", 0, nil, "400 the request target is malformed"},
		{"space in the method", "GET /x", "/", "h", 0, nil, "400 the request target is malformed"},
		{"line break in the method", "GET\r\n", "/", "h", 0, nil, "400 the method is malformed"},
		{"CONNECT", "CONNECT", "h:443", "h:443", 0, nil, "405 the method is not served by a gateway"},
		{"line break in a value", "GET", "/", "h", 0, http.Header{"A": {"b\r\nC: d"}}, "400 a field holds a control byte"},
		{"bad name", "GET", "/", "h", 0, http.Header{"a b": {"c"}}, "400 a field holds a control byte"},
		{"two Authorizations", "GET", "/", "h", 0, http.Header{"Authorization": {"a", "b"}}, "400 a field that must be unique is repeated"},
		{"long path", "GET", "/" + strings.Repeat("x", 8192), "h", 0, nil, "414 the request line is too long"},
		{"long field", "GET", "/", "h", 0, http.Header{"A": {strings.Repeat("x", 8192)}}, "400 a field is too long"},
		{"large head", "GET", "/", "h", 0, http.Header{"A": {strings.Repeat("x", 8000), strings.Repeat("x", 8000), strings.Repeat("x", 8000), strings.Repeat("x", 8000), strings.Repeat("x", 8000)}}, "400 the header is too large"},
		{"many fields", "GET", "/", "h", 0, http.Header{"A": make([]string, 1001)}, "400 the header has too many fields"},
	} {
		var q Request
		lim := defaultRequestLimits()
		for range 2 { // a request can be used again
			err := q.ReadHTTP(&http.Request{Method: c.method, RequestURI: c.uri, Host: c.host, ContentLength: c.length, Header: c.header}, &lim)
			if got := outcome(&q, err); got != c.want {
				t.Errorf("%s: %s, want %s", c.source, got, c.want)
			}
		}
	}
}
