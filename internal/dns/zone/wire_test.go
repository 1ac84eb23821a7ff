package zone

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
)

// wireZone has one of everything.
func wireZone(t testing.TB) *Snapshot {
	tab := newTable(t)
	tab.SetNamespace("empty")
	tab.SetService(svc("default", "web", "10.96.1.1,fd00:96::1", "http/80/TCP", "dns/53/UDP"))
	tab.SetService(svc("default", "bare", "10.96.1.2"))
	tab.SetService(svc("default", "db", "None"))
	tab.SetService(svc("default", "gone", "None"))
	tab.SetService(externalName("default", "ext", "www.example.com"))
	tab.SetService(externalName("default", "bad", "192.0.2.1"))
	tab.SetEndpointSlice(eps("default", "db", "db-1", []string{"sql/5432/TCP"}, "10.244.1.1=db-0", "10.244.1.2=db-1", "10.244.1.3", "!10.244.1.4=db-3"))
	tab.SetEndpointSlice(eps("default", "web", "web-1", []string{"http/80/TCP"}, "10.244.2.1", "10.244.1.3"))
	tab.SetPod("default", "a", []netip.Addr{netip.MustParseAddr("10.244.1.1")})
	return tab.Commit()
}

// appendAnswer asks for the packed answer; nil if there is none.
func appendAnswer(t testing.TB, s *Snapshot, q Question, limit int, rotate uint32) (*dns.Msg, Verdict) {
	t.Helper()
	m := new(dns.Msg).SetReply(new(dns.Msg).SetQuestion(q.Name, q.Type))
	buf, err := m.Pack()
	if err != nil {
		t.Skip("not a question")
	}
	before := slices.Clone(buf)
	out, verdict := s.AppendAnswer(buf, q, limit, rotate)
	if verdict != Packed {
		if !slices.Equal(out, before) {
			t.Fatalf("%s: the message changed without an answer", q)
		}
		return nil, verdict
	}
	if len(out) > limit {
		t.Fatalf("%s: %d bytes, the limit is %d", q, len(out), limit)
	}
	in := new(dns.Msg)
	if err := in.Unpack(out); err != nil {
		t.Fatalf("%s: %v", q, err)
	}
	return in, verdict
}

// sameAnswer compares the packed answer with Lookup's.
func sameAnswer(t testing.TB, s *Snapshot, q Question, rotate uint32) Verdict {
	t.Helper()
	in, verdict := appendAnswer(t, s, q, dns.MaxMsgSize, rotate)
	a, ours := s.Lookup(q)
	if ours != (verdict != Foreign) {
		t.Fatalf("%s: Lookup says ours=%t, AppendAnswer %d", q, ours, verdict)
	}
	if verdict != Packed {
		return verdict
	}
	records := func(rrs []dns.RR) []string {
		out := lines(rrs)
		for i := range out {
			out[i] = strings.ToLower(out[i])
		}
		slices.Sort(out)
		return out
	}
	if in.Rcode != a.Rcode || !in.Authoritative || a.Target != "" || len(a.Extra)+len(in.Extra) != 0 {
		t.Fatalf("%s: packed %v, Lookup %v", q, in, a)
	}
	if d := cmp.Diff(records(a.Answer), records(in.Answer)); d != "" {
		t.Fatalf("%s: answer (-Lookup +packed): %s", q, d)
	}
	if d := cmp.Diff(records(a.Ns), records(in.Ns)); d != "" {
		t.Fatalf("%s: authority (-Lookup +packed): %s", q, d)
	}
	return verdict
}

var wireTypes = []uint16{dns.TypeA, dns.TypeAAAA, dns.TypeSRV, dns.TypePTR, dns.TypeTXT, dns.TypeCNAME, dns.TypeSOA, dns.TypeNS, dns.TypeANY, dns.TypeMX}

