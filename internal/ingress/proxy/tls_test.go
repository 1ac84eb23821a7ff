package proxy

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"

	"minato/internal/ingress/table"
)

// withTLS gives an Ingress a certificate for its hosts.
func withTLS(secret string, pair *tls.Certificate, hosts ...string) func(*table.Ingress) {
	return func(i *table.Ingress) {
		i.Object.Spec.TLS = append(i.Object.Spec.TLS, networkingv1.IngressTLS{Hosts: hosts, SecretName: secret})
		if i.Certificates == nil {
			i.Certificates = map[string]*table.Certificate{}
		}
		i.Certificates[secret] = &table.Certificate{
			Secret: types.NamespacedName{Namespace: "d", Name: secret}, Names: pair.Leaf.DNSNames, NotAfter: pair.Leaf.NotAfter, Pair: pair,
		}
	}
}

func all(fs ...func(*table.Ingress)) func(*table.Ingress) {
	return func(i *table.Ingress) {
		for _, f := range fs {
			f(i)
		}
	}
}

// server returns the name in the certificate that a handshake brings.
func (r *rig) shown(sni string, change func(*tls.Config)) (string, *tls.Conn, error) {
	conf := &tls.Config{InsecureSkipVerify: true, ServerName: sni}
	if change != nil {
		change(conf)
	}
	c, err := tls.Dial("tcp", r.https, conf)
	if err != nil {
		return "", nil, err
	}
	r.t.Cleanup(func() { c.Close() })
	return c.ConnectionState().PeerCertificates[0].DNSNames[0], c, nil
}

func TestServerNames(t *testing.T) {
	s := settings()
	mk := func(s *table.Settings) *table.Table {
		return tableOf(s,
			ingress("a", withTLS("a", selfSigned(t, "a.example"), "a.example"), "a.example / web"),
			ingress("w", withTLS("w", selfSigned(t, "*.w.example"), "*.w.example"), "*.w.example / web"),
			ingress("p", nil, "plain.example / web"),
		)
	}
	r := start(t, mk(s), nil)
	r.SetDefaultCertificate(selfSigned(t, "default.example"))
	for sni, want := range map[string]string{
		"a.example": "a.example", "A.EXAMPLE": "a.example", "x.w.example": "*.w.example", "": "default.example",
		"unknown.example": "default.example", "plain.example": "default.example", "w.example": "default.example",
	} {
		if got, _, err := r.shown(sni, nil); err != nil || got != want {
			t.Errorf("%q: %q, %v; want %q", sni, got, err, want)
		}
	}
	_, c, err := r.shown("a.example", func(c *tls.Config) { c.NextProtos = []string{"h2", "http/1.1"} })
	if err != nil || c.ConnectionState().NegotiatedProtocol != "h2" {
		t.Errorf("ALPN: %v %v", c, err)
	}
	if _, _, err := r.shown("a.example", func(c *tls.Config) { c.MaxVersion = tls.VersionTLS11 }); err == nil {
		t.Error("TLS 1.1 was taken")
	}
	n := *s
	n.TLS = table.TLSSettings{Min: tls.VersionTLS13, RejectUnknown: true}
	n.HTTP2 = false
	r.SetTable(mk(&n))
	if _, _, err := r.shown("a.example", func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }); err == nil {
		t.Error("TLS 1.2 was taken with a minimum of 1.3")
	}
	if _, _, err := r.shown("unknown.example", nil); err == nil {
		t.Error("ssl-reject-handshake: an unknown name was served")
	}
	if _, c, err := r.shown("a.example", func(c *tls.Config) { c.NextProtos = []string{"h2", "http/1.1"} }); err != nil || c.ConnectionState().NegotiatedProtocol != "http/1.1" {
		t.Errorf("use-http2 false: %v", err)
	}
}

