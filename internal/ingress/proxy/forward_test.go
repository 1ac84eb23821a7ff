package proxy

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"minato/internal/ingress/proxyproto"
	"minato/internal/ingress/table"
)

// heads answers with the header that came, one field a line.
func heads(w http.ResponseWriter, r *http.Request) {
	fmt.Fprintf(w, "Host: %s\r\n", r.Host)
	_ = r.Header.Write(w)
}

func TestForwardedFields(t *testing.T) {
	s := settings()
	tab := func(change func(*table.Settings)) *table.Table {
		n := *s
		if change != nil {
			change(&n)
		}
		return tableOf(&n, ingress("a", nil, "a.example / web"))
	}
	r := start(t, tab(nil), nil)
	r.backend("web", serve(t, heads))
	spoofed := []string{"X-Forwarded-For", "1.2.3.4, 10.0.0.9", "X-Forwarded-Host", "evil.example", "X-Forwarded-Proto", "https",
		"X-Forwarded-Port", "8443", "X-Real-Ip", "9.9.9.9", "Forwarded", "for=6.6.6.6", "X-Scheme", "wss", "Proxy", "http://evil",
		"X-Original-Forwarded-For", "8.8.8.8", "Ssl-Client-Verify", "SUCCESS", "X-Request-Id", "mine"}
	for _, c := range []struct {
		name   string
		change func(*table.Settings)
		want   []string
		not    []string
	}{
		{"nobody is believed", nil, []string{
			"X-Forwarded-For: 127.0.0.1\r\n", "X-Forwarded-Host: a.example\r\n", "X-Forwarded-Proto: http\r\n", "X-Forwarded-Port: 80\r\n",
			"X-Real-Ip: 127.0.0.1\r\n", "X-Scheme: http\r\n", "X-Original-Forwarded-For: 1.2.3.4, 10.0.0.9\r\n", "X-Original-Forwarded-Host: evil.example\r\n",
			`Forwarded: for=127.0.0.1;host="a.example";proto=http` + "\r\n", "X-Request-Id: mine\r\n", "Host: a.example\r\n",
		}, []string{"9.9.9.9", "6.6.6.6", "wss", "Proxy:", "8.8.8.8", "SUCCESS"}},
		{"use-forwarded-headers", func(s *table.Settings) { s.ForwardedHeaders = true }, []string{
			"X-Forwarded-For: 1.2.3.4\r\n", "X-Forwarded-Host: evil.example\r\n", "X-Forwarded-Proto: https\r\n", "X-Forwarded-Port: 8443\r\n",
			"X-Real-Ip: 1.2.3.4\r\n", "Host: evil.example\r\n", "Forwarded: for=6.6.6.6, for=1.2.3.4",
		}, []string{"9.9.9.9"}},
		{"proxy-real-ip-cidr, recursive", func(s *table.Settings) {
			s.ForwardedHeaders = true
			s.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
		}, []string{"X-Real-Ip: 10.0.0.9\r\n", "X-Forwarded-For: 10.0.0.9\r\n"}, nil},
		{"proxy-real-ip-cidr without the peer", func(s *table.Settings) {
			s.ForwardedHeaders = true
			s.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
		}, []string{"X-Real-Ip: 127.0.0.1\r\n", "X-Forwarded-For: 127.0.0.1\r\n"}, []string{"6.6.6.6"}},
		{"compute-full-forwarded-for", func(s *table.Settings) { s.ForwardedHeaders, s.FullForwardedFor = true, true }, []string{
			"X-Forwarded-For: 1.2.3.4, 10.0.0.9, 127.0.0.1\r\n", "X-Real-Ip: 1.2.3.4\r\n",
		}, nil},
		{"enable-real-ip", func(s *table.Settings) { s.RealIP = true }, []string{"X-Real-Ip: 1.2.3.4\r\n", "X-Forwarded-Proto: http\r\n"}, nil},
		{"proxy-add-original-uri-header", func(s *table.Settings) { s.OriginalURIHeader = true }, []string{"X-Original-Uri: /p?q\r\n"}, nil},
	} {
		r.SetTable(tab(c.change))
		_, body := r.get("a.example", "/p?q", spoofed...)
		for _, w := range c.want {
			if !strings.Contains(body, w) {
				t.Errorf("%s: no %q in\n%s", c.name, w, body)
			}
		}
		for _, n := range c.not {
			if strings.Contains(body, n) {
				t.Errorf("%s: %q in\n%s", c.name, n, body)
			}
		}
	}
	if _, body := r.get("A.Example:8080", "/"); !strings.Contains(body, "Host: A.Example:8080\r\n") || !strings.Contains(body, "X-Request-Id: ") {
		t.Errorf("host with a port in capitals: %s", body)
	}
}

func TestProxyProtocol(t *testing.T) {
	s := settings()
	s.ProxyProtocol = true
	r := start(t, tableOf(s, ingress("a", nil, "a.example / web")), nil)
	r.backend("web", serve(t, heads))
	request := "GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n"
	src, dst := netip.MustParseAddrPort("192.0.2.7:4711"), netip.MustParseAddrPort("198.51.100.1:443")
	v2 := []byte("\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x07\xc6\x33\x64\x01\x12\x67\x01\xbb") // of the same two
	for name, head := range map[string][]byte{"v1": proxyproto.AppendV1(nil, src, dst), "v2": v2} {
		resp := r.ask(string(head) + request)
		body := readAll(t, resp)
		for _, want := range []string{"X-Real-Ip: 192.0.2.7\r\n", "X-Forwarded-Port: 443\r\n", "X-Forwarded-Proto: https\r\n"} {
			if !strings.Contains(body, want) {
				t.Errorf("%s: no %q in\n%s", name, want, body)
			}
		}
	}
	c, err := net.Dial("tcp", r.http)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprint(c, request)
	if n, err := c.Read(make([]byte, 10)); err == nil {
		t.Errorf("a connection without the header was answered with %d bytes", n)
	}
}
