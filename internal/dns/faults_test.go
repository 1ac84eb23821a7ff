package dns

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"minato/internal/dns/zone"
)

// fixedSettings is a configuration that does not change.
func fixedSettings(t testing.TB, text string) *Settings {
	t.Helper()
	s, err := NewSettings(SettingsConfig{Domain: "cluster.local"})
	if err != nil {
		t.Fatal(err)
	}
	s.current.Store(mustPolicy(t, text))
	return s
}

func TestDeadUpstreamCostsNoQuestion(t *testing.T) {
	second := startUpstream(t, func(_ string, q *dns.Msg) *dns.Msg { return answerA(q, "192.0.2.2") })
	addr := startServer(t, ServerConfig{Source: fixedSource{testZone(t)}, Upstreams: StaticUpstreams(deadUpstream(t), second.addr)})
	query(t, "udp", addr, question("first.example.", dns.TypeA)) // it is silent, which is noted
	for i := range 50 {
		began := time.Now()
		in := query(t, "udp", addr, question(fmt.Sprintf("host-%d.example.", i), dns.TypeA))
		if took := time.Since(began); len(in.Answer) != 1 || took > maxHedge {
			t.Fatalf("question %d: %s after %s", i, dns.RcodeToString[in.Rcode], took)
		}
	}
}

func TestUpstreamThatComesBackIsAskedFirstAgain(t *testing.T) {
	var silent atomic.Bool
	silent.Store(true)
	first := startUpstream(t, func(_ string, q *dns.Msg) *dns.Msg {
		if silent.Load() {
			return nil
		}
		return answerA(q, "192.0.2.1")
	})
	second := startUpstream(t, func(_ string, q *dns.Msg) *dns.Msg { return answerA(q, "192.0.2.2") })
	addr := startServer(t, ServerConfig{Source: fixedSource{testZone(t)}, Upstreams: StaticUpstreams(first.addr, second.addr)})
	query(t, "udp", addr, question("first.example.", dns.TypeA))
	silent.Store(false)
	i := 0
	waitFor(t, func() bool { // until a probe is answered
		i++
		in := query(t, "udp", addr, question(fmt.Sprintf("host-%d.example.", i), dns.TypeA))
		return strings.HasSuffix(in.Answer[0].String(), "192.0.2.1")
	})
}

func TestStaleAnswerIsBetterThanNone(t *testing.T) {
	var silent atomic.Bool
	up := startUpstream(t, func(_ string, q *dns.Msg) *dns.Msg {
		if silent.Load() {
			return nil
		}
		m := answerA(q, "192.0.2.1")
		m.Answer[0].Header().Ttl = 1
		return m
	})
	addr := startServer(t, ServerConfig{Source: fixedSource{testZone(t)}, Upstreams: StaticUpstreams(up.addr)})
	query(t, "udp", addr, question("a.example.", dns.TypeA))
	silent.Store(true)
	began := time.Now()
	for time.Since(began) < 2*time.Second { // the cached answer has a TTL of one second
		if in := query(t, "udp", addr, question("a.example.", dns.TypeA)); in.Rcode != dns.RcodeSuccess || len(in.Answer) != 1 {
			t.Fatalf("after %s: %v", time.Since(began), in)
		}
	}
	if in := query(t, "udp", addr, question("web.default.svc.cluster.local.", dns.TypeA)); len(in.Answer) != 1 {
		t.Errorf("cluster names suffer: %v", in)
	}
}

func TestCacheAnswersAsTheUpstreamDid(t *testing.T) {
	up := startUpstream(t, func(_ string, q *dns.Msg) *dns.Msg {
		m := answerA(q, "192.0.2.1")
		m.Answer = append([]dns.RR{&dns.CNAME{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeCNAME, Class: dns.ClassINET, Ttl: 60}, Target: "b.example."}}, m.Answer...)
		m.Answer[1].Header().Name = "b.example."
		m.AuthenticatedData = true
		return m
	})
	addr := startServer(t, ServerConfig{Source: fixedSource{testZone(t)}, Upstreams: StaticUpstreams(up.addr)})
	for _, name := range []string{"a.example.", "a.example.", "A.eXample."} {
		for _, network := range []string{"udp", "tcp"} {
			q := question(name, dns.TypeA)
			q.SetEdns0(1232, false)
			in := query(t, network, addr, q)
			if len(in.Answer) != 2 || in.Question[0].Name != name || in.Id != q.Id || in.Authoritative || in.AuthenticatedData || in.IsEdns0() == nil || !strings.EqualFold(in.Answer[1].Header().Name, "b.example.") {
				t.Errorf("%s: %v", network, in)
			}
		}
	}
	if n := len(up.questions()); n != 1 {
		t.Errorf("the upstream was asked %d times: %v", n, up.questions())
	}
}