// TestResumption: sessions are resumed by tickets or from memory, where that is wanted, but not with another trust.
func TestResumption(t *testing.T) {
	ca := newAuthority(t, "clients")
	for how, set := range map[string]table.TLSSettings{
		"neither":           {},
		"tickets":           {Tickets: true},
		"memory":            {SessionCache: true, SessionCacheSize: 1 << 20, SessionTimeout: time.Minute},
		"both":              {Tickets: true, SessionCache: true, SessionCacheSize: 1 << 20, SessionTimeout: time.Minute},
		"memory, TLS 1.2":   {Max: tls.VersionTLS12, SessionCache: true, SessionCacheSize: 1 << 20, SessionTimeout: time.Minute},
		"no memory at all":  {SessionCache: true, SessionTimeout: time.Minute},
		"no time to resume": {SessionCache: true, SessionCacheSize: 1 << 20},
	} {
		s := settings()
		s.TLS = set
		want := set.Tickets || set.SessionCacheSize > 0 && set.SessionTimeout > 0
		r := start(t, tableOf(s,
			ingress("a", nil, "a.example / web"),
			ingress("m", func(i *table.Ingress) {
				i.Options.Host.ClientTLS = &table.ClientTLS{Secret: types.NamespacedName{Namespace: "d", Name: "ca"}, CAs: ca.pool(), Depth: 1}
			}, "m.example / web")), nil)
		r.SetDefaultCertificate(selfSigned(t, "default.example"))
		r.backend("web", serve(t, echo))
		cache := tls.NewLRUClientSessionCache(8)
		resumed := func(sni string) bool {
			_, c, err := r.shown(sni, func(c *tls.Config) { c.ClientSessionCache = oneSession{cache} })
			if err != nil {
				t.Fatal(err)
			}
			// The ticket comes with the first bytes.
			fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", sni)
			buf := make([]byte, 4<<10)
			for {
				if _, err := c.Read(buf); err != nil {
					break
				}
			}
			return c.ConnectionState().DidResume
		}
		if resumed("a.example") || resumed("a.example") != want {
			t.Errorf("%s: the second handshake", how)
		}
		if resumed("m.example") {
			t.Errorf("%s: a session of one trust was resumed with another", how)
		}
	}
}

// oneSession keeps one session for all servers, as a client could that means harm.
type oneSession struct{ tls.ClientSessionCache }

func (o oneSession) Get(string) (*tls.ClientSessionState, bool) { return o.ClientSessionCache.Get("") }
func (o oneSession) Put(_ string, s *tls.ClientSessionState)    { o.ClientSessionCache.Put("", s) }

