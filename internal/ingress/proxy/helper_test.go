package proxy

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"minato/internal/ingress/table"
)

// location is what the tests' Ingresses ask for, unless they change it.
func location() table.Location {
	return table.Location{
		ConnectTimeout: 2 * time.Second, ReadTimeout: 5 * time.Second, SendTimeout: 5 * time.Second,
		Retry:            table.Retry{Error: true, Timeout: true, Tries: 3},
		RequestBuffering: true, RequestBuffer: 8 << 10,
		Buffering: table.Buffering{HeaderSize: 4 << 10},
	}
}

func settings() *table.Settings {
	return &table.Settings{
		HTTP2: true, HTTP2Streams: 128, KeepAlive: 75 * time.Second, KeepAliveRequests: 100000,
		UpstreamIdle: 320, UpstreamIdleTimeout: time.Minute, UpstreamRequests: 10000, UpstreamTime: time.Hour,
		HeaderTimeout: 5 * time.Second, BodyTimeout: 5 * time.Second, RequestID: true, ShutdownTimeout: 10 * time.Second,
	}
}

// ingress makes an Ingress with lines "host path service".
func ingress(name string, change func(*table.Ingress), lines ...string) *table.Ingress {
	o := &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{Namespace: "d", Name: name, CreationTimestamp: metav1.NewTime(time.Unix(1000, 0))}}
	for _, l := range lines {
		f := strings.Fields(l)
		prefix := networkingv1.PathTypePrefix
		o.Spec.Rules = append(o.Spec.Rules, networkingv1.IngressRule{
			Host: strings.TrimPrefix(f[0], "-"),
			IngressRuleValue: networkingv1.IngressRuleValue{HTTP: &networkingv1.HTTPIngressRuleValue{Paths: []networkingv1.HTTPIngressPath{{
				Path: f[1], PathType: &prefix,
				Backend: networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{Name: f[2], Port: networkingv1.ServiceBackendPort{Number: 80}}},
			}}}},
		})
	}
	i := &table.Ingress{Object: o, Options: table.Options{Location: location()}}
	if change != nil {
		change(i)
	}
	return i
}

func tableOf(s *table.Settings, all ...*table.Ingress) *table.Table {
	b := table.NewBuilder()
	b.SetSettings(s)
	for _, i := range all {
		b.Set(i)
	}
	return b.Table()
}

func refOf(service string) table.BackendRef {
	return table.BackendRef{Namespace: "d", Service: service, Port: "80"}
}

// rig is a running proxy.
type rig struct {
	*Server
	t           testing.TB
	http, https string
	records     recorder
	stopped     chan error
}

// recorder keeps what is told of requests.
type recorder struct {
	mu  sync.Mutex
	all []string
	on  bool
}

func (r *recorder) Observe(rec *Record) {
	if !r.on {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	line := rec.Method + " " + rec.Host + rec.Target + " " + strconv.Itoa(rec.Status)
	for _, a := range rec.Attempts {
		line += " " + strconv.Itoa(a.Status)
	}
	r.all = append(r.all, strings.Clone(line))
}

func (r *recorder) take() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := r.all
	r.all = nil
	return all
}

func start(t testing.TB, tab *table.Table, change func(*Config)) *rig {
	t.Helper()
	r := &rig{t: t, stopped: make(chan error, 1)}
	r.records.on = true
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ls, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{
		Logger:    slog.New(slog.NewTextHandler(io.Discard, nil)),
		Listeners: []Listener{{Listener: l, Port: 80}, {Listener: ls, TLS: true, Port: 443}}, Observer: &r.records, TempDir: t.TempDir(),
	}
	if change != nil {
		change(&cfg)
	}
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	r.Server, r.http, r.https = s, l.Addr().String(), ls.Addr().String()
	s.SetTable(tab)
	ctx, cancel := context.WithCancel(context.Background())
	go func() { r.stopped <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-r.stopped:
			if err != nil {
				t.Errorf("Run: %v", err)
			}
		case <-time.After(10 * time.Second):
			t.Error("Run does not end")
		}
	})
	return r
}

// backend has the service served by the addresses.
func (r *rig) backend(service string, addresses ...string) {
	var all []Endpoint
	for _, a := range addresses {
		all = append(all, Endpoint{Address: netip.MustParseAddrPort(a)})
	}
	r.SetEndpoints(refOf(service), all)
}

// serve starts a backend and returns its address.
func serve(t testing.TB, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// raw starts a backend that speaks for itself.
func rawBackend(t testing.TB, f func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	open := map[net.Conn]bool{}
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		defer mu.Unlock()
		for c := range open {
			c.Close()
		}
	})
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open[c] = true
			mu.Unlock()
			go func() {
				f(c)
				c.Close()
			}()
		}
	}()
	return l.Addr().String()
}

// ask sends raw bytes and returns the answer.
func (r *rig) ask(text string) *http.Response {
	r.t.Helper()
	c, err := net.Dial("tcp", r.http)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(c, text); err != nil {
		r.t.Fatal(err)
	}
	method, _, _ := strings.Cut(text, " ")
	resp, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: method})
	if err != nil {
		r.t.Fatalf("answer to %q: %v", text[:min(len(text), 200)], err)
	}
	return resp
}

// get is a request of a host and path by net/http.
func (r *rig) get(host, path string, header ...string) (*http.Response, string) {
	r.t.Helper()
	return r.do(http.MethodGet, host, path, nil, header...)
}

func (r *rig) do(method, host, path string, body io.Reader, header ...string) (*http.Response, string) {
	r.t.Helper()
	req, err := http.NewRequest(method, "http://"+r.http+path, body)
	if err != nil {
		r.t.Fatal(err)
	}
	req.Host = host
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	resp, err := plainClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return resp, string(b)
}

var plainClient = &http.Client{
	Transport:     &http.Transport{DisableCompression: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	Timeout:       30 * time.Second,
}

// eventually polls until what is true.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	end := time.Now().Add(10 * time.Second)
	for !is() {
		if time.Now().After(end) {
			t.Fatalf("%s: not within 10 seconds", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}