func TestTooManyQuestionsForUpstreams(t *testing.T) {
	release := make(chan struct{})
	up := startUpstream(t, func(_ string, q *dns.Msg) *dns.Msg { <-release; return answerA(q, "192.0.2.1") })
	addr := startServer(t, ServerConfig{Source: fixedSource{testZone(t)}, Upstreams: StaticUpstreams(up.addr), Settings: fixedSettings(t, "maxConcurrent: 3")})
	var refused, answered atomic.Int64
	var wg sync.WaitGroup
	for i := range 10 {
		wg.Go(func() {
			in, _, err := (&dns.Client{Timeout: deadline}).Exchange(question(fmt.Sprintf("h%d.example.", i), dns.TypeA), addr)
			switch {
			case err != nil:
				t.Error(err)
			case in.Rcode == dns.RcodeServerFailure:
				refused.Add(1)
			case len(in.Answer) == 1:
				answered.Add(1)
			}
		})
	}
	waitFor(t, func() bool { return refused.Load() == 7 })
	if in := query(t, "udp", addr, question("web.default.svc.cluster.local.", dns.TypeA)); len(in.Answer) != 1 {
		t.Errorf("cluster names wait for upstreams: %v", in)
	}
	close(release)
	wg.Wait()
	if answered.Load() != 3 {
		t.Errorf("%d answered", answered.Load())
	}
}

func TestStubDomainsAndParallelUpstreams(t *testing.T) {
	stubbed := startUpstream(t, func(_ string, q *dns.Msg) *dns.Msg { return answerA(q, "192.0.2.9") })
	slow := startUpstream(t, func(_ string, q *dns.Msg) *dns.Msg { return nil })
	quick := startUpstream(t, func(_ string, q *dns.Msg) *dns.Msg { return answerA(q, "192.0.2.1") })
	addr := startServer(t, ServerConfig{Source: fixedSource{testZone(t)}, Settings: fixedSettings(t, fmt.Sprintf(
		"upstream: {servers: ['%s', '%s'], policy: parallel}\nstubs: [{domain: corp.example, servers: ['%s']}]", slow.addr, quick.addr, stubbed.addr))})
	began := time.Now()
	in := query(t, "udp", addr, question("www.example.", dns.TypeA))
	if took := time.Since(began); len(in.Answer) != 1 || took >= maxHedge {
		t.Errorf("after %s: %v", took, in)
	}
	if in = query(t, "udp", addr, question("x.corp.example.", dns.TypeA)); len(in.Answer) != 1 || !strings.HasSuffix(in.Answer[0].String(), "192.0.2.9") {
		t.Errorf("got %v", in)
	}
}

func TestRewrittenAnswersHaveTheNameAskedFor(t *testing.T) {
	addr := startServer(t, ServerConfig{Source: fixedSource{testZone(t)}, Settings: fixedSettings(t, "rewrites: [{match: suffix, from: .svc.old.example, to: .svc.cluster.local}]")})
	in := query(t, "udp", addr, question("Web.default.svc.old.example.", dns.TypeA))
	if len(in.Answer) != 1 || in.Answer[0].Header().Name != "Web.default.svc.old.example." || in.Question[0].Name != "Web.default.svc.old.example." {
		t.Errorf("got %v", in)
	}
}

// malformed is how many broken messages the server has to survive.
const malformed = 100_000