// TestClientCertificates: mTLS as ingress-nginx has it: 400 without a good one, 403 where the Secret is broken, 421 where
// the handshake was about another trust.
func TestClientCertificates(t *testing.T) {
	ca, other := newAuthority(t, "clients"), newAuthority(t, "others")
	good := ca.issue(t, &x509.Certificate{Subject: pkix.Name{CommonName: "good"}})
	bad := other.issue(t, &x509.Certificate{Subject: pkix.Name{CommonName: "bad"}})
	revokedCert := ca.issue(t, &x509.Certificate{Subject: pkix.Name{CommonName: "revoked"}})
	der, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{
		Number: big.NewInt(1), ThisUpdate: time.Now().Add(-time.Minute), NextUpdate: time.Now().Add(time.Hour),
		RevokedCertificateEntries: []x509.RevocationListEntry{{SerialNumber: revokedCert.Leaf.SerialNumber, RevocationTime: time.Now()}},
	}, ca.cert, ca.key)
	if err != nil {
		t.Fatal(err)
	}
	crl, err := x509.ParseRevocationList(der)
	if err != nil {
		t.Fatal(err)
	}
	client := func(change func(*table.ClientTLS)) func(*table.Ingress) {
		return func(i *table.Ingress) {
			c := &table.ClientTLS{Secret: types.NamespacedName{Namespace: "d", Name: "ca"}, CAs: ca.pool(), Depth: 1, PassUpstream: true}
			if change != nil {
				change(c)
			}
			i.Options.Host.ClientTLS = c
		}
	}
	r := start(t, tableOf(settings(),
		ingress("m", client(nil), "m.example / web"),
		ingress("same", client(nil), "same.example / web"),
		ingress("crl", client(func(c *table.ClientTLS) { c.CRL = []*x509.RevocationList{crl} }), "crl.example / web"),
		ingress("opt", client(func(c *table.ClientTLS) { c.Verify = table.VerifyOptional }), "opt.example / web"),
		ingress("noca", client(func(c *table.ClientTLS) { c.Verify = table.VerifyOptionalNoCA }), "noca.example / web"),
		ingress("page", client(func(c *table.ClientTLS) {
			c.ErrorPage = &table.Text{Parts: []table.Part{{Literal: "https://help.example/"}}}
		}), "page.example / web"),
		ingress("broken", client(func(c *table.ClientTLS) { c.Broken = "no Secret"; c.CAs = nil }), "broken.example / web"),
		ingress("plain", nil, "plain.example / web"),
	), nil)
	r.SetDefaultCertificate(selfSigned(t, "default.example"))
	r.backend("web", serve(t, heads))
	for _, c := range []struct {
		sni, host string
		cert      *tls.Certificate
		want      int
		verify    string
	}{
		{"m.example", "m.example", nil, 400, ""},
		{"m.example", "m.example", good, 200, "SUCCESS"},
		{"m.example", "m.example", bad, 400, ""},
		{"crl.example", "crl.example", good, 200, "SUCCESS"},
		{"crl.example", "crl.example", revokedCert, 400, ""},
		{"opt.example", "opt.example", nil, 200, "NONE"},
		{"opt.example", "opt.example", bad, 400, ""},
		{"noca.example", "noca.example", bad, 200, "FAILED"},
		{"page.example", "page.example", nil, 302, ""},
		{"broken.example", "broken.example", good, 403, ""},
		{"plain.example", "m.example", good, 421, ""},
		{"", "m.example", good, 421, ""},
		{"m.example", "plain.example", nil, 200, ""},
		{"m.example", "same.example", good, 200, "SUCCESS"},
		{"m.example", "crl.example", good, 421, ""},
	} {
		for _, h2 := range []bool{true, false} {
			client := r.h2Client(func(conf *tls.Config) {
				conf.ServerName = c.sni
				if c.sni == "" {
					conf.ServerName = "127.0.0.1"
				}
				if c.cert != nil {
					conf.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return c.cert, nil }
				}
			})
			if !h2 {
				client.Transport.(*http.Transport).ForceAttemptHTTP2 = false
				client.Transport.(*http.Transport).TLSClientConfig.NextProtos = []string{"http/1.1"}
			}
			client.CheckRedirect = plainClient.CheckRedirect
			resp, err := client.Get("https://" + c.host + "/")
			if err != nil {
				t.Errorf("%+v: %v", c, err)
				continue
			}
			body := readAll(t, resp)
			if resp.StatusCode != c.want || h2 != (resp.ProtoMajor == 2) {
				t.Errorf("handshake with %q, request of %q, HTTP/2 %v: %d, want %d", c.sni, c.host, h2, resp.StatusCode, c.want)
			}
			if c.verify != "" && !strings.Contains(body, "Ssl-Client-Verify: "+c.verify+"\r\n") {
				t.Errorf("%q: no %s in %s", c.host, c.verify, body)
			}
			if c.verify == "SUCCESS" && (!strings.Contains(body, "Ssl-Client-Cert: -----BEGIN%20CERTIFICATE-----%0A") || !strings.Contains(body, "Ssl-Client-Subject-Dn: CN=good\r\n")) {
				t.Errorf("%q: %s", c.host, body)
			}
		}
	}
}

