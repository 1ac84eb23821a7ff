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
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// randomZone is a zone made from random objects, with the objects themselves.
type randomZone struct {
	snap     *Snapshot
	services map[string]*corev1.Service // by "<svc>.<ns>"
	slices   []*discoveryv1.EndpointSlice
	addrs    []netip.Addr
	rng      *rand.Rand
}

var (
	randomNamespaces = []string{"default", "shop", "empty"}
	randomServices   = []string{"web", "db", "api"}
	randomHosts      = []string{"h-0", "h-1"}
	randomPorts      = []string{"http/80/TCP", "http/81/TCP", "dns/53/UDP", "dns/53/TCP", "/9/SCTP"}
)

func pick[T any](rng *rand.Rand, from []T) T { return from[rng.IntN(len(from))] }

func (z *randomZone) addr(v4 bool) string {
	a := netip.AddrFrom4([4]byte{10, 244, 0, byte(z.rng.IntN(12))})
	if !v4 {
		a = netip.MustParseAddr(fmt.Sprintf("fd00:96::%x", z.rng.IntN(12)))
	}
	z.addrs = append(z.addrs, a)
	return a.String()
}

func (z *randomZone) ports() (out []string) {
	for range z.rng.IntN(4) {
		out = append(out, pick(z.rng, randomPorts))
	}
	return out
}

func (z *randomZone) service(namespace, name string) *corev1.Service {
	switch z.rng.IntN(7) {
	case 0, 1:
		return svc(namespace, name, "None", z.ports()...)
	case 2:
		target := pick(z.rng, []string{"www.example.com", "192.0.2.1", pick(z.rng, randomServices) + "." + pick(z.rng, randomNamespaces) + ".svc.cluster.local"})
		return externalName(namespace, name, target)
	case 3:
		return svc(namespace, name, z.addr(false), z.ports()...)
	case 4:
		return svc(namespace, name, z.addr(true)+","+z.addr(false), z.ports()...)
	}
	return svc(namespace, name, z.addr(true), z.ports()...)
}

func (z *randomZone) slice(namespace, name string, v4 bool) *discoveryv1.EndpointSlice {
	var endpoints []string
	for range z.rng.IntN(4) {
		e := z.addr(v4)
		if z.rng.IntN(2) == 0 {
			e += "=" + pick(z.rng, randomHosts)
		}
		if z.rng.IntN(4) == 0 {
			e = "!" + e
		}
		endpoints = append(endpoints, e)
	}
	s := eps(namespace, name, fmt.Sprintf("%s-%t", name, v4), z.ports(), endpoints...)
	if !v4 {
		s.AddressType = discoveryv1.AddressTypeIPv6
	}
	return s
}

func newRandomZone(t testing.TB, seed uint64) *randomZone {
	z := &randomZone{services: map[string]*corev1.Service{}, rng: rand.New(rand.NewPCG(seed, 8))}
	tab := newTable(t)
	tab.SetNamespace("empty")
	for _, namespace := range randomNamespaces[:2] {
		for _, name := range randomServices {
			if z.rng.IntN(8) == 0 {
				continue
			}
			s := z.service(namespace, name)
			z.services[name+"."+namespace] = s
			tab.SetService(s)
			for _, v4 := range []bool{true, false} {
				if z.rng.IntN(4) > 0 {
					slice := z.slice(namespace, name, v4)
					z.slices = append(z.slices, slice)
					tab.SetEndpointSlice(slice)
				}
			}
		}
	}
	tab.SetPod("default", "a", []netip.Addr{netip.MustParseAddr(z.addr(true))})
	tab.Configure(uint32(z.rng.IntN(60)), pick(z.rng, []PodMode{PodsInsecure, PodsVerified, PodsDisabled}))
	z.snap = tab.Commit()
	return z
}

// question asks for a name that often exists, in some mixture of cases.
func (z *randomZone) question() Question {
	namespace := pick(z.rng, randomNamespaces[:2])
	if z.rng.IntN(6) == 0 {
		namespace = pick(z.rng, []string{"empty", "nowhere"})
	}
	service := pick(z.rng, randomServices) + "." + namespace + ".svc.cluster.local."
	addr := pick(z.rng, z.addrs)
	name := service
	switch z.rng.IntN(9) {
	case 0:
		name = pick(z.rng, []string{"h-0", "h-1", dashed(addr), "nobody"}) + "." + service
	case 1:
		name = "_" + pick(z.rng, []string{"http", "dns", "nope"}) + "._" + pick(z.rng, []string{"tcp", "udp"}) + "." + service
	case 2:
		name = "_" + pick(z.rng, []string{"tcp", "udp"}) + "." + service
	case 3:
		name = dashed(addr) + "." + namespace + ".pod.cluster.local."
	case 4:
		name, _ = dns.ReverseAddr(addr.String())
	case 5:
		name = pick(z.rng, []string{"", "ns.dns.", "dns.", "dns-version.", "svc.", "pod.", "default.svc.", "x.", "a.b.c.d.svc.", "www.example.com.shop.svc."}) + "cluster.local."
	case 6:
		name = pick(z.rng, []string{"244.10.in-addr.arpa.", "9.9.244.10.in-addr.arpa.", "1.2.0.192.in-addr.arpa.", "www.example.com.", "cluster.example."})
	}
	if z.rng.IntN(4) == 0 {
		name = strings.ToUpper(name)
	}
	types := wireTypes
	if z.rng.IntN(4) > 0 {
		types = []uint16{dns.TypeA, dns.TypeAAAA, dns.TypeSRV, dns.TypePTR}
	}
	return Question{Name: name, Type: pick(z.rng, types)}
}

