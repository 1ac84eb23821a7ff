package pool

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"minato/internal/loadbalancer/config"
)

// world is a random snapshot: few addresses for many Services, so that everything collides.
type world struct {
	*rand.Rand
	pools    []config.Pool
	services []Service
}

func newWorld(seed uint64) *world {
	w := &world{Rand: rand.New(rand.NewPCG(seed, 1))}
	w.newPools()
	for i := range w.IntN(14) {
		w.services = append(w.services, w.service(i))
	}
	return w
}

func (w *world) newPools() {
	w.pools = nil
	for i := range w.IntN(4) {
		w.pools = append(w.pools, w.pool(string(rune('a'+i)), i))
	}
	if w.IntN(3) > 0 {
		p := w.pool("default", w.IntN(4)) // its ranges may be those of another pool
		p.Default, p.AutoAssign, p.Allocation = true, true, nil
		w.pools = append(w.pools, p)
	}
}

func (w *world) pool(name string, net int) config.Pool {
	p := config.Pool{Name: name, AutoAssign: w.IntN(4) > 0, AvoidBuggyIPs: w.IntN(3) == 0}
	if w.IntN(4) > 0 {
		first := netip.AddrFrom4([4]byte{10, 0, byte(net), 252 + byte(w.IntN(4))})
		p.Ranges = append(p.Ranges, config.Range{First: first, Last: w.beyond(first)})
	}
	if w.IntN(2) > 0 {
		first := netip.AddrFrom16([16]byte{0: 0xfd, 13: byte(net), 15: byte(w.IntN(3))})
		p.Ranges = append(p.Ranges, config.Range{First: first, Last: w.beyond(first)})
	}
	w.Shuffle(len(p.Ranges), func(i, j int) { p.Ranges[i], p.Ranges[j] = p.Ranges[j], p.Ranges[i] })
	if w.IntN(3) == 0 {
		p.Allocation = &config.Allocation{Priority: w.IntN(3)}
		if w.IntN(2) == 0 {
			p.Allocation.Namespaces = []string{w.namespace()}
		}
		if w.IntN(3) == 0 {
			p.Allocation.NamespaceSelectors = []labels.Selector{labels.SelectorFromSet(labels.Set{"n": "1"})}
		}
		if w.IntN(3) == 0 {
			p.Allocation.ServiceSelectors = []labels.Selector{labels.SelectorFromSet(labels.Set{"s": "1"})}
		}
	}
	return p
}

// beyond is up to two addresses further, in the same network of the test.
func (w *world) beyond(a netip.Addr) netip.Addr {
	for range w.IntN(3) {
		if buggy(a) && a.As4()[3] == 255 {
			return a
		}
		a = a.Next()
	}
	return a
}

func (w *world) namespace() string { return string(rune('x' + w.IntN(2))) }

func (w *world) address(f corev1.IPFamily) netip.Addr {
	if f == corev1.IPv4Protocol {
		return netip.AddrFrom4([4]byte{10, 0, byte(w.IntN(4)), 252 + byte(w.IntN(4))})
	}
	return netip.AddrFrom16([16]byte{0: 0xfd, 13: byte(w.IntN(4)), 15: byte(w.IntN(5))})
}

func (w *world) addresses(families []corev1.IPFamily) []netip.Addr {
	var out []netip.Addr
	for _, f := range families {
		if w.IntN(3) > 0 {
			out = append(out, w.address(f))
		}
	}
	return status(out)
}

