package zone

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

func answerLines(t testing.TB, s *Snapshot, name, typ string) []string {
	t.Helper()
	a, _ := ask(t, s, name, typ)
	if a.Rcode != dns.RcodeSuccess {
		return []string{dns.RcodeToString[a.Rcode]}
	}
	return lines(a.Answer)
}

func TestSnapshotsDoNotChange(t *testing.T) {
	tab := newTable(t)
	tab.SetService(svc("default", "web", "10.96.1.1"))
	before := tab.Commit()
	tab.SetService(svc("default", "web", "10.96.1.2"))
	if got := answerLines(t, tab.Snapshot(), "web.default.svc.cluster.local.", "A"); got[0] != "web.default.svc.cluster.local. 30 IN A 10.96.1.1" {
		t.Errorf("a change shows before Commit: %v", got)
	}
	after := tab.Commit()
	if got := answerLines(t, before, "web.default.svc.cluster.local.", "A"); got[0] != "web.default.svc.cluster.local. 30 IN A 10.96.1.1" {
		t.Errorf("the old snapshot changed: %v", got)
	}
	if got := answerLines(t, after, "web.default.svc.cluster.local.", "A"); got[0] != "web.default.svc.cluster.local. 30 IN A 10.96.1.2" {
		t.Errorf("the new snapshot did not: %v", got)
	}
	if after.Serial() <= before.Serial() {
		t.Errorf("serial went from %d to %d", before.Serial(), after.Serial())
	}
}

func TestServiceChangesKind(t *testing.T) {
	tab := newTable(t)
	const name = "x.default.svc.cluster.local."
	tab.SetEndpointSlice(eps("default", "x", "x-1", []string{"p/1/TCP"}, "10.244.0.1=a")) // the slice may come first
	tab.SetService(svc("default", "x", "10.96.1.1", "p/1/TCP"))
	s := tab.Commit()
	check := func(want string) {
		t.Helper()
		if got := answerLines(t, s, name, "A"); len(got) != 1 || got[0] != want {
			t.Errorf("got %v, want %s", got, want)
		}
	}
	check(name + " 30 IN A 10.96.1.1")
	tab.SetService(svc("default", "x", "None", "p/1/TCP"))
	s = tab.Commit()
	check(name + " 30 IN A 10.244.0.1")
	if got := answerLines(t, s, "1.1.96.10.in-addr.arpa.", "PTR"); got[0] != "NXDOMAIN" {
		t.Errorf("the old cluster IP still points back: %v", got)
	}
	tab.SetService(externalName("default", "x", "example.org"))
	s = tab.Commit()
	check(name + " 30 IN CNAME example.org.")
	tab.DeleteService("default", "x")
	tab.DeleteService("default", "x")
	s = tab.Commit()
	check("NXDOMAIN")
	if got := answerLines(t, s, "default.svc.cluster.local.", "A"); got[0] != "NXDOMAIN" {
		t.Errorf("the namespace outlived its last Service: %v", got)
	}
}

func TestSliceMovesToAnotherService(t *testing.T) {
	tab := newTable(t)
	tab.SetService(svc("default", "a", "None"))
	tab.SetService(svc("default", "b", "None"))
	tab.SetEndpointSlice(eps("default", "a", "s", nil, "10.244.0.1"))
	tab.Commit()
	tab.SetEndpointSlice(eps("default", "b", "s", nil, "10.244.0.1"))
	s := tab.Commit()
	if got := answerLines(t, s, "a.default.svc.cluster.local.", "A"); got[0] != "NXDOMAIN" {
		t.Errorf("a: %v", got)
	}
	if got := answerLines(t, s, "b.default.svc.cluster.local.", "A"); got[0] != "b.default.svc.cluster.local. 30 IN A 10.244.0.1" {
		t.Errorf("b: %v", got)
	}
	tab.DeleteEndpointSlice("default", "s")
	tab.DeleteEndpointSlice("default", "s")
	if got := answerLines(t, tab.Commit(), "b.default.svc.cluster.local.", "A"); got[0] != "NXDOMAIN" {
		t.Errorf("b without its slice: %v", got)
	}
}