func TestPackedAnswersAreLookups(t *testing.T) {
	s := wireZone(t)
	labels := []string{"web", "WEB", "bare", "db", "gone", "ext", "bad", "default", "empty", "svc", "pod", "db-0", "db-3", "10-244-1-3", "10-244-9-9", "_http", "_tcp", "_udp", "_sql", "ns", "dns", "dns-version", "nope"}
	bases := []string{"cluster.local.", "svc.cluster.local.", "default.svc.cluster.local.", "web.default.svc.CLUSTER.local.", "db.default.svc.cluster.local.", "_tcp.web.default.svc.cluster.local.", "_tcp.db.default.svc.cluster.local.", "default.pod.cluster.local.", "dns.cluster.local.", "example.com."}
	names := []string{
		"1.1.96.10.in-addr.arpa.", "9.9.96.10.IN-ADDR.arpa.", "96.10.in-addr.arpa.", "1.1.244.10.in-addr.arpa.", "3.1.244.10.in-addr.arpa.",
		"1.2.0.192.in-addr.arpa.", "in-addr.arpa.", "x.96.10.in-addr.arpa.", "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.6.9.0.0.0.0.d.f.ip6.arpa.",
		"2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.6.9.0.0.0.0.d.f.ip6.arpa.", "ip6.arpa.", ".",
	}
	for _, base := range bases {
		names = append(names, base)
		for _, l := range labels {
			names = append(names, l+"."+base)
		}
	}
	verdicts := map[Verdict]int{}
	for _, name := range names {
		for _, typ := range wireTypes {
			verdicts[sameAnswer(t, s, Question{Name: name, Type: typ}, rand.Uint32())]++
		}
	}
	for _, v := range []Verdict{Foreign, Unpacked, Packed} {
		if verdicts[v] == 0 {
			t.Errorf("no question had verdict %d", v)
		}
	}
	for _, name := range []string{"web.default.svc.cluster.local.", "db-0.db.default.svc.cluster.local.", "nope.default.svc.cluster.local.", "1.1.96.10.in-addr.arpa."} {
		typ := dns.TypeA
		if strings.HasSuffix(name, "arpa.") {
			typ = dns.TypePTR
		}
		if v := sameAnswer(t, s, Question{Name: name, Type: typ}, 0); v != Packed {
			t.Errorf("%s is not packed: %d", name, v)
		}
	}
}

func TestPackedAnswersKeepTheLimit(t *testing.T) {
	tab := newTable(t)
	tab.SetService(svc("default", "many", "None"))
	var addrs []string
	for i := range 200 {
		addrs = append(addrs, fmt.Sprintf("10.244.3.%d", i))
	}
	tab.SetEndpointSlice(eps("default", "many", "many-1", nil, addrs...))
	s := tab.Commit()
	for limit := 40; limit < 4000; limit += 7 {
		for _, name := range []string{"many.default.svc.cluster.local.", "nope.default.svc.cluster.local.", "9.9.96.10.in-addr.arpa.", "7.3.244.10.in-addr.arpa."} {
			appendAnswer(t, s, Question{Name: name, Type: dns.TypeA}, limit, 0)
			appendAnswer(t, s, Question{Name: name, Type: dns.TypePTR}, limit, 0)
		}
	}
}

func TestEveryAddressComesFirst(t *testing.T) {
	s := wireZone(t)
	first := map[string]int{}
	for i := range uint32(30) {
		in, _ := appendAnswer(t, s, Question{Name: "db.default.svc.cluster.local.", Type: dns.TypeA}, 512, i)
		first[in.Answer[0].String()]++
	}
	if len(first) != 3 {
		t.Errorf("first were %v", first)
	}
	for a, n := range first {
		if n != 10 {
			t.Errorf("%s came first %d times of 30", a, n)
		}
	}
}

