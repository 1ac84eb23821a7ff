package ingress

import (
	"encoding/pem"
	"fmt"
	"net/url"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Redirects to HTTPS, HSTS and certificates.
func TestPortableTLS(t *testing.T) {
	t.Parallel()
	cert, key, _ := certificate(t, nil, "tls.test", "tls.test")
	g := newGate(t).web("a").secret("tls", "tls.crt", cert, "tls.key", key)
	g.ingress(withTLS(g.ruleOf("missing", []string{"missing.test Prefix / a"}), "none"))
	g.ingress(withTLS(g.ruleOf("slash", []string{"slash.test Prefix / a"}, "preserve-trailing-slash: true"), "none"))
	g.ingress(withTLS(g.ruleOf("off", []string{"off.test Prefix / a"}, "ssl-redirect: false"), "none"))
	g.ingress(withTLS(g.ruleOf("tls", []string{"tls.test Prefix / a"}), "tls"))
	g.rule("force", []string{"force.test Prefix / a"}, "force-ssl-redirect: true")
	g.rule("plain", []string{"plain.test Prefix / a"})
	g.open()
	// 14, 15, 16
	g.wantLocation("http://missing.test/", 308, "https://missing.test")
	g.wantLocation("http://missing.test/a?b=c", 308, "https://missing.test/a?b=c")
	g.wantLocation("http://slash.test/", 308, "https://slash.test/")
	g.wantLocation("http://force.test/", 308, "https://force.test")
	g.want("http://off.test/", 200, "a")
	g.want("http://plain.test/", 200, "a")
	// 18
	const hsts = "max-age=31536000; includeSubDomains"
	for _, host := range []string{"tls.test", "plain.test"} {
		a := g.want("https://"+host+"/?set=Strict-Transport-Security:max-age=1", 200, "a")
		if got := a.header["Strict-Transport-Security"]; len(got) != 1 || got[0] != hsts {
			t.Errorf("%s: Strict-Transport-Security is %q", host, got)
		}
	}
	if a := g.ask("http://plain.test/"); a.header.Get("Strict-Transport-Security") != "" {
		t.Error("an answer over HTTP has Strict-Transport-Security")
	}
	// 19
	is := func(sni, want string) error {
		a, err := client{gate: g, sni: sni}.ask("https://tls.test/")
		if err == nil && a.cert.Subject.CommonName != want {
			err = fmt.Errorf("SNI %q has the certificate of %s", sni, a.cert.Subject.CommonName)
		}
		return err
	}
	const standard = "Minato Ingress Default Certificate"
	for sni, want := range map[string]string{"tls.test": "tls.test", "TLS.test": "tls.test", "unknown.test": standard, "192.0.2.1": standard, "missing.test": standard} {
		if err := is(sni, want); err != nil { // an address is sent as no SNI at all
			t.Error(err)
		}
	}
	// 20
	secrets := g.client.CoreV1().Secrets("default")
	g.must(nil, secrets.Delete(t.Context(), "tls", metav1.DeleteOptions{}))
	until(t, "without its Secret, a host has the default certificate", func() error { return is("tls.test", standard) })
	cert, key, _ = certificate(t, nil, "again", "tls.test")
	g.secret("tls", "tls.crt", cert, "tls.key", key)
	until(t, "a Secret that was created later is used", func() error { return is("tls.test", "again") })
}

// Certificates of clients.
func TestPortableClientCertificates(t *testing.T) {
	t.Parallel()
	ca, _, authority := certificate(t, nil, "authority")
	pemOf, _, own := certificate(t, &authority, "client")
	_, _, stranger := certificate(t, nil, "client")
	cert, key, _ := certificate(t, nil, "server", "mtls.test", "page.test", "cn.test", "pass.test", "optional.test")
	g := newGate(t).web("a").secret("ca", "ca.crt", ca).secret("tls", "tls.crt", cert, "tls.key", key).secret("empty", "x", "y")
	for name, more := range map[string][]string{
		"mtls": nil, "page": {"auth-tls-error-page: http://mtls.test/error"}, "cn": {"auth-tls-match-cn: CN=(other|more)"},
		"pass": {"auth-tls-pass-certificate-to-upstream: true", "auth-tls-match-cn: CN=client"}, "optional": {"auth-tls-verify-client: optional"},
	} {
		g.ingress(withTLS(g.ruleOf(name, []string{name + ".test Prefix / a"}, append(more, "auth-tls-secret: default/ca")...), "tls"))
	}
	g.ingress(withTLS(g.ruleOf("broken", []string{"broken.test Prefix / a"}, "auth-tls-secret: default/empty"), "tls"))
	g.open()
	with := func(c client, url string) answer {
		t.Helper()
		a, err := c.ask(url)
		if err != nil {
			t.Errorf("%s: %v", url, err)
		}
		return a
	}
	none, good, bad := client{gate: g}, client{gate: g, own: &own}, client{gate: g, own: &stranger}
	for _, c := range []struct {
		url       string
		client    client
		status    int
		location  string
		verify    string
		pass, say bool
	}{
		{url: "https://mtls.test/", client: none, status: 400},
		{url: "https://mtls.test/", client: bad, status: 400},
		{url: "https://mtls.test/", client: good, status: 200, verify: "SUCCESS", say: true},
		{url: "https://page.test/", client: none, status: 302, location: "http://mtls.test/error"},
		{url: "https://page.test/", client: good, status: 200, verify: "SUCCESS", say: true},
		{url: "https://cn.test/", client: good, status: 403},
		{url: "https://pass.test/", client: good, status: 200, verify: "SUCCESS", pass: true, say: true},
		{url: "https://optional.test/", client: none, status: 200, verify: "NONE"},
		{url: "https://optional.test/", client: bad, status: 400},
		{url: "https://broken.test/", client: good, status: 403},
	} {
		a := with(c.client, c.url)
		if a.status != c.status || a.header.Get("Location") != c.location {
			t.Errorf("%s: %d to %q, want %d to %q", c.url, a.status, a.header.Get("Location"), c.status, c.location)
		}
		h := a.seen.Header
		if _, has := h["Ssl-Client-Subject-Dn"]; has != c.say {
			t.Errorf("%s: the backend saw a name: %v", c.url, h)
		}
		if h.Get("Ssl-Client-Verify") != c.verify || c.say && (h.Get("Ssl-Client-Subject-Dn") != "CN=client" || h.Get("Ssl-Client-Issuer-Dn") != "CN=authority") {
			t.Errorf("%s: the backend saw %v", c.url, h)
		}
		sent, _ := url.PathUnescape(h.Get("Ssl-Client-Cert"))
		if block, _ := pem.Decode([]byte(pemOf)); c.pass && (sent != pemOf || block == nil) || !c.pass && sent != "" {
			t.Errorf("%s: the certificate that the backend got is %q", c.url, sent)
		}
	}
	// A client cannot claim what only a certificate proves.
	if a, err := none.ask("https://optional.test/", "ssl-client-verify: SUCCESS", "ssl-client-subject-dn: CN=root", "ssl-client-cert: x"); err != nil || a.seen.Header.Get("Ssl-Client-Verify") != "NONE" ||
		a.seen.Header.Get("Ssl-Client-Subject-Dn") != "" || a.seen.Header.Get("Ssl-Client-Cert") != "" {
		t.Errorf("claimed fields reached the backend: %v %v", a.seen.Header, err)
	}
}