func TestHeadlessNamesWinTheReverse(t *testing.T) {
	tab := newTable(t)
	tab.SetService(svc("default", "all", "10.96.1.1"))
	tab.SetEndpointSlice(eps("default", "all", "all-1", nil, "10.244.0.1"))
	tab.SetService(svc("default", "h1", "None"))
	tab.SetEndpointSlice(eps("default", "h1", "h1-1", nil, "10.244.0.1=pod-0"))
	tab.SetService(svc("default", "h2", "None"))
	tab.SetEndpointSlice(eps("default", "h2", "h2-1", nil, "10.244.0.1"))
	s := tab.Commit()
	want := []string{
		"1.0.244.10.in-addr.arpa. 30 IN PTR 10-244-0-1.h2.default.svc.cluster.local.",
		"1.0.244.10.in-addr.arpa. 30 IN PTR pod-0.h1.default.svc.cluster.local.",
	}
	if d := cmp.Diff(want, answerLines(t, s, "1.0.244.10.in-addr.arpa.", "PTR")); d != "" {
		t.Error(d)
	}
	tab.DeleteService("default", "h1")
	tab.DeleteService("default", "h2")
	s = tab.Commit()
	want = []string{"1.0.244.10.in-addr.arpa. 30 IN PTR 10-244-0-1.all.default.svc.cluster.local."}
	if d := cmp.Diff(want, answerLines(t, s, "1.0.244.10.in-addr.arpa.", "PTR")); d != "" {
		t.Error(d)
	}
}

func TestFQDNSlicesAndBadAddressesAreIgnored(t *testing.T) {
	tab := newTable(t)
	tab.SetService(svc("default", "h", "None"))
	fqdn := eps("default", "h", "f", nil, "example.com")
	fqdn.AddressType = discoveryv1.AddressTypeFQDN
	tab.SetEndpointSlice(fqdn)
	tab.SetEndpointSlice(eps("default", "h", "bad", nil, "not-an-address"))
	orphan := eps("default", "h", "orphan", nil, "10.244.0.9")
	orphan.Labels = nil
	tab.SetEndpointSlice(orphan)
	if got := answerLines(t, tab.Commit(), "h.default.svc.cluster.local.", "A"); got[0] != "NXDOMAIN" {
		t.Errorf("got %v", got)
	}
}

func TestNewRefusesBadDomains(t *testing.T) {
	for _, domain := range []string{"", ".", "a..b", "10.0.0.1", "a b"} {
		if _, err := New(Config{Domain: domain}); err == nil {
			t.Errorf("domain %q was accepted", domain)
		}
	}
	tab, err := New(Config{Domain: "Cluster.Example.", TTL: 5})
	if err != nil {
		t.Fatal(err)
	}
	if d := tab.Snapshot().Domain(); d != "cluster.example." {
		t.Errorf("domain = %s", d)
	}
}

// TestRandomChanges compares a table that lived through many changes with one
// made from the end state at once.
func TestRandomChanges(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	services := map[string]*corev1.Service{}
	slices := map[string]*discoveryv1.EndpointSlice{}
	tab := newTable(t)
	for step := range 3000 {
		name := fmt.Sprintf("s%d", rng.IntN(40))
		ns := fmt.Sprintf("ns%d", rng.IntN(3))
		id := ns + "/" + name
		switch rng.IntN(6) {
		case 0:
			services[id] = svc(ns, name, "None")
			tab.SetService(services[id])
		case 1:
			services[id] = svc(ns, name, fmt.Sprintf("10.96.0.%d", rng.IntN(250)))
			tab.SetService(services[id])
		case 2:
			delete(services, id)
			tab.DeleteService(ns, name)
		case 3, 4:
			slices[id] = eps(ns, name, name, []string{"p/1/TCP"},
				fmt.Sprintf("10.244.0.%d", rng.IntN(250)), fmt.Sprintf("10.244.1.%d=h", rng.IntN(250)), fmt.Sprintf("!10.244.2.%d", rng.IntN(250)))
			tab.SetEndpointSlice(slices[id])
		case 5:
			delete(slices, id)
			tab.DeleteEndpointSlice(ns, name)
		}
		if step%7 == 0 {
			tab.Commit()
		}
	}
	fresh := newTable(t)
	for _, s := range services {
		fresh.SetService(s)
	}
	for _, s := range slices {
		fresh.SetEndpointSlice(s)
	}
	got, want := tab.Commit(), fresh.Commit()
	if got.Services() != want.Services() || got.pointers.size != want.pointers.size || got.namespaces.size != want.namespaces.size {
		t.Fatalf("sizes: %d services, %d addresses, %d namespaces; want %d, %d, %d", got.Services(), got.pointers.size, got.namespaces.size,
			want.Services(), want.pointers.size, want.namespaces.size)
	}
	for ns := range 3 {
		for i := range 40 {
			name := fmt.Sprintf("s%d.ns%d.svc.cluster.local.", i, ns)
			if d := cmp.Diff(answerLines(t, want, name, "A"), answerLines(t, got, name, "A")); d != "" {
				t.Errorf("%s: %s", name, d)
			}
		}
	}
	want.pointers.each(func(k addrKey, p pointer) bool {
		q, _ := got.pointers.get(k)
		if d := cmp.Diff(p.names(), q.names()); d != "" {
			t.Errorf("%v: %s", k, d)
		}
		return true
	})
}

