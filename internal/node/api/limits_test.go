package api

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	authnv1 "k8s.io/api/authentication/v1"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	authnclient "k8s.io/client-go/kubernetes/typed/authentication/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"

	"minato/internal/host/limit"
)

func TestCounter(t *testing.T) {
	one, two, three := &v1.Pod{}, &v1.Pod{}, &v1.Pod{}
	one.UID, two.UID, three.UID = "1", "2", "3"
	c := newCounter("sessions", Bounds{Node: 3, Pod: 2})
	leave, err := c.enter(one)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []struct {
		pod *v1.Pod
		ok  bool
	}{{one, true}, {one, false}, {two, true}, {three, false}, {two, false}} {
		if _, err := c.enter(s.pod); (err == nil) != s.ok {
			t.Errorf("pod %s: %v, want ok %t", s.pod.UID, err, s.ok)
		}
	}
	leave()
	leave() // counts once
	if _, err := c.enter(three); err != nil {
		t.Errorf("after one has ended: %v", err)
	}
	if _, err := c.enter(one); err == nil {
		t.Error("one that ended twice made room for two")
	}
}

// TestTooManySessions opens more than are served. What is refused says why.
func TestTooManySessions(t *testing.T) {
	b := newBench(t, func(c *Config) { c.Sessions, c.LogReaders = Bounds{Pod: 1}, Bounds{Pod: 1} })
	stdin, typing := io.Pipe()
	var out syncBuffer
	done := make(chan error, 1)
	e := b.executors("/exec/default/web/main?command=cat&input=1&output=1")["SPDY"]
	go func() {
		done <- e.StreamWithContext(t.Context(), remotecommand.StreamOptions{Stdin: stdin, Stdout: &out})
	}()
	if _, err := io.WriteString(typing, "x"); err != nil {
		t.Fatal(err)
	}
	poll(t, "the session is open", func() bool { return out.String() == "x" })

	for _, path := range []string{"/exec/default/web/main?command=id&output=1", "/attach/default/web/main?output=1", "/run/default/web/main?cmd=id"} {
		got, body := b.request("POST", path, "admin")
		if got != http.StatusTooManyRequests || !strings.Contains(body, `pod "default/web" has 1 exec, attach, port-forward and run sessions open`) {
			t.Errorf("%s: %d %q", path, got, body)
		}
	}
	typing.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
	poll(t, "there is room again", func() bool {
		got, _ := b.request("POST", "/run/default/web/main?cmd=id", "admin")
		return got == http.StatusOK
	})

	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, "GET", b.url+"/containerLogs/default/web/main?follow=true", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer admin")
	resp, err := b.http().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if got, body := b.request("GET", "/containerLogs/default/web/main", "admin"); got != http.StatusTooManyRequests || !strings.Contains(body, "readers of logs") {
		t.Errorf("a second reader of logs: %d %q", got, body)
	}
	cancel()
	resp.Body.Close()
	poll(t, "there is room for a reader again", func() bool {
		got, _ := b.request("GET", "/containerLogs/default/web/main", "admin")
		return got == http.StatusOK
	})
}