func (w *world) service(i int) Service {
	s := Service{
		Key:      types.NamespacedName{Namespace: w.namespace(), Name: fmt.Sprintf("s%02d", i)},
		Families: [][]corev1.IPFamily{v4Only, v4Only, v6Only, v4First, v6First, nil}[w.IntN(6-min(1, w.IntN(8)))],
		Ports:    []Port{{corev1.ProtocolTCP, uint16(80 + w.IntN(3))}},
		Local:    w.IntN(4) == 0,
		Selector: labels.Set{"app": fmt.Sprint(w.IntN(2))},
	}
	s.Created = epoch.AddDate(0, 0, w.IntN(4))
	if w.IntN(3) == 0 {
		s.Ports = append(s.Ports, Port{corev1.ProtocolUDP, uint16(80 + w.IntN(3))})
	}
	if w.IntN(3) > 0 {
		s.SharingKey = string(rune('k' + w.IntN(2)))
	}
	if w.IntN(2) == 0 {
		s.Labels = labels.Set{"s": "1"}
	}
	if w.IntN(2) == 0 {
		s.NamespaceLabels = labels.Set{"n": "1"}
	}
	s.Policy = []corev1.IPFamilyPolicy{"", corev1.IPFamilyPolicyPreferDualStack, corev1.IPFamilyPolicyRequireDualStack}[w.IntN(3)]
	if w.IntN(2) == 0 {
		s.Current = w.addresses(v4First)
	}
	switch w.IntN(6) {
	case 0, 3:
		s.Requested = w.addresses(s.wanted())
	case 1:
		s.RequestedPool = string(rune('a' + w.IntN(4)))
	case 2:
		s.Invalid = "nonsense"
	}
	return s
}