// TestServedAndExplainedAnswersAgree asks random zones random questions: what AppendAnswer packs, what Lookup gives and
// what Explain gives is the same answer, the reasons name what is in it, and addresses are those that the objects have.
func TestServedAndExplainedAnswersAgree(t *testing.T) {
	packed, answered, foreign := 0, 0, 0
	for seed := range uint64(300) {
		z := newRandomZone(t, seed)
		for range 60 {
			q := z.question()
			if sameAnswer(t, z.snap, q, z.rng.Uint32()) == Packed {
				packed++
			}
			a, ours := z.snap.Lookup(q)
			e, explained := z.snap.Explain(q)
			reasons := e.Reasons
			e.Reasons = nil
			if d := cmp.Diff(a, e); d != "" || ours != explained {
				t.Fatalf("seed %d, %s: ours %t, explained %t (-Lookup +Explain): %s", seed, q, ours, explained, d)
			}
			if !ours {
				foreign++
				continue
			}
			if len(a.Answer) > 0 {
				answered++
			}
			z.checkReasons(t, seed, q, a, reasons)
			z.checkAddresses(t, seed, q, a)
		}
	}
	if packed < 5000 || answered < 1500 || foreign < 100 {
		t.Errorf("%d answers were packed, %d had records, %d were foreign: the questions test too little", packed, answered, foreign)
	}
}

// checkReasons holds the reasons against the answer they are for.
func (z *randomZone) checkReasons(t *testing.T, seed uint64, q Question, a Answer, reasons []Reason) {
	t.Helper()
	told := func(used bool, text string) bool {
		return slices.ContainsFunc(reasons, func(r Reason) bool {
			return r.Used == used && slices.Contains(strings.FieldsFunc(r.Subject+" "+r.Why, func(c rune) bool { return strings.ContainsRune(" ,()", c) }), text)
		})
	}
	fail := func(problem string) {
		t.Helper()
		t.Fatalf("seed %d, %s: %s\nanswer %v\nreasons %v", seed, q, problem, a.Answer, reasons)
	}
	if len(reasons) == 0 {
		fail("no reason")
	}
	negative := a.Rcode != dns.RcodeSuccess || len(a.Ns) > 0
	if hasUnused := slices.ContainsFunc(reasons, func(r Reason) bool { return !r.Used }); negative && !hasUnused {
		fail("a negative answer without a reason against")
	}
	if hasUsed := slices.ContainsFunc(reasons, func(r Reason) bool { return r.Used }); !negative && !hasUsed {
		fail("an answer without a reason for it")
	}
	for _, rr := range a.Answer {
		addr := addrOf(rr)
		if addr.IsValid() && !told(true, addr.String()) && !told(true, strings.ToUpper(dashed(addr))) && !told(true, dashed(addr)) {
			fail("no reason tells why " + addr.String() + " is in the answer")
		}
	}
}

func addrOf(rr dns.RR) netip.Addr {
	var addr netip.Addr
	switch rr := rr.(type) {
	case *dns.A:
		addr, _ = netip.AddrFromSlice(rr.A)
	case *dns.AAAA:
		addr, _ = netip.AddrFromSlice(rr.AAAA)
	}
	return addr
}

// checkAddresses compares the addresses of a Service, or of one of its hosts, with what its objects say, read anew.
func (z *randomZone) checkAddresses(t *testing.T, seed uint64, q Question, a Answer) {
	t.Helper()
	rel, in := strings.CutSuffix(strings.ToLower(q.Name), ".svc.cluster.local.")
	labels := strings.Split(rel, ".")
	if !in || len(labels) < 2 || len(labels) > 3 || strings.HasPrefix(rel, "_") || q.Type != dns.TypeA && q.Type != dns.TypeAAAA {
		return
	}
	key := strings.Join(labels[len(labels)-2:], ".")
	s := z.services[key]
	if s == nil || s.Spec.Type == corev1.ServiceTypeExternalName {
		if len(labels) == 3 && len(a.Answer) > 0 || s == nil && a.Rcode != dns.RcodeNameError {
			t.Fatalf("seed %d, %s: %v", seed, q, a)
		}
		return
	}
	var texts []string
	switch {
	case len(labels) == 3:
		texts = z.ready(key, labels[0])
	case s.Spec.ClusterIP == corev1.ClusterIPNone:
		texts = z.ready(key, "")
	default:
		texts = s.Spec.ClusterIPs
	}
	want, rcode := map[string]bool{}, dns.RcodeNameError
	for _, text := range texts {
		rcode = dns.RcodeSuccess
		if addr := netip.MustParseAddr(text); addr.Is4() == (q.Type == dns.TypeA) {
			want[text] = true
		}
	}
	got := map[string]bool{}
	for _, rr := range a.Answer {
		got[addrOf(rr).String()] = true
	}
	if d := cmp.Diff(want, got); d != "" || a.Rcode != rcode || len(a.Answer) < len(want) {
		t.Fatalf("seed %d, %s: %s, want %s; addresses (-want +got): %s", seed, q, dns.RcodeToString[a.Rcode], dns.RcodeToString[rcode], d)
	}
}

// ready lists the addresses of a Service's ready endpoints, of those with a host name if one is given.
func (z *randomZone) ready(key, host string) (out []string) {
	for _, s := range z.slices {
		if s.Labels[discoveryv1.LabelServiceName]+"."+s.Namespace != key {
			continue
		}
		for _, e := range s.Endpoints {
			name := dashed(netip.MustParseAddr(e.Addresses[0]))
			if e.Hostname != nil {
				name = *e.Hostname
			}
			if (e.Conditions.Ready == nil || *e.Conditions.Ready) && (host == "" || host == name) {
				out = append(out, e.Addresses[0])
			}
		}
	}
	return out
}