func TestLargeBodiesAreRefused(t *testing.T) {
	b := newBench(t)
	b.runtime.OnExec(func(_ string, cmd []string) (string, error) { return strings.Join(cmd, "+"), nil })
	for body, want := range map[string]string{"cmd=ls -l": "ls+-l", "cmd=" + strings.Repeat("x", 2<<20): ""} {
		req, err := http.NewRequestWithContext(t.Context(), "POST", b.url+"/run/default/web/main", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer admin")
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		resp, err := b.http().Do(req)
		if err != nil {
			if want != "" {
				t.Error(err)
			}
			continue // closed while the client still writes
		}
		got, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if string(got) != want && !(want == "" && resp.StatusCode != http.StatusOK) {
			t.Errorf("a form of %d bytes gives %d %q, want %q", len(body), resp.StatusCode, got, want)
		}
	}
}

// serve runs a server over TLS as the agent does.
func serve(t *testing.T, b *bench, change func(*Config)) (address string) {
	t.Helper()
	cfg := b.server.cfg
	cfg.Certificates = nil // that of Cert and ClientCA
	change(&cfg)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- New(cfg).Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

func newCertificate(t *testing.T, name string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// TestRenewedCertificateIsServed replaces the serving certificate and the CA of
// clients under a server that runs.
func TestRenewedCertificateIsServed(t *testing.T) {
	first, second, client := newCertificate(t, "first"), newCertificate(t, "second"), newCertificate(t, "admin")
	knows := x509.NewCertPool()
	knows.AddCert(client.Leaf)
	strangers := x509.NewCertPool()
	strangers.AddCert(newCertificate(t, "stranger").Leaf)
	present, clients, problem := first, strangers, error(nil)
	time0 := clocktesting.NewFakePassiveClock(time.Now())
	address := serve(t, newBench(t), func(c *Config) {
		c.Clock = time0
		c.Certificates = func() (tls.Certificate, *x509.CertPool, error) { return present, clients, problem }
	})
	ask := func() (name string, status int, err error) {
		transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{client}}}
		defer transport.CloseIdleConnections()
		resp, err := (&http.Client{Transport: transport}).Get("https://" + address + "/pods")
		if err != nil {
			return "", 0, err
		}
		defer resp.Body.Close()
		return resp.TLS.PeerCertificates[0].Subject.CommonName, resp.StatusCode, nil
	}
	want := func(what, name string, status int) {
		t.Helper()
		if got, code, err := ask(); got != name || code != status {
			t.Errorf("%s: %q, %d, %v; want %q, %d", what, got, code, err, name, status)
		}
	}
	// Clients send no certificate whose issuer the server does not name.
	want("at first", "first", http.StatusUnauthorized)
	present, clients = second, knows
	want("before it is asked for again", "first", http.StatusUnauthorized)
	time0.SetTime(time0.Now().Add(refreshEvery))
	want("after a minute", "second", http.StatusOK)
	present, problem = tls.Certificate{}, errors.New("no disk")
	time0.SetTime(time0.Now().Add(refreshEvery))
	want("while it cannot be renewed", "second", http.StatusOK)
}

// TestFlood holds connections from one address that say nothing, while another
// one asks.
func TestFlood(t *testing.T) {
	limits, err := limit.New(limit.Config{Descriptors: 1024})
	if err != nil {
		t.Fatal(err)
	}
	cert := newCertificate(t, "node")
	address := serve(t, newBench(t), func(c *Config) { c.Limits, c.Cert = limits, cert })
	from := func(ip string) *net.Dialer {
		return &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(ip)}, Timeout: 10 * time.Second}
	}
	for range 1000 {
		if c, err := from("127.0.0.2").Dial("tcp", address); err == nil {
			t.Cleanup(func() { c.Close() })
		}
	}
	transport := &http.Transport{DialContext: from("127.0.0.3").DialContext, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	defer transport.CloseIdleConnections()
	resp, err := (&http.Client{Transport: bearer{"admin", transport}, Timeout: 10 * time.Second}).Get("https://" + address + "/healthz")
	if err != nil {
		t.Fatalf("another client is not served: %v", err)
	}
	resp.Body.Close()
	if s := limits.State(); resp.StatusCode != http.StatusOK || s.Refused == 0 {
		t.Errorf("status %d, state %+v", resp.StatusCode, s)
	}
}

// reviewer is an API server that reviews tokens, many at a time, which client-go's
// fake does not.
type reviewer struct {
	kubernetes.Interface
	authnclient.AuthenticationV1Interface
	authnclient.TokenReviewInterface
	review func(*authnv1.TokenReview)
}

func (r reviewer) AuthenticationV1() authnclient.AuthenticationV1Interface { return r }
func (r reviewer) TokenReviews() authnclient.TokenReviewInterface          { return r }
func (r reviewer) RESTClient() rest.Interface                              { return nil }
func (r reviewer) Create(_ context.Context, review *authnv1.TokenReview, _ metav1.CreateOptions) (*authnv1.TokenReview, error) {
	r.review(review)
	return review, nil
}

// TestStrangersTokens floods the server with tokens that nobody knows, while a
// client whose token is known goes on.
func TestStrangersTokens(t *testing.T) {
	var mu sync.Mutex
	reviews, most, held := 0, 0, make(chan struct{})
	g := newGate(reviewer{review: func(r *authnv1.TokenReview) {
		if r.Spec.Token == "admin" {
			r.Status.Authenticated = true
			return
		}
		mu.Lock()
		reviews++
		most = max(most, reviews)
		mu.Unlock()
		<-held
		mu.Lock()
		reviews--
		mu.Unlock()
	}}, "node-1", clock.RealClock{})
	if u, err := g.byToken(t.Context(), "admin"); err != nil || u == nil {
		t.Fatalf("admin is %v, %v", u, err)
	}
	var asking sync.WaitGroup
	for i := range 2 * maxAnswers {
		asking.Go(func() {
			if u, err := g.byToken(t.Context(), fmt.Sprint("stranger ", i)); err != nil || u != nil {
				t.Errorf("a stranger is %v, %v", u, err)
			}
		})
	}
	poll(t, "as many reviews as may be are under way", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return reviews == maxReviews
	})
	close(held)
	asking.Wait()
	if most > maxReviews {
		t.Errorf("%d reviews at a time, want at most %d", most, maxReviews)
	}
	if _, ok := g.answer(sha256.Sum256([]byte("admin")), g.clock.Now()); !ok {
		t.Error("strangers' tokens made the gate forget one that is known")
	}
	if len(g.unknown) > maxAnswers {
		t.Errorf("%d strangers' tokens are kept", len(g.unknown))
	}
}

func poll(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not so after 10 s: %s", what)
		}
	}
}

// syncBuffer is written by one goroutine and read by another.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