func TestReadersWhileWriting(t *testing.T) {
	tab := newTable(t)
	tab.SetService(svc("default", "web", "10.96.1.1"))
	tab.Commit()
	done := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if got := answerLines(t, tab.Snapshot(), "web.default.svc.cluster.local.", "A"); len(got) != 1 || got[0] == "NXDOMAIN" {
					t.Errorf("got %v", got)
					return
				}
			}
		})
	}
	for i := range 500 {
		tab.SetService(svc("default", fmt.Sprintf("s%d", i), fmt.Sprintf("10.96.2.%d", i%250)))
		tab.SetService(svc("default", "web", fmt.Sprintf("10.96.1.%d", i%250)))
		tab.Commit()
	}
	close(done)
	wg.Wait()
}

// collidingKey has only four hashes, so that chains and deep paths are walked.
type collidingKey int

func (k collidingKey) hash() uint64 {
	return []uint64{0, 1 << 62, 1<<62 | 1<<10, 0xffffffffffffffff}[k%4]
}
func (k collidingKey) equal(o collidingKey) bool { return k == o }

func TestPersistentMap(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	var m persistentMap[collidingKey, int]
	model := map[collidingKey]int{}
	for i := range 5000 {
		k := collidingKey(rng.IntN(24))
		if rng.IntN(2) == 0 {
			m = m.set(k, i)
			model[k] = i
		} else {
			old := m
			m = m.remove(k)
			if _, had := model[k]; had {
				if v, ok := old.get(k); !ok || v != model[k] {
					t.Fatal("remove changed the map it was called on")
				}
			}
			delete(model, k)
		}
		if m.size != len(model) {
			t.Fatalf("step %d: size %d, want %d", i, m.size, len(model))
		}
		seen := 0
		m.each(func(k collidingKey, v int) bool {
			seen++
			if model[k] != v {
				t.Fatalf("step %d: key %d is %d, want %d", i, k, v, model[k])
			}
			return true
		})
		if seen != len(model) {
			t.Fatalf("step %d: %d entries, want %d", i, seen, len(model))
		}
		for k, want := range model {
			if got, ok := m.get(k); !ok || got != want {
				t.Fatalf("step %d: get(%d) = %d, %t", i, k, got, ok)
			}
		}
	}
}

func FuzzLookup(f *testing.F) {
	snap := fixture(f)
	for _, s := range []string{"web.default.svc.cluster.local.", "..svc.cluster.local.", "_._.x.y.svc.cluster.local.", "_a.._tcp.a.b.svc.cluster.local.",
		"1.2.3.4.in-addr.arpa.", ".in-addr.arpa.", "0.ip6.arpa.", `\..cluster.local.`, "--.default.pod.cluster.local.", "", "."} {
		f.Add(s, dns.TypeA)
		f.Add(s, dns.TypeSRV)
		f.Add(s, dns.TypePTR)
		f.Add(s, dns.TypeANY)
	}
	f.Fuzz(func(t *testing.T, name string, typ uint16) {
		q := Question{Name: name, Type: typ}
		a, ours := snap.Lookup(q)
		if !ours && (len(a.Answer) > 0 || a.Rcode != 0) {
			t.Errorf("%v is not ours but has an answer", q)
		}
		if ours && a.Rcode != dns.RcodeServerFailure && len(a.Answer) == 0 && len(a.Ns) == 0 {
			t.Errorf("%v: neither records nor SOA", q)
		}
		if e, eo := snap.Explain(q); eo != ours || e.Rcode != a.Rcode || len(e.Answer) != len(a.Answer) {
			t.Errorf("%v: Explain differs from Lookup", q)
		}
	})
}

func BenchmarkLookupClusterIP(b *testing.B) {
	tab := newTable(b)
	for i := range 10000 {
		tab.SetService(svc("default", fmt.Sprintf("s%d", i), fmt.Sprintf("10.96.%d.%d", i/250, i%250), "http/80/TCP"))
	}
	snap := tab.Commit()
	q := Question{Name: "s5000.default.svc.cluster.local.", Type: dns.TypeA}
	b.ReportAllocs()
	for b.Loop() {
		snap.Lookup(q)
	}
}

func BenchmarkCommitOneOfManyServices(b *testing.B) {
	tab := newTable(b)
	for i := range 10000 {
		tab.SetService(svc("default", fmt.Sprintf("s%d", i), fmt.Sprintf("10.96.%d.%d", i/250, i%250), "http/80/TCP"))
	}
	tab.Commit()
	changed := svc("default", "s5000", "10.96.200.200", "http/80/TCP")
	b.ReportAllocs()
	for b.Loop() {
		tab.SetService(changed)
		tab.Commit()
	}
}