// TestBackendTLS: endpoints that speak TLS, unverified without BackendTLS, verified with it.
func TestBackendTLS(t *testing.T) {
	ca := newAuthority(t, "servers")
	clientCA := newAuthority(t, "proxies")
	serverCert := ca.issue(t, &x509.Certificate{DNSNames: []string{"backend.internal"}})
	cert, key := pemOf(t, clientCA.issue(t, &x509.Certificate{Subject: pkix.Name{CommonName: "the proxy"}}))
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		name := ""
		if len(q.TLS.PeerCertificates) > 0 {
			name = q.TLS.PeerCertificates[0].Subject.CommonName
		}
		fmt.Fprintf(w, "sni %q client %q", q.TLS.ServerName, name)
	}))
	s.TLS = &tls.Config{Certificates: []tls.Certificate{*serverCert}, ClientAuth: tls.RequestClientCert}
	s.StartTLS()
	t.Cleanup(s.Close)
	https := func(b *table.BackendTLS) func(*table.Ingress) {
		return loc(func(l *table.Location) { l.Protocol, l.BackendTLS, l.Retry.Tries = table.ProtocolHTTPS, b, 1 })
	}
	name := func(s string) *table.Text { return &table.Text{Parts: []table.Part{{Literal: s}}} }
	r := start(t, tableOf(settings(),
		ingress("a", https(nil), "plain.example / web"),
		ingress("b", https(&table.BackendTLS{CAs: ca.pool(), Verify: true, Depth: 1, Name: name("backend.internal"), ServerName: true, Certificate: cert, Key: key}), "good.example / web"),
		ingress("c", https(&table.BackendTLS{CAs: ca.pool(), Verify: true, Depth: 1, Name: name("else.internal")}), "name.example / web"),
		ingress("d", https(&table.BackendTLS{CAs: clientCA.pool(), Verify: true, Depth: 1, Name: name("backend.internal")}), "authority.example / web"),
		ingress("e", loc(func(l *table.Location) { l.Protocol = table.ProtocolAuto }), "auto.example / web"),
	), nil)
	r.SetDefaultCertificate(selfSigned(t, "default.example"))
	r.backend("web", s.Listener.Addr().String())
	for host, want := range map[string]string{
		"plain.example": `200 sni "" client ""`, "good.example": `200 sni "backend.internal" client "the proxy"`,
		"name.example": "502", "authority.example": "502", "auto.example": "400",
	} {
		for range 2 {
			resp, body := r.get(host, "/")
			if got := fmt.Sprintf("%d %s", resp.StatusCode, body); !strings.HasPrefix(got, want) {
				t.Errorf("%s: %s, want %s", host, got, want)
			}
		}
	}
	resp, err := r.h2Client(nil).Get("https://auto.example/")
	if err != nil || resp.StatusCode != 200 {
		t.Errorf("AUTO_HTTP over TLS: %v %v", resp, err)
	}
}

// TestShutdown: what is under way is completed, with the client told to come again elsewhere; idle connections end.
func TestShutdown(t *testing.T) {
	r := start(t, tableOf(settings(), ingress("a", nil, "a.example / web")), nil)
	r.SetDefaultCertificate(selfSigned(t, "a.example"))
	release, began := make(chan struct{}), make(chan struct{}, 2)
	r.backend("web", serve(t, func(w http.ResponseWriter, q *http.Request) {
		if q.URL.Path == "/slow" {
			began <- struct{}{}
			<-release
		}
		fmt.Fprint(w, "done")
	}))
	_, _ = r.get("a.example", "/") // an idle connection
	c2 := r.h2Client(nil)
	type result struct {
		status int
		close  bool
		body   string
	}
	results := make(chan result, 2)
	go func() {
		resp := r.ask("GET /slow HTTP/1.1\r\nHost: a.example\r\n\r\n")
		results <- result{resp.StatusCode, resp.Close, readAll(t, resp)}
	}()
	go func() {
		resp, err := c2.Get("https://a.example/slow")
		if err != nil {
			t.Error(err)
			results <- result{}
			return
		}
		results <- result{resp.StatusCode, true, readAll(t, resp)}
	}()
	<-began
	<-began
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- r.Shutdown(ctx) }()
	eventually(t, "idle connections end", func() bool { return r.open.Load() == 2 })
	select {
	case err := <-ended:
		t.Fatalf("Shutdown has not waited: %v", err)
	default:
	}
	close(release)
	for range 2 {
		if got := <-results; got != (result{200, true, "done"}) {
			t.Errorf("%+v", got)
		}
	}
	c2.CloseIdleConnections()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// TestShutdownGivesUp: a tunnel is waited for as long as the context lives.
func TestShutdownGivesUp(t *testing.T) {
	r := start(t, tableOf(settings(), ingress("a", nil, "a.example / ws")), nil)
	r.backend("ws", rawBackend(t, wsBackend))
	c, rd := r.upgrade("a.example")
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- r.Shutdown(ctx) }()
	exchangeOn(t, c, rd, 64)
	if err := <-done; err == nil {
		t.Error("Shutdown says that the tunnel has ended")
	}
	if _, err := rd.ReadByte(); err == nil {
		t.Error("the tunnel is still open")
	}
}