func TestPodModes(t *testing.T) {
	tab := newTable(t)
	tab.SetNamespace("default")
	tab.SetNamespace("other")
	one, two := netip.MustParseAddr("10.244.1.1"), netip.MustParseAddr("10.244.1.2")
	tab.SetPod("default", "a", []netip.Addr{one})
	tab.SetPod("default", "b", []netip.Addr{one, two})
	for _, c := range []struct {
		mode  PodMode
		name  string
		rcode int
	}{
		{PodsInsecure, "10-244-9-9.default.pod", dns.RcodeSuccess},
		{PodsVerified, "10-244-1-1.default.pod", dns.RcodeSuccess},
		{PodsVerified, "10-244-1-1.DEFAULT.pod", dns.RcodeSuccess},
		{PodsVerified, "10-244-1-1.other.pod", dns.RcodeNameError},
		{PodsVerified, "10-244-9-9.default.pod", dns.RcodeNameError},
		{PodsDisabled, "10-244-1-1.default.pod", dns.RcodeNameError},
	} {
		tab.Configure(7, c.mode)
		q := Question{Name: c.name + ".cluster.local.", Type: dns.TypeA}
		a, _ := tab.Commit().Lookup(q)
		if a.Rcode != c.rcode {
			t.Errorf("mode %d, %s: %s", c.mode, c.name, dns.RcodeToString[a.Rcode])
		}
		for _, rr := range append(a.Answer, a.Ns...) {
			if rr.Header().Ttl != 7 {
				t.Errorf("the lifetime was set to 7: %s", rr)
			}
		}
		sameAnswer(t, tab.Snapshot(), q, 0)
	}
	for _, step := range []struct {
		do   func()
		want []string
	}{
		{func() { tab.DeletePod("default", "a") }, []string{"default"}},
		{func() { tab.SetPod("other", "c", []netip.Addr{one}) }, []string{"default", "other"}},
		{func() { tab.SetPod("default", "b", []netip.Addr{two}) }, []string{"other"}},
		{func() { tab.DeletePod("other", "c"); tab.DeletePod("other", "c") }, nil},
	} {
		step.do()
		if d := cmp.Diff(step.want, tab.Commit().Namespaces(one)); d != "" {
			t.Error(d)
		}
	}
}

func TestPackedAnswersDoNotAllocate(t *testing.T) {
	s := wireZone(t)
	for _, q := range []Question{
		{"web.default.svc.cluster.local.", dns.TypeA}, {"db.default.svc.cluster.local.", dns.TypeA},
		{"db-0.db.default.svc.cluster.local.", dns.TypeA}, {"www.example.com.default.svc.cluster.local.", dns.TypeA}, {"1.1.96.10.in-addr.arpa.", dns.TypePTR},
	} {
		msg, err := new(dns.Msg).SetReply(new(dns.Msg).SetQuestion(q.Name, q.Type)).Pack()
		if err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, len(msg), 1232)
		if n := testing.AllocsPerRun(100, func() {
			copy(buf, msg)
			if _, v := s.AppendAnswer(buf, q, 512, 3); v != Packed {
				t.Fatal(v)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", q, n)
		}
	}
}

func FuzzPackedAnswers(f *testing.F) {
	s := wireZone(f)
	for _, name := range []string{"web.default.svc.cluster.local.", "1.1.96.10.in-addr.arpa.", "_http._tcp.web.default.svc.cluster.local.", "10-1-2-3.default.pod.cluster.local."} {
		f.Add(name, dns.TypeA, uint32(1))
		f.Add(name, dns.TypePTR, uint32(7))
	}
	f.Fuzz(func(t *testing.T, name string, typ uint16, rotate uint32) {
		if strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune(`\"();@`, r) }) {
			return
		}
		if _, ok := dns.IsDomainName(name); !ok || !dns.IsFqdn(name) {
			return
		}
		sameAnswer(t, s, Question{Name: name, Type: typ}, rotate)
	})
}

func BenchmarkPackedAnswer(b *testing.B) {
	snap := wireZone(b)
	for name, q := range map[string]Question{
		"address": {Name: "web.default.svc.cluster.local.", Type: dns.TypeA},
		"no name": {Name: "nobody.default.svc.cluster.local.", Type: dns.TypeA},
		"reverse": {Name: "1.1.96.10.in-addr.arpa.", Type: dns.TypePTR},
	} {
		msg, err := new(dns.Msg).SetReply(new(dns.Msg).SetQuestion(q.Name, q.Type)).Pack()
		if err != nil {
			b.Fatal(err)
		}
		buf := make([]byte, len(msg), 512)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				snap.AppendAnswer(append(buf[:0], msg...), q, 512, 0)
			}
		})
	}
}
