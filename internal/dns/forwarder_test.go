package dns

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
)

func TestForwards(t *testing.T) {
	up := startUpstream(t, func(_ string, q *dns.Msg) *dns.Msg { return answerA(q, "192.0.2.1") })
	addr := startServer(t, ServerConfig{Source: fixedSource{testZone(t)}, Upstreams: StaticUpstreams(up.addr)})
	in := query(t, "udp", addr, question("Example.com.", dns.TypeA))
	if len(in.Answer) != 1 || in.Authoritative || !in.RecursionAvailable || in.Question[0].Name != "Example.com." || in.IsEdns0() != nil {
		t.Errorf("got %v", in)
	}
	in = query(t, "udp", addr, question("9.9.9.9.in-addr.arpa.", dns.TypePTR))
	if in.Rcode != dns.RcodeSuccess {
		t.Errorf("a reverse name of somebody else's: %v", in)
	}
	query(t, "udp", addr, question("9.9.96.10.in-addr.arpa.", dns.TypePTR))
	query(t, "udp", addr, question("nope.default.svc.cluster.local.", dns.TypeA))
	want := []string{"udp Example.com.", "udp 9.9.9.9.in-addr.arpa."}
	if d := cmp.Diff(want, up.questions()); d != "" {
		t.Errorf("questions that left the cluster (-want +got): %s", d)
	}
}