func TestMalformedPackets(t *testing.T) {
	addr := startServer(t, ServerConfig{Source: fixedSource{testZone(t)}, Upstreams: StaticUpstreams(deadUpstream(t))})
	conn, err := net.Dial("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	go func() { // nobody checks the answers, but the socket has to be emptied
		buf := make([]byte, 4096)
		for {
			if _, err := conn.Read(buf); errors.Is(err, net.ErrClosed) {
				return
			}
		}
	}()
	good, err := question("web.default.svc.cluster.local.", dns.TypeA).Pack()
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 2))
	for i := range malformed {
		b := append([]byte(nil), good...)
		for range 1 + random.IntN(8) {
			b[random.IntN(len(b))] = byte(random.Uint32())
		}
		b = b[:random.IntN(len(b)+1)]
		if _, err := conn.Write(b); err != nil && i == 0 {
			t.Fatal(err)
		}
	}
	var in *dns.Msg
	waitFor(t, func() bool { // the socket's buffer may be full for a moment
		in, _, err = (&dns.Client{Timeout: time.Second}).Exchange(question("web.default.svc.cluster.local.", dns.TypeA), addr)
		return err == nil
	})
	if len(in.Answer) != 1 {
		t.Errorf("got %v", in)
	}
}

func TestAPIServerGone(t *testing.T) {
	client := fake.NewClientset(&corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"}, Spec: corev1.ServiceSpec{ClusterIP: "10.96.1.1"}})
	store := startStore(t, client)
	addr := startServer(t, ServerConfig{Source: store})
	var refused atomic.Int64
	client.PrependReactor("*", "*", func(clienttesting.Action) (bool, apiruntime.Object, error) {
		refused.Add(1)
		return true, nil, errors.New("connection refused")
	})
	if _, err := client.CoreV1().Services("default").List(t.Context(), metav1.ListOptions{}); err == nil || refused.Load() == 0 {
		t.Fatal("the API is still there")
	}
	for range 100 {
		if in := query(t, "udp", addr, question("web.default.svc.cluster.local.", dns.TypeA)); len(in.Answer) != 1 {
			t.Fatalf("got %v", in)
		}
	}
}

func TestBurstOfChanges(t *testing.T) {
	const services = 10_000
	tab, err := zone.New(zone.Config{Domain: "cluster.local"})
	if err != nil {
		t.Fatal(err)
	}
	source := &tableSource{tab}
	addr := startServer(t, ServerConfig{Source: source})
	set := func(round int) {
		for i := range services {
			tab.SetService(&corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: fmt.Sprintf("s%d", i)},
				Spec: corev1.ServiceSpec{ClusterIP: fmt.Sprintf("10.%d.%d.%d", 96+round, i/250, i%250+1)}})
			if i%100 == 0 {
				tab.Commit()
			}
		}
		tab.Commit()
	}
	set(0)
	var stop atomic.Bool
	var wg sync.WaitGroup
	var asked atomic.Int64
	wg.Go(func() {
		for i := 0; !stop.Load(); i = (i + 7) % services {
			in, _, err := (&dns.Client{Timeout: deadline}).Exchange(question(fmt.Sprintf("s%d.default.svc.cluster.local.", i), dns.TypeA), addr)
			if err != nil || len(in.Answer) != 1 || !strings.HasSuffix(in.Answer[0].(*dns.A).A.String(), fmt.Sprintf(".%d.%d", i/250, i%250+1)) {
				t.Errorf("s%d: %v %v", i, in, err)
				return
			}
			asked.Add(1)
		}
	})
	memory := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := memory()
	for round := 1; round <= 5; round++ {
		set(round)
	}
	waitFor(t, func() bool { return asked.Load() > 0 || t.Failed() })
	stop.Store(true)
	wg.Wait()
	if after := memory(); after > before+before/2+8<<20 {
		t.Errorf("the heap went from %d to %d MiB", before>>20, after>>20)
	}
}

type tableSource struct{ tab *zone.Table }

func (s *tableSource) Snapshot() *zone.Snapshot { return s.tab.Snapshot() }

// changingSource may lose its zone while the server runs.
type changingSource struct{ snap atomic.Pointer[zone.Snapshot] }

func (s *changingSource) Snapshot() *zone.Snapshot { return s.snap.Load() }

