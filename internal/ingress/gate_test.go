package ingress

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"minato/internal/ingress/proxy"
)

// gate is a whole node's ingress, from the objects of an API to sockets at ports 80 and 443 of an address of its own.
// Objects that are there before open are served when it returns.
type gate struct {
	*world
	at   netip.Addr
	node *Node
}

const backendPort = 8080

// ports are where a gate listens, as a node's process does, with the ports that clients see.
var ports = map[int]uint16{HTTPPort: 80, HTTPSPort: 443}

// socketOf is where the port that clients see is.
func (g *gate) socketOf(seen string) string {
	for port, s := range ports {
		if strconv.Itoa(int(s)) == seen {
			seen = strconv.Itoa(port)
			break
		}
	}
	return net.JoinHostPort(g.at.String(), seen)
}

func newGate(t *testing.T) *gate {
	t.Helper()
	g := &gate{world: newWorld(t), at: address()}
	g.configMap(Namespace, Name) // so that a test may change it
	return g
}

// open begins to serve, and waits until everything is served.
func (g *gate) open() *gate {
	g.t.Helper()
	o, _ := g.objects()
	n, err := NewNode(NodeConfig{Logger: testLogger(g.t)})
	if err != nil {
		g.t.Fatal(err)
	}
	g.node = n
	listen := at{ip: g.at}
	s := &sockets{}
	for port, seen := range ports {
		l, err := listen.Listen(g.t.Context(), "tcp", fmt.Sprintf(":%d", port))
		if err != nil {
			g.t.Fatal(err)
		}
		s.proxied = append(s.proxied, proxy.Listener{Listener: l, TLS: seen == 443, Port: seen})
	}
	n.Tell(Facts{Node: "node-1", Options: g.options})
	n.use(s)
	running(g.t, func(ctx context.Context) error { return o.Follow(ctx, n.Apply) })
	running(g.t, n.Run)
	until(g.t, "it is ready", func() error {
		if !n.State().Ready {
			return errors.New("it is not")
		}
		return nil
	})
	return g
}

// echo is what a backend of a gate has seen.
type echo struct {
	By, Method, URI, Host, Body, Proto string
	Header                             http.Header
}

// pod starts a backend that tells what it has seen, and returns its address. A request may ask for a status (?status=404) and a
// field of the answer (?set=Name:value).
func (g *gate) pod(name string) netip.AddrPort {
	g.t.Helper()
	return g.podOf(echoes(name))
}

func echoes(name string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		q := r.URL.Query()
		for _, set := range q["set"] {
			n, v, _ := strings.Cut(set, ":")
			w.Header().Add(n, v)
		}
		if s, err := strconv.Atoi(q.Get("status")); err == nil {
			w.WriteHeader(s)
		}
		_ = json.NewEncoder(w).Encode(echo{By: name, Method: r.Method, URI: r.RequestURI, Host: r.Host, Body: string(body), Proto: r.Proto, Header: r.Header})
	}
}

// podOf starts a backend.
func (g *gate) podOf(h http.HandlerFunc) netip.AddrPort {
	return g.podWith(h, (*httptest.Server).Start)
}

