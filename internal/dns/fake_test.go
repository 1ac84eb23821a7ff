package dns

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"minato/internal/dns/zone"
)

// deadline bounds every wait in these tests.
const deadline = 10 * time.Second

// fixedSource is a zone that does not change; nil is one that is not complete.
type fixedSource struct{ snap *zone.Snapshot }

func (f fixedSource) Snapshot() *zone.Snapshot { return f.snap }

func testZone(t testing.TB) *zone.Snapshot {
	t.Helper()
	tab, err := zone.New(zone.Config{Domain: "cluster.local", Owned: []netip.Prefix{netip.MustParsePrefix("10.96.0.0/16")}})
	if err != nil {
		t.Fatal(err)
	}
	add := func(name string, spec corev1.ServiceSpec) {
		tab.SetService(&corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Spec: spec})
	}
	add("web", corev1.ServiceSpec{ClusterIP: "10.96.1.1", Ports: []corev1.ServicePort{{Name: "http", Port: 80}}})
	add("ext", corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "www.example.com"})
	add("many", corev1.ServiceSpec{ClusterIP: "None"})
	add("few", corev1.ServiceSpec{ClusterIP: "None"})
	tab.SetEndpointSlice(manyEndpoints("many", 300))
	tab.SetEndpointSlice(manyEndpoints("few", 12))
	return tab.Commit()
}

func manyEndpoints(service string, n int) *discoveryv1.EndpointSlice {
	port, name := int32(80), "http"
	s := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: "default", Name: service + "-1", Labels: map[string]string{discoveryv1.LabelServiceName: service}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: &name, Port: &port}},
	}
	for i := range n {
		addr := netip.AddrFrom4([4]byte{10, 244, byte(i / 250), byte(i % 250)})
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{Addresses: []string{addr.String()}})
	}
	return s
}

// startServer runs a Server on loopback until the test ends and returns its
// address, the same for UDP and TCP.
func startServer(t testing.TB, cfg ServerConfig) string {
	t.Helper()
	l, p := loopback(t)
	cfg.Domain = "cluster.local"
	cfg.Listeners, cfg.PacketConns = []net.Listener{l}, []net.PacketConn{p}
	s, err := NewServer(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Run: %v", err)
			}
		case <-time.After(deadline):
			t.Error("Run did not return")
		}
	})
	return l.Addr().String()
}

// loopback opens TCP and UDP on the same port.
func loopback(t testing.TB) (net.Listener, net.PacketConn) {
	t.Helper()
	for range 20 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		if p, err := net.ListenPacket("udp", l.Addr().String()); err == nil {
			return l, p
		}
		l.Close()
	}
	t.Fatal("no port is free for both TCP and UDP")
	return nil, nil
}

// query asks over UDP or TCP and requires an answer.
func query(t testing.TB, network, addr string, m *dns.Msg) *dns.Msg {
	t.Helper()
	c := &dns.Client{Net: network, Timeout: deadline}
	in, _, err := c.Exchange(m, addr)
	if err != nil {
		t.Fatalf("%s %s: %v", network, m.Question[0].Name, err)
	}
	return in
}

func question(name string, typ uint16) *dns.Msg {
	return new(dns.Msg).SetQuestion(name, typ)
}

// fakeUpstream is a resolver whose behaviour a test decides.
type fakeUpstream struct {
	addr       netip.AddrPort
	withProbes atomic.Bool

	mu   sync.Mutex
	seen []string // "udp www.example.com."
}

func (u *fakeUpstream) questions() []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return append([]string(nil), u.seen...)
}

// startUpstream answers with handle; returning nil stays silent.
func startUpstream(t testing.TB, handle func(network string, q *dns.Msg) *dns.Msg) *fakeUpstream {
	t.Helper()
	l, p := loopback(t)
	u := &fakeUpstream{addr: netip.MustParseAddrPort(l.Addr().String())}
	h := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		network := w.RemoteAddr().Network()
		if q.Question[0].Qtype == dns.TypeHINFO && !u.withProbes.Load() {
			return // a probe for a forwarding loop
		}
		u.mu.Lock()
		u.seen = append(u.seen, network+" "+q.Question[0].Name)
		u.mu.Unlock()
		if m := handle(network, q); m != nil {
			_ = w.WriteMsg(m) // fails if the server under test no longer waits for it
		}
	})
	for _, s := range []*dns.Server{{Listener: l, Handler: h}, {PacketConn: p, Handler: h}} {
		started := make(chan struct{})
		s.NotifyStartedFunc = func() { close(started) }
		go func() { _ = s.ActivateAndServe() }()
		<-started
		t.Cleanup(func() { _ = s.Shutdown() })
	}
	return u
}

// answerA is an upstream's answer with one address.
func answerA(q *dns.Msg, addr string) *dns.Msg {
	m := new(dns.Msg).SetReply(q)
	m.RecursionAvailable = true
	if q.Question[0].Qtype == dns.TypeA {
		m.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 60}, A: net.ParseIP(addr)}}
	}
	return m
}

// deadUpstream is an address that takes packets and never answers.
func deadUpstream(t testing.TB) netip.AddrPort {
	t.Helper()
	p, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	go func() {
		buf := make([]byte, 1500)
		for {
			if _, _, err := p.ReadFrom(buf); err != nil {
				return
			}
		}
	}()
	return netip.MustParseAddrPort(p.LocalAddr().String())
}

// startLiar answers a question with a wrong id, a wrong name and garbage before
// it answers it truly.
func startLiar(t testing.TB, sent chan<- struct{}) netip.AddrPort {
	t.Helper()
	p, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	go func() {
		defer close(sent)
		buf := make([]byte, 1500)
		q := new(dns.Msg)
		var from net.Addr
		for len(q.Question) == 0 || q.Question[0].Qtype == dns.TypeHINFO {
			n, addr, err := p.ReadFrom(buf)
			if err != nil || q.Unpack(buf[:n]) != nil {
				return
			}
			from = addr
		}
		wrongID, wrongName, truth := answerA(q, "6.6.6.6"), answerA(q, "6.6.6.6"), answerA(q, "192.0.2.1")
		wrongID.Id ^= 1
		wrongName.Question = []dns.Question{{Name: "evil.example.", Qtype: dns.TypeA, Qclass: dns.ClassINET}}
		for _, m := range []*dns.Msg{wrongID, wrongName, truth} {
			if m == truth {
				_, _ = p.WriteTo([]byte{byte(q.Id >> 8), byte(q.Id), 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 9}, from)
			}
			if b, err := m.Pack(); err == nil {
				_, _ = p.WriteTo(b, from)
			}
		}
	}()
	return netip.MustParseAddrPort(p.LocalAddr().String())
}

// waitFor polls until cond holds.
func waitFor(t testing.TB, cond func() bool) {
	t.Helper()
	end := time.Now().Add(deadline)
	for !cond() {
		if time.Now().After(end) {
			t.Fatal("timed out")
		}
		<-time.After(2 * time.Millisecond)
	}
}