func TestEndpointsTellTheTruth(t *testing.T) {
	l, p := loopback(t)
	source := &changingSource{}
	source.snap.Store(testZone(t))
	s, err := NewServer(ServerConfig{Source: source, Domain: "cluster.local", Listeners: []net.Listener{l}, PacketConns: []net.PacketConn{p}})
	if err != nil {
		t.Fatal(err)
	}
	h := s.Handler(nil)
	get := func(path string) (int, string) {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		return w.Code, w.Body.String()
	}
	if code, why := get("/ready"); code != http.StatusServiceUnavailable || !strings.Contains(why, "0 of 2 sockets") {
		t.Errorf("before the start: %d %s", code, why)
	}
	if code, _ := get("/health"); code != http.StatusServiceUnavailable {
		t.Errorf("a server that does not run is healthy: %d", code)
	}
	runUntilEnd(t, s.Run)
	waitFor(t, func() bool { code, _ := get("/ready"); return code == http.StatusOK })
	if code, why := get("/health"); code != http.StatusOK {
		t.Errorf("health: %d %s", code, why)
	}
	source.snap.Store(nil)
	if code, why := get("/ready"); code != http.StatusServiceUnavailable || !strings.Contains(why, "not loaded") {
		t.Errorf("without the zone: %d %s", code, why)
	}
}

func TestMetrics(t *testing.T) {
	l, p := loopback(t)
	s, err := NewServer(ServerConfig{Source: fixedSource{testZone(t)}, Domain: "cluster.local", Listeners: []net.Listener{l}, PacketConns: []net.PacketConn{p}})
	if err != nil {
		t.Fatal(err)
	}
	runUntilEnd(t, s.Run)
	addr := l.Addr().String()
	query(t, "udp", addr, question("web.default.svc.cluster.local.", dns.TypeA))
	query(t, "udp", addr, question("nope.default.svc.cluster.local.", dns.TypeAAAA))
	query(t, "tcp", addr, question("web.default.svc.cluster.local.", dns.TypeA))
	registry := prometheus.NewPedanticRegistry()
	if err := registry.Register(NewMetrics(s, nil)); err != nil {
		t.Fatal(err)
	}
	server := fmt.Sprintf("server=%q", "dns://"+p.LocalAddr().String())
	want := strings.ReplaceAll(`# HELP coredns_dns_requests_total Questions by protocol, family and type.
# TYPE coredns_dns_requests_total counter
coredns_dns_requests_total{family="1",proto="tcp",SERVER,type="A",view="",zone="."} 1
coredns_dns_requests_total{family="1",proto="udp",SERVER,type="A",view="",zone="."} 1
coredns_dns_requests_total{family="1",proto="udp",SERVER,type="AAAA",view="",zone="."} 1
# HELP coredns_dns_responses_total Answers by response code.
# TYPE coredns_dns_responses_total counter
coredns_dns_responses_total{rcode="NOERROR",SERVER,view="",zone="."} 2
coredns_dns_responses_total{rcode="NXDOMAIN",SERVER,view="",zone="."} 1
`, "SERVER", server)
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want), "coredns_dns_requests_total", "coredns_dns_responses_total"); err != nil {
		t.Error(err)
	}
	if n, err := testutil.GatherAndCount(registry); err != nil || n < 15 {
		t.Errorf("%d metrics, %v", n, err)
	}
}

func TestExplainSearch(t *testing.T) {
	up := startUpstream(t, func(_ string, q *dns.Msg) *dns.Msg { return answerA(q, "192.0.2.1") })
	l, p := loopback(t)
	s, err := NewServer(ServerConfig{Source: fixedSource{testZone(t)}, Domain: "cluster.local", Listeners: []net.Listener{l}, PacketConns: []net.PacketConn{p}, Upstreams: StaticUpstreams(up.addr)})
	if err != nil {
		t.Fatal(err)
	}
	runUntilEnd(t, s.Run)
	path := SearchPath{Domains: []string{"default.svc.cluster.local", "svc.cluster.local", "cluster.local"}, Ndots: 5}
	story := s.ExplainSearch(context.Background(), "web", dns.TypeA, netip.Addr{}, path)
	if len(story) != 1 || !story[0].Found() || story[0].Name != "web.default.svc.cluster.local." || !strings.Contains(strings.Join(story[0].Reasons, "\n"), "Service default/web: used") {
		t.Errorf("got %v", story)
	}
	story = s.ExplainSearch(context.Background(), "www.example.com", dns.TypeA, netip.Addr{}, path)
	if len(story) != 4 || story[0].Found() || !story[3].Found() || !strings.Contains(strings.Join(story[3].Reasons, "\n"), "upstream "+up.addr.String()+": used") {
		t.Errorf("got %v", story)
	}
	if story = s.ExplainSearch(context.Background(), "web.", dns.TypeA, netip.Addr{}, path); len(story) != 1 || story[0].Name != "web." {
		t.Errorf("got %v", story)
	}
}