func (g *gate) podWith(h http.HandlerFunc, start func(*httptest.Server)) netip.AddrPort {
	g.t.Helper()
	where := netip.AddrPortFrom(address(), backendPort)
	l, err := net.Listen("tcp", where.String())
	if err != nil {
		g.t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(h)
	s.Listener.Close()
	s.Listener = l
	start(s)
	g.t.Cleanup(s.Close)
	return where
}

// web makes Services of one backend each.
func (g *gate) web(names ...string) *gate {
	g.t.Helper()
	for _, n := range names {
		g.service(n, g.pod(n))
	}
	return g
}

// rule adds an Ingress of class nginx with the rules of lines "host type path service", where host may be "-", and type
// Exact, Prefix or Any; and annotations "name: value".
func (g *gate) rule(name string, lines []string, annotations ...string) *gate {
	g.t.Helper()
	g.ingress(g.ruleOf(name, lines, annotations...))
	return g
}

func (g *gate) ruleOf(name string, lines []string, annotations ...string) *networkingv1.Ingress {
	g.t.Helper()
	class := ClassNginx
	i := &networkingv1.Ingress{ObjectMeta: metaOf(name), Spec: networkingv1.IngressSpec{IngressClassName: &class}}
	i.Annotations = map[string]string{}
	for _, a := range annotations {
		n, v, ok := strings.Cut(a, ": ")
		if !ok {
			g.t.Fatalf("%q is no annotation", a)
		}
		i.Annotations["nginx.ingress.kubernetes.io/"+n] = v
	}
	for _, l := range lines {
		f := strings.Fields(l)
		kind := map[string]networkingv1.PathType{"Exact": networkingv1.PathTypeExact, "Prefix": networkingv1.PathTypePrefix, "Any": networkingv1.PathTypeImplementationSpecific}[f[1]]
		i.Spec.Rules = append(i.Spec.Rules, networkingv1.IngressRule{
			Host: strings.TrimPrefix(f[0], "-"),
			IngressRuleValue: networkingv1.IngressRuleValue{HTTP: &networkingv1.HTTPIngressRuleValue{Paths: []networkingv1.HTTPIngressPath{{
				Path: f[2], PathType: &kind, Backend: networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{Name: f[3], Port: networkingv1.ServiceBackendPort{Number: 80}}},
			}}}},
		})
	}
	return i
}

// withTLS gives an Ingress a tls section of its hosts.
func withTLS(i *networkingv1.Ingress, secret string) *networkingv1.Ingress {
	t := networkingv1.IngressTLS{SecretName: secret}
	for _, r := range i.Spec.Rules {
		t.Hosts = append(t.Hosts, r.Host)
	}
	i.Spec.TLS = append(i.Spec.TLS, t)
	return i
}

// configMap makes a ConfigMap with pairs of keys and values.
func (g *gate) configMap(namespace, name string, pairs ...string) {
	g.t.Helper()
	m := &corev1.ConfigMap{ObjectMeta: metaOf(name), Data: map[string]string{}}
	m.Namespace = namespace
	for i := 0; i+1 < len(pairs); i += 2 {
		m.Data[pairs[i]] = pairs[i+1]
	}
	g.must(g.client.CoreV1().ConfigMaps(namespace).Create(g.t.Context(), m, metav1.CreateOptions{}))
}

// settings replaces the ConfigMap of settings.
func (g *gate) settings(pairs ...string) *gate {
	g.t.Helper()
	g.must(nil, g.client.CoreV1().ConfigMaps(Namespace).Delete(g.t.Context(), Name, metav1.DeleteOptions{}))
	g.configMap(Namespace, Name, pairs...)
	return g
}

// secret makes a Secret with pairs of keys and values.
func (g *gate) secret(name string, pairs ...string) *gate {
	g.t.Helper()
	s := &corev1.Secret{ObjectMeta: metaOf(name), Data: map[string][]byte{}}
	for i := 0; i+1 < len(pairs); i += 2 {
		s.Data[pairs[i]] = []byte(pairs[i+1])
	}
	g.must(g.client.CoreV1().Secrets("default").Create(g.t.Context(), s, metav1.CreateOptions{}))
	return g
}

// scale replaces the endpoints of a Service.
func (g *gate) scale(service string, to ...netip.AddrPort) {
	g.t.Helper()
	g.must(g.client.DiscoveryV1().EndpointSlices("default").Update(g.t.Context(), slice(service, to...), metav1.UpdateOptions{}))
}

// answer is what a client got.
type answer struct {
	status int
	header http.Header
	body   string
	seen   echo              // what the backend saw, if one answered
	cert   *x509.Certificate // the server's, over TLS
}

// client is one that asks a gate.
type client struct {
	sni  string           // if it is not the URL's host
	own  *tls.Certificate // the client's
	head string           // is sent before anything else, as the PROXY protocol has it
	gate *gate
}