func eachWorld(t *testing.T, f func(*testing.T, *world)) {
	t.Helper()
	n := uint64(4000)
	if testing.Short() {
		n = 400
	}
	for seed := range n {
		f(t, newWorld(seed))
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// reference is the rules once more, as plainly as can be, to judge decisions by.
type reference struct {
	*world
	decisions map[types.NamespacedName]Decision
}

func (r reference) owner(a netip.Addr) *config.Pool {
	var found *config.Pool
	for i := range r.pools {
		p := &r.pools[i]
		has := slices.ContainsFunc(p.Ranges, func(x config.Range) bool { return x.Contains(a) })
		if has && (found == nil || found.Default || !p.Default && p.Name < found.Name) {
			found = p
		}
	}
	if found != nil && found.AvoidBuggyIPs && buggy(a) {
		return nil
	}
	return found
}

func (r reference) admits(p *config.Pool, s *Service) bool {
	a := p.Allocation
	if a == nil {
		return true
	}
	ns := len(a.Namespaces)+len(a.NamespaceSelectors) == 0 || slices.Contains(a.Namespaces, s.Key.Namespace) ||
		len(a.NamespaceSelectors) > 0 && s.NamespaceLabels["n"] == "1"
	return ns && (len(a.ServiceSelectors) == 0 || s.Labels["s"] == "1")
}

func mayShare(a, b *Service) bool {
	if a.SharingKey == "" || a.SharingKey != b.SharingKey || a.Local != b.Local || a.Local && !maps.Equal(a.Selector, b.Selector) {
		return false
	}
	return !slices.ContainsFunc(a.Ports, func(p Port) bool { return slices.Contains(b.Ports, p) })
}

// open tells whether the Service could have an address besides those to whom the decisions give it.
func (r reference) open(s *Service, a netip.Addr) bool {
	for i := range r.services {
		o := &r.services[i]
		if o.Key != s.Key && slices.Contains(r.decisions[o.Key].Addresses, a) && !mayShare(s, o) {
			return false
		}
	}
	return true
}

// choices are the pools of which the Service may have an address at all, by itself or by its request.
func (r reference) choices(s *Service) []*config.Pool {
	var out []*config.Pool
	others := slices.ContainsFunc(r.pools, func(p config.Pool) bool { return !p.Default })
	for i := range r.pools {
		p := &r.pools[i]
		asked := s.RequestedPool == p.Name || len(s.Requested) > 0 && s.RequestedPool == ""
		unasked := s.RequestedPool == "" && p.AutoAssign && !(p.Default && others)
		if r.admits(p, s) && (asked || unasked) {
			out = append(out, p)
		}
	}
	return out
}

// available tells whether a pool has an address of a family that the Service could have now.
func (r reference) available(s *Service, p *config.Pool, f corev1.IPFamily) bool {
	asked := of(s.Requested, f)
	for _, x := range p.Ranges {
		if familyOf(x.First) != f {
			continue
		}
		for a := x.First; x.Contains(a); a = a.Next() {
			if r.owner(a) == p && r.open(s, a) && (!asked.IsValid() || a == asked) {
				return true
			}
		}
	}
	return false
}

// served tells whether some pool could serve the Service.
func (r reference) served(s *Service) bool {
	if s.Invalid != "" || len(s.Families) == 0 || s.requiresDual() && len(s.Families) < 2 {
		return false
	}
	for _, p := range r.choices(s) {
		n, asked := 0, true
		for _, f := range s.wanted() {
			ok := r.available(s, p, f)
			if ok {
				n++
			}
			asked = asked && (ok || !of(s.Requested, f).IsValid())
		}
		if asked && (n == len(s.wanted()) || n > 0 && s.prefersDual()) {
			return true
		}
	}
	return false
}

// judge checks decisions against the rules.
func (r reference) judge(t *testing.T) {
	t.Helper()
	for i := range r.services {
		s := &r.services[i]
		d, ok := r.decisions[s.Key]
		if !ok {
			t.Errorf("%s is lost", s.name())
		}
		explained(t, *s, d)
		if len(d.Addresses) == 0 {
			if r.served(s) {
				t.Errorf("%s is pending (%s) although it could be served", s.name(), d.Message)
			}
			continue
		}
		r.judgeAddresses(t, s, d)
	}
}

func (r reference) judgeAddresses(t *testing.T, s *Service, d Decision) {
	t.Helper()
	seen := map[corev1.IPFamily]bool{}
	for _, a := range d.Addresses {
		p := r.owner(a)
		if p == nil || p.Name != d.Pool || !r.admits(p, s) || s.RequestedPool != "" && s.RequestedPool != p.Name {
			t.Errorf("%s may not have %s of pool %q", s.name(), a, d.Pool)
		}
		if !r.open(s, a) {
			t.Errorf("%s has %s, and another one too", s.name(), a)
		}
		if seen[familyOf(a)] || !slices.Contains(s.wanted(), familyOf(a)) {
			t.Errorf("%s of families %v has %v", s.name(), s.Families, d.Addresses)
		}
		seen[familyOf(a)] = true
	}
	if !subset(s.Requested, d.Addresses) {
		t.Errorf("%s wants %v, and has %v", s.name(), s.Requested, d.Addresses)
	}
	missing := corev1.IPFamily("")
	for _, f := range s.wanted() {
		if !seen[f] {
			missing = f
		}
	}
	if missing != d.PendingFamily || missing != "" && !s.prefersDual() {
		t.Errorf("%s has %v, pending family %q", s.name(), d.Addresses, d.PendingFamily)
	}
	for i := range r.pools {
		if missing != "" && r.pools[i].Name == d.Pool && r.available(s, &r.pools[i], missing) {
			t.Errorf("%s lacks %s although pool %s has it", s.name(), missing, d.Pool)
		}
	}
}

func TestRulesHold(t *testing.T) {
	outcomes := map[string]int{}
	eachWorld(t, func(t *testing.T, w *world) {
		decisions := Allocate(w.pools, w.services)
		reference{w, decisions}.judge(t)
		for _, d := range decisions {
			outcomes[string(d.Reason)+string(d.Cause)]++
			if d.PendingFamily != "" {
				outcomes["pending"]++
			}
		}
	})
	for _, o := range []string{
		"IPAllocated", "IPKept", "pending", "LoadBalancerFailedInvalidRequest", "AllocationFailedNoPool", "AllocationFailedNoSuitablePool",
		"AllocationFailedNoAvailableIPs", "AllocationFailedUnknownPool", "AllocationFailedNotAllowed", "AllocationFailedNotCompatible",
		"AllocationFailedInUse", "AllocationFailedPortInUse", "AllocationFailedInvalidRequest", "AllocationFailedNoFamily",
	} {
		if outcomes[o] == 0 && !testing.Short() {
			t.Errorf("the test never reaches %s", o)
		}
	}
}

func TestOrderOfInputDoesNotMatter(t *testing.T) {
	eachWorld(t, func(t *testing.T, w *world) {
		first := Allocate(w.pools, w.services)
		pools, services := slices.Clone(w.pools), slices.Clone(w.services)
		w.Shuffle(len(pools), func(i, j int) { pools[i], pools[j] = pools[j], pools[i] })
		w.Shuffle(len(services), func(i, j int) { services[i], services[j] = services[j], services[i] })
		if second := Allocate(pools, services); !reflect.DeepEqual(first, second) {
			t.Errorf("got %+v\nthen %+v", first, second)
		}
	})
}

// A restart finds what was decided in the status of the Services.
func TestResultIsAFixpoint(t *testing.T) {
	eachWorld(t, func(t *testing.T, w *world) {
		first := Allocate(w.pools, w.services)
		w.remember(first)
		second := Allocate(w.pools, w.services)
		for key, d := range second {
			old := first[key]
			same := slices.Equal(d.Addresses, old.Addresses) && d.Pool == old.Pool && d.PendingFamily == old.PendingFamily
			if !same || d.Cleared != "" || d.Reason == Allocated {
				t.Errorf("%s: %+v\nthen %+v", key, old, d)
			}
		}
		w.remember(second)
		if third := Allocate(w.pools, w.services); !reflect.DeepEqual(second, third) {
			t.Errorf("got %+v\nthen %+v", second, third)
		}
	})
}

// remember lets the Services have what was decided.
func (w *world) remember(decisions map[types.NamespacedName]Decision) {
	for i := range w.services {
		w.services[i].Current = decisions[w.services[i].Key].Addresses
	}
}

// Over any sequence of events nobody's address changes but for a reason of its own: not when others come, go or ask for
// it, and not when pools appear. And what a deleted Service had is there for those who wait.
func TestEventsOfOthersMoveNobody(t *testing.T) {
	eachWorld(t, func(t *testing.T, w *world) {
		w.remember(Allocate(w.pools, w.services))
		for step := range 4 {
			switch {
			case w.IntN(2) == 0 || len(w.services) == 0:
				w.services = append(w.services, w.service(50+step))
				w.services[len(w.services)-1].Current = nil
			default:
				i := w.IntN(len(w.services))
				w.services = slices.Delete(w.services, i, i+1)
			}
			if w.IntN(4) == 0 {
				w.pools = append(w.pools, w.pool(fmt.Sprintf("new%d", step), 100+step))
			}
			decisions := Allocate(w.pools, w.services)
			for i := range w.services {
				if s := &w.services[i]; !subset(s.Current, decisions[s.Key].Addresses) {
					t.Errorf("%s had %v, and gets %+v", s.name(), s.Current, decisions[s.Key])
				}
			}
			reference{w, decisions}.judge(t)
			w.remember(decisions)
		}
	})
}

func TestInputIsNotChanged(t *testing.T) {
	eachWorld(t, func(t *testing.T, w *world) {
		pools, services := slices.Clone(w.pools), slices.Clone(w.services)
		for i := range services {
			services[i].Current = slices.Clone(services[i].Current)
			services[i].Requested = slices.Clone(services[i].Requested)
		}
		Allocate(w.pools, w.services)
		w.ledger().Usage()
		if !reflect.DeepEqual(pools, w.pools) || !reflect.DeepEqual(services, w.services) {
			t.Errorf("the input is changed")
		}
	})
}