func TestAliasIsChased(t *testing.T) {
	up := startUpstream(t, func(_ string, q *dns.Msg) *dns.Msg { return answerA(q, "93.184.216.34") })
	addr := startServer(t, ServerConfig{Source: fixedSource{testZone(t)}, Upstreams: StaticUpstreams(up.addr)})
	in := query(t, "udp", addr, question("ext.default.svc.cluster.local.", dns.TypeA))
	var got []string
	for _, rr := range in.Answer {
		got = append(got, strings.Join(strings.Fields(rr.String()), " "))
	}
	want := []string{"ext.default.svc.cluster.local. 30 IN CNAME www.example.com.", "www.example.com. 60 IN A 93.184.216.34"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestAliasWithoutUpstreamIsGivenAsFailure(t *testing.T) {
	addr := startServer(t, ServerConfig{Source: fixedSource{testZone(t)}})
	in := query(t, "udp", addr, question("ext.default.svc.cluster.local.", dns.TypeA))
	if in.Rcode == dns.RcodeSuccess || len(in.Answer) != 1 {
		t.Errorf("got %v", in)
	}
	in = query(t, "udp", addr, question("ext.default.svc.cluster.local.", dns.TypeCNAME))
	if in.Rcode != dns.RcodeSuccess || len(in.Answer) != 1 {
		t.Errorf("the alias itself needs no upstream: %v", in)
	}
}

func TestTruncatedUpstreamIsAskedOverTCP(t *testing.T) {
	up := startUpstream(t, func(network string, q *dns.Msg) *dns.Msg {
		m := answerA(q, "192.0.2.1")
		if network == "udp" {
			m.Answer, m.Truncated = nil, true
		}
		return m
	})
	addr := startServer(t, ServerConfig{Source: fixedSource{testZone(t)}, Upstreams: StaticUpstreams(up.addr)})
	in := query(t, "udp", addr, question("example.com.", dns.TypeA))
	if in.Truncated || len(in.Answer) != 1 {
		t.Errorf("got %v", in)
	}
	if d := cmp.Diff([]string{"udp example.com.", "tcp example.com."}, up.questions()); d != "" {
		t.Error(d)
	}
}

func TestSecondUpstreamAnswers(t *testing.T) {
	good := func(_ string, q *dns.Msg) *dns.Msg { return answerA(q, "192.0.2.2") }
	for what, first := range map[string]netip.AddrPort{
		"the first is silent": deadUpstream(t),
		"the first is closed": netip.MustParseAddrPort("127.0.0.1:1"),
		"the first fails": startUpstream(t, func(_ string, q *dns.Msg) *dns.Msg {
			return new(dns.Msg).SetRcode(q, dns.RcodeServerFailure)
		}).addr,
		"the first lies about the id": startUpstream(t, func(_ string, q *dns.Msg) *dns.Msg {
			m := answerA(q, "6.6.6.6")
			m.Id++
			return m
		}).addr,
		"the first answers something else": startUpstream(t, func(_ string, q *dns.Msg) *dns.Msg {
			m := answerA(q, "6.6.6.6")
			m.Question[0].Name = "evil.example."
			return m
		}).addr,
	} {
		t.Run(what, func(t *testing.T) {
			second := startUpstream(t, good)
			addr := startServer(t, ServerConfig{Source: fixedSource{testZone(t)}, Upstreams: StaticUpstreams(first, second.addr)})
			start := time.Now()
			in := query(t, "udp", addr, question("example.com.", dns.TypeA))
			if len(in.Answer) != 1 || !strings.HasSuffix(in.Answer[0].String(), "192.0.2.2") {
				t.Errorf("got %v", in)
			}
			if took := time.Since(start); took > 3*time.Second {
				t.Errorf("took %v", took)
			}
		})
	}
}

func TestLieBeforeTheTruthIsSkipped(t *testing.T) {
	sent := make(chan struct{})
	up := startLiar(t, sent)
	addr := startServer(t, ServerConfig{Source: fixedSource{testZone(t)}, Upstreams: StaticUpstreams(up)})
	in := query(t, "udp", addr, question("example.com.", dns.TypeA))
	<-sent
	if len(in.Answer) != 1 || !strings.HasSuffix(in.Answer[0].String(), "192.0.2.1") {
		t.Errorf("got %v", in)
	}
}

func TestNobodyAnswersInTime(t *testing.T) {
	addr := startServer(t, ServerConfig{Source: fixedSource{testZone(t)}, Upstreams: StaticUpstreams(deadUpstream(t), deadUpstream(t))})
	start := time.Now()
	m := question("example.com.", dns.TypeA)
	m.SetEdns0(1232, false)
	in := query(t, "udp", addr, m)
	if in.Rcode != dns.RcodeServerFailure || len(in.IsEdns0().Option) != 1 {
		t.Errorf("got %v", in)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("took %v; resolvers in Pods have given up by then", took)
	}
}

func TestEqualQuestionsAreSentOnce(t *testing.T) {
	release := make(chan struct{})
	up := startUpstream(t, func(_ string, q *dns.Msg) *dns.Msg {
		<-release
		return answerA(q, "192.0.2.1")
	})
	addr := startServer(t, ServerConfig{Source: fixedSource{testZone(t)}, Upstreams: StaticUpstreams(up.addr)})
	var wg sync.WaitGroup
	for _, name := range []string{"example.com.", "EXAMPLE.com.", "example.COM."} {
		wg.Go(func() {
			c := &dns.Client{Timeout: deadline}
			in, _, err := c.Exchange(question(name, dns.TypeA), addr)
			if err != nil || len(in.Answer) != 1 || in.Question[0].Name != name {
				t.Errorf("%s: %v %v", name, in, err)
			}
		})
	}
	waitFor(t, func() bool { return len(up.questions()) > 0 })
	close(release)
	wg.Wait()
	// Equal questions are sent once only while the first one waits for its answer; a
	// question that came later was sent by itself.
	if n := len(up.questions()); n > 3 {
		t.Errorf("%d questions were sent for 3", n)
	}
}

func TestNeverForwardsToItself(t *testing.T) {
	f := newForwarder(StaticUpstreams(
		netip.MustParseAddrPort("172.30.0.11:53"), netip.MustParseAddrPort("127.0.0.1:5353"),
		netip.MustParseAddrPort("10.96.0.10:53"), netip.MustParseAddrPort("9.9.9.9:53"),
	), nil, []netip.AddrPort{
		netip.MustParseAddrPort("172.30.0.11:53"), netip.MustParseAddrPort("0.0.0.0:5353"), AddrPort(netip.MustParseAddr("10.96.0.10")),
	})
	want := []netip.AddrPort{netip.MustParseAddrPort("9.9.9.9:53")}
	if got := f.order(&group{}, time.Now()); len(got) != 1 || got[0] != want[0] {
		t.Errorf("order = %v, want %v", got, want)
	}
}

// startLoop makes an upstream that asks the server that asked it.
func startLoop(t *testing.T, ask func(q *dns.Msg) *dns.Msg) (*fakeUpstream, *atomic.Value) {
	t.Helper()
	self := &atomic.Value{}
	up := startUpstream(t, func(_ string, q *dns.Msg) *dns.Msg {
		addr, ok := self.Load().(string)
		if !ok {
			return nil
		}
		in, _, err := (&dns.Client{Timeout: deadline}).Exchange(ask(q), addr)
		if err != nil {
			return nil
		}
		in.Id = q.Id
		return in
	})
	return up, self
}

func TestForwardingLoopEnds(t *testing.T) {
	// The probes do not come through, so the loop is not seen.
	up, self := startLoop(t, func(q *dns.Msg) *dns.Msg { return question(q.Question[0].Name, dns.TypeA) })
	addr := startServer(t, ServerConfig{Source: fixedSource{testZone(t)}, Upstreams: StaticUpstreams(up.addr)})
	self.Store(addr)
	in := query(t, "udp", addr, question("example.com.", dns.TypeA))
	if in.Rcode != dns.RcodeServerFailure {
		t.Errorf("got %v", in)
	}
	if n := len(up.questions()); n > 20 {
		t.Errorf("the question went round %d times", n)
	}
}

func TestForwardingLoopIsFound(t *testing.T) {
	up, self := startLoop(t, func(q *dns.Msg) *dns.Msg { return question(q.Question[0].Name, q.Question[0].Qtype) })
	up.withProbes.Store(true)
	client := fake.NewClientset()
	settings, err := NewSettings(SettingsConfig{Domain: "cluster.local", Client: client})
	if err != nil {
		t.Fatal(err)
	}
	addr := startServer(t, ServerConfig{Source: fixedSource{testZone(t)}, Upstreams: StaticUpstreams(up.addr), Settings: settings})
	self.Store(addr)
	waitFor(t, func() bool {
		events, err := client.CoreV1().Events(ServiceNamespace).List(t.Context(), metav1.ListOptions{})
		return err == nil && len(events.Items) == 1 && events.Items[0].Reason == "DNSLoop" && strings.Contains(events.Items[0].Message, up.addr.String())
	})
	began, before := time.Now(), len(up.questions())
	in := query(t, "udp", addr, question("example.com.", dns.TypeA))
	if in.Rcode != dns.RcodeRefused || time.Since(began) > time.Second || len(up.questions()) != before {
		t.Errorf("after %s: %v", time.Since(began), in)
	}
}

func TestSilentUpstreamIsAskedLast(t *testing.T) {
	a, b := netip.MustParseAddrPort("192.0.2.1:53"), netip.MustParseAddrPort("192.0.2.2:53")
	f := newForwarder(StaticUpstreams(a, b), nil, nil)
	f.note(a, errNoAnswer, time.Second)
	now := time.Now()
	if got := f.order(&group{}, now); got[0] != b || got[1] != a {
		t.Errorf("right after: %v", got)
	}
	if got := f.order(&group{}, now.Add(failedFor+time.Second)); got[0] != a {
		t.Errorf("later: %v", got)
	}
	f.note(a, nil, time.Millisecond)
	if got := f.order(&group{}, now); got[0] != a {
		t.Errorf("after an answer: %v", got)
	}
}

func TestResolvConf(t *testing.T) {
	path := filepath.Join(t.TempDir(), "resolv.conf")
	if got := ResolvConf(path)(); len(got) != 0 {
		t.Errorf("a missing file gives %v", got)
	}
	if err := os.WriteFile(path, []byte("search a b\nnameserver 192.0.2.1\nnameserver 2001:db8::1\nnameserver nonsense\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	f := &resolvFile{path: path}
	want := []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:53"), netip.MustParseAddrPort("[2001:db8::1]:53")}
	same := func(a, b []netip.AddrPort) bool {
		return cmp.Equal(a, b, cmp.Comparer(func(x, y netip.AddrPort) bool { return x == y }))
	}
	if got := f.servers(); !same(got, want) {
		t.Errorf("got %v", got)
	}
	if err := os.WriteFile(path, []byte("nameserver 192.0.2.9\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	later := time.Now().Add(time.Hour)
	if err := os.Chtimes(path, later, later); err != nil {
		t.Fatal(err)
	}
	if got := f.servers(); !same(got, want) {
		t.Errorf("the file was read again at once: %v", got)
	}
	f.looked = f.looked.Add(-resolvConfEvery)
	if got := f.servers(); !same(got, []netip.AddrPort{netip.MustParseAddrPort("192.0.2.9:53")}) {
		t.Errorf("a change is not followed: %v", got)
	}
}