// ask asks "METHOD URL", or "URL" for GET, with fields "Name: value".
func (g *gate) ask(what string, fields ...string) answer {
	g.t.Helper()
	a, err := client{gate: g}.ask(what, fields...)
	if err != nil {
		g.t.Fatalf("%s: %v", what, err)
	}
	return a
}

func (c client) ask(what string, fields ...string) (answer, error) {
	method, url, ok := strings.Cut(what, " ")
	if !ok {
		method, url = http.MethodGet, what
	}
	var body io.Reader
	req, err := http.NewRequest(method, url, nil)
	for _, f := range fields {
		n, v, _ := strings.Cut(f, ": ")
		if n == "+" {
			body = strings.NewReader(v)
			continue
		}
		if err == nil {
			req.Header.Add(n, v)
			if n == "Host" {
				req.Host = v
			}
		}
	}
	if err != nil {
		return answer{}, err
	}
	if body != nil {
		req.Body = io.NopCloser(body)
	}
	conf := &tls.Config{InsecureSkipVerify: true, ServerName: c.sni}
	if c.own != nil {
		// Whatever authorities the server names.
		conf.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return c.own, nil }
	}
	transport := &http.Transport{DisableKeepAlives: true, TLSClientConfig: conf, DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		_, port, _ := net.SplitHostPort(addr)
		var d net.Dialer
		conn, err := d.DialContext(ctx, network, c.gate.socketOf(port))
		if err == nil && c.head != "" {
			_, err = io.WriteString(conn, c.head)
		}
		return conn, err
	}}
	defer transport.CloseIdleConnections()
	resp, err := (&http.Client{Timeout: 20 * time.Second, Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}).Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	a := answer{status: resp.StatusCode, header: resp.Header, body: string(b)}
	if resp.TLS != nil {
		a.cert = resp.TLS.PeerCertificates[0]
	}
	_ = json.Unmarshal(b, &a.seen) // an answer of the proxy's own is none
	return a, err
}

// raw sends bytes to port 80 and returns the first answer, and how many there are.
func (g *gate) raw(text string) (*http.Response, int) {
	g.t.Helper()
	c, err := net.Dial("tcp", g.socketOf("80"))
	if err != nil {
		g.t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(c, text); err != nil {
		g.t.Fatal(err)
	}
	r := bufio.NewReader(c)
	var first *http.Response
	for n := 0; ; n++ {
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			return first, n
		}
		b, _ := io.ReadAll(resp.Body)
		resp.Body = io.NopCloser(strings.NewReader(string(b)))
		if first == nil {
			first = resp
		}
	}
}

// want compares an answer's status, and who answered ("" is the proxy).
func (g *gate) want(what string, status int, by string, fields ...string) answer {
	g.t.Helper()
	a := g.ask(what, fields...)
	if a.status != status || a.seen.By != by {
		g.t.Errorf("%s %q: %d by %q, want %d by %q", what, fields, a.status, a.seen.By, status, by)
	}
	return a
}

// wantLocation compares a redirect.
func (g *gate) wantLocation(what string, status int, location string, fields ...string) {
	g.t.Helper()
	a := g.want(what, status, "", fields...)
	if got := a.header.Get("Location"); got != location {
		g.t.Errorf("%s %q: Location is %q, want %q", what, fields, got, location)
	}
}

// certificate makes a certificate and its key, signed by an authority or, without one, by itself.
func certificate(t *testing.T, by *tls.Certificate, subject string, names ...string) (certPEM, keyPEM string, pair tls.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(versions.Add(1)), Subject: pkix.Name{CommonName: subject}, DNSNames: names, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: by == nil, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	parent, signer := c, any(key)
	if by != nil {
		parent, signer = by.Leaf, by.PrivateKey
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certPEM = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	keyPEM = string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}))
	if pair, err = tls.X509KeyPair([]byte(certPEM), []byte(keyPEM)); err != nil {
		t.Fatal(err)
	}
	return certPEM, keyPEM, pair
}

// answeredBy returns an error unless an answer is as wanted.
func answeredBy(a answer, status int, by string) error {
	if a.status != status || a.seen.By != by {
		return fmt.Errorf("%d by %q", a.status, a.seen.By)
	}
	return nil
}
