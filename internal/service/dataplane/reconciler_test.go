package dataplane

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"minato/internal/service/route"
)

// fakeTable is a table that fails when told to, half-way through a batch.
type fakeTable[K, V comparable] struct {
	entries map[K]V
	fail    func() bool
	// after is called after every single change.
	after func()
	full  int
}

var errFake = errors.New("the kernel refused")

func (t *fakeTable[K, V]) put(keys []K, values []V) error {
	for i := range keys {
		if t.fail() {
			return errFake
		}
		if _, have := t.entries[keys[i]]; !have && t.full > 0 && len(t.entries) >= t.full {
			return errFake
		}
		t.entries[keys[i]] = values[i]
		t.after()
	}
	return nil
}

func (t *fakeTable[K, V]) remove(keys []K) error {
	for _, k := range keys {
		if t.fail() {
			return errFake
		}
		delete(t.entries, k)
		t.after()
	}
	return nil
}

func (t *fakeTable[K, V]) each(fn func(K, V)) error {
	for k, v := range maps.Clone(t.entries) {
		fn(k, v)
	}
	return nil
}

// fakeKernel is the tables.
type fakeKernel struct {
	t         *testing.T
	frontends fakeTable[frontendKey, frontend]
	slots     fakeTable[slotKey, slot]
	maglev    fakeTable[maglevKey, *maglevTable]
	backends  fakeTable[uint32, backend]
	ranges    fakeTable[sourceRange, uint32]
	failEvery int
	checked   int
}

func newFakeKernel(t *testing.T) *fakeKernel {
	k := &fakeKernel{t: t}
	fail := func() bool { return k.failEvery > 0 && rand.IntN(k.failEvery) == 0 }
	k.frontends = fakeTable[frontendKey, frontend]{entries: map[frontendKey]frontend{}, fail: fail, after: k.check}
	k.slots = fakeTable[slotKey, slot]{entries: map[slotKey]slot{}, fail: fail, after: k.check}
	k.maglev = fakeTable[maglevKey, *maglevTable]{entries: map[maglevKey]*maglevTable{}, fail: fail, after: k.check}
	k.backends = fakeTable[uint32, backend]{entries: map[uint32]backend{}, fail: fail, after: k.check}
	k.ranges = fakeTable[sourceRange, uint32]{entries: map[sourceRange]uint32{}, fail: fail, after: k.check}
	return k
}

func (k *fakeKernel) reconciler() *reconciler {
	return newReconciler(discard(), &k.frontends, &k.slots, &k.maglev, &k.backends, &k.ranges)
}

// check is what a packet relies on at every instant: each frontend that forwards has all its slots, and each slot a
// backend.
func (k *fakeKernel) check() {
	k.checked++
	for key, f := range k.frontends.entries {
		if f.Verdict != uint8(route.Forward) {
			continue
		}
		if f.Flags&flagConsistent != 0 {
			k.checkMaglev(key, f)
			continue
		}
		for i := range f.Count {
			s, ok := k.slots.entries[slotKey{Service: f.Service, Generation: f.Generation, Index: i | uint32(f.Set)<<31}]
			if !ok || s.Service != f.Service {
				k.t.Fatalf("frontend %+v lacks slot %d: %+v", key, i, f)
			}
			if b, ok := k.backends.entries[s.Backend]; !ok || b.ID != s.Backend {
				k.t.Fatalf("slot %d of frontend %+v lacks backend %d", i, key, s.Backend)
			}
		}
	}
}

// checkMaglev looks at the first places of a table only: there are many, and this is asked after every write.
func (k *fakeKernel) checkMaglev(key frontendKey, f frontend) {
	table := k.maglev.entries[maglevKey{Service: f.Service, Generation: f.Generation, Set: uint32(f.Set)}]
	if table == nil || len(table.backends) != int(f.Count) {
		k.t.Fatalf("frontend %+v lacks its table of %d places", key, f.Count)
	}
	for place, id := range table.backends[:64] {
		if b, ok := k.backends.entries[id]; !ok || b.ID != id {
			k.t.Fatalf("place %d of frontend %+v lacks backend %d", place, key, id)
		}
	}
}

// words tells what the frontends do, whatever the numbers.
func (k *fakeKernel) words() map[string]string {
	out := map[string]string{}
	for key, f := range k.frontends.entries {
		out[fmt.Sprintf("%s:%d/%s from %d", key.Addr.Addr(), key.Port.Number(), key.Proto, key.Scope)] =
			fmt.Sprint(f.Verdict, f.Flags, f.Affinity, dumpFrontend(key, f, k.slots.entries, k.backends.entries, visits{}).Backends, k.rangesOf(f))
	}
	return out
}

// rangesOf tells who may enter.
func (k *fakeKernel) rangesOf(f frontend) []string {
	var out []string
	for r := range k.ranges.entries {
		if r.Service == f.Service && f.Flags&flagRestricted != 0 {
			out = append(out, r.Range().String())
		}
	}
	slices.Sort(out)
	return out
}

// expect is the same for desired frontends that don't conflict.
func expect(desired map[types.NamespacedName][]route.Frontend) map[string]string {
	out := map[string]string{}
	for _, fs := range desired {
		for i := range fs {
			f := &fs[i]
			p, ok := protoOf(f.Protocol)
			if !ok {
				continue
			}
			entries := map[frontendKey]frontend{}
			addEntries(entries, f, p)
			for key, e := range entries {
				var backends []netip.AddrPort
				var ranges []string
				for _, r := range f.SourceRanges {
					ranges = append(ranges, r.String())
				}
				slices.Sort(ranges)
				if e.Count > 0 {
					for _, b := range f.Backends(route.Set(e.Set)) {
						backends = append(backends, b.Addr)
					}
				}
				out[fmt.Sprintf("%s:%d/%s from %d", key.Addr.Addr(), key.Port.Number(), key.Proto, key.Scope)] = fmt.Sprint(e.Verdict, e.Flags, e.Affinity, backends, ranges)
			}
		}
	}
	return out
}

func randomBackends(n int) []route.Backend {
	var out []route.Backend
	for i := range n {
		if rand.IntN(3) > 0 {
			out = append(out, route.Backend{Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 244, byte(i), 2}), 8080), Local: i == 0})
		}
	}
	return out
}

func randomService(i int) []route.Frontend {
	if rand.IntN(5) == 0 {
		return nil
	}
	var out []route.Frontend
	for _, p := range []corev1.Protocol{corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP} {
		if rand.IntN(3) == 0 {
			continue
		}
		b := randomBackends(4)
		fs := []route.Frontend{clusterIP(fmt.Sprint("s", i), fmt.Sprintf("10.96.0.%d", i+1), 80, p, b)}
		if rand.IntN(2) == 0 {
			np := nodePort(fmt.Sprint("s", i), uint16(30000+i), p, b)
			np.Local = randomBackends(1)
			np.Decisions[route.FromOutside] = route.Decision{Set: route.LocalSet}
			if len(np.Local) == 0 {
				np.Decisions[route.FromOutside].Verdict = route.Drop
			}
			fs[0].Local = np.Local
			fs = append(fs, np)
		}
		if rand.IntN(3) == 0 {
			lb := loadBalancer(fmt.Sprint("s", i), fmt.Sprintf("192.0.2.%d", i+1), 80, p, b, randomRanges()...)
			lb.Local = fs[0].Local
			fs = append(fs, lb)
		}
		if rand.IntN(8) == 0 {
			for i := range fs {
				if d := &fs[i].Decisions[route.FromOutside]; len(fs[i].Backends(d.Set)) > 0 && d.Verdict == route.Forward {
					d.Consistent = true
				}
			}
		}
		draining, affinity := randomBackends(4), time.Duration(rand.IntN(2))*time.Hour
		for i := range fs {
			fs[i].Draining, fs[i].Affinity = draining, affinity
		}
		out = append(out, fs...)
	}
	return out
}

// randomHostPorts are of a Pod, at an address of its own and at one that a Service may have too.
func randomHostPorts(i int) (out []route.Frontend) {
	if rand.IntN(3) == 0 {
		return nil
	}
	b := back(fmt.Sprintf("10.244.1.%d:%d", 20+i, 8080+rand.IntN(2)))
	for _, at := range []string{"172.30.0.11", fmt.Sprintf("192.0.2.%d", i+1)} {
		f := clusterIP("", at, 80, corev1.ProtocolTCP, b)
		f.Service, f.Kind, f.PortName = route.PodKey("default", fmt.Sprint("p", i)), route.HostPortKind, at
		if at == "172.30.0.11" {
			f.Port = uint16(8000 + i)
		}
		out = append(out, f)
	}
	return out
}

// withoutEvicted leaves out the Pods' frontends whose place a Service has.
func withoutEvicted(desired map[types.NamespacedName][]route.Frontend) map[types.NamespacedName][]route.Frontend {
	taken := map[string]bool{}
	at := func(f route.Frontend) string { return fmt.Sprint(f.Addr, f.Port, f.Protocol) }
	for key, fs := range desired {
		for _, f := range fs {
			taken[at(f)] = taken[at(f)] || !isPod(key)
		}
	}
	out := maps.Clone(desired)
	for key, fs := range out {
		if isPod(key) {
			out[key] = slices.DeleteFunc(slices.Clone(fs), func(f route.Frontend) bool { return taken[at(f)] })
		}
	}
	return out
}

func randomRanges() []string {
	all := []string{"172.30.0.0/16", "198.51.100.7/32", "0.0.0.0/0"}
	rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all[:rand.IntN(len(all)+1)]
}

// TestReconcilerRandomly changes Services while the kernel refuses one write in a few. Traffic must be served at every
// instant, and once the kernel is well again the tables must hold exactly what is desired.
func TestReconcilerRandomly(t *testing.T) {
	for round := range 200 {
		k := newFakeKernel(t)
		r := k.reconciler()
		desired := map[types.NamespacedName][]route.Frontend{}
		for range 60 {
			k.failEvery = []int{0, 3, 20}[rand.IntN(3)]
			change := map[types.NamespacedName][]route.Frontend{}
			for range 1 + rand.IntN(3) {
				i := rand.IntN(6)
				key := types.NamespacedName{Namespace: "default", Name: fmt.Sprint("s", i)}
				change[key] = randomService(i)
				desired[key] = change[key]
			}
			if i := rand.IntN(6); i < 3 {
				key := route.PodKey("default", fmt.Sprint("p", i))
				change[key] = randomHostPorts(i)
				desired[key] = change[key]
			}
			r.apply(change)
		}
		k.failEvery = 0
		for key, fs := range desired {
			if err := r.apply(map[types.NamespacedName][]route.Frontend{key: fs}); err != nil {
				t.Fatal(err)
			}
		}
		if diff := cmp.Diff(expect(withoutEvicted(desired)), k.words()); diff != "" {
			t.Fatalf("round %d (-want +got):\n%s", round, diff)
		}
		for key := range desired {
			if err := r.apply(map[types.NamespacedName][]route.Frontend{key: nil}); err != nil {
				t.Fatal(err)
			}
		}
		if len(k.frontends.entries)+len(k.slots.entries)+len(k.maglev.entries)+len(k.backends.entries)+len(k.ranges.entries)+len(r.services)+len(r.unsettled)+len(r.owners)+len(r.known)+len(r.ids) != 0 {
			t.Fatalf("round %d: left after all Services are gone: %d frontends, %d slots, %d backends; %d services, %d unsettled, %d owners, %d known, %d ids", round,
				len(k.frontends.entries), len(k.slots.entries), len(k.backends.entries), len(r.services), len(r.unsettled), len(r.owners), len(r.known), len(r.ids))
		}
	}
}

// TestReconcilerTakesOver runs over the tables of an earlier process.
func TestReconcilerTakesOver(t *testing.T) {
	for range 50 {
		k := newFakeKernel(t)
		desired := map[types.NamespacedName][]route.Frontend{}
		for process := range 4 {
			r := k.reconciler()
			if err := r.adopt(); err != nil {
				t.Fatal(err)
			}
			before := k.words()
			k.failEvery = 10
			for i := range 6 {
				key := types.NamespacedName{Namespace: "default", Name: fmt.Sprint("s", i)}
				if process == 0 || rand.IntN(2) == 0 {
					desired[key] = randomService(i)
				}
				for try := 0; r.apply(map[types.NamespacedName][]route.Frontend{key: desired[key]}) != nil; try++ {
					if try == 1000 {
						t.Fatalf("never applied: %v", desired[key])
					}
				}
			}
			k.failEvery = 0
			if err := r.sweep(); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(expect(desired), k.words()); diff != "" {
				t.Fatalf("process %d, before %v (-want +got):\n%s", process, before, diff)
			}
			backends := map[backendKey]bool{}
			for _, b := range k.backends.entries {
				backends[backendKey{Addr: b.Addr, Port: b.Port, Proto: b.Proto}] = true
			}
			if len(backends) != len(k.backends.entries) || len(backends) != len(r.known) {
				t.Fatalf("%d backends, %d different, %d known", len(k.backends.entries), len(backends), len(r.known))
			}
		}
	}
}

func TestReconcilerKeepsNumbersOverARestart(t *testing.T) {
	k := newFakeKernel(t)
	b := back(p1IP+":8080", p2IP+":8080")
	f := clusterIP("a", "10.96.1.1", 80, corev1.ProtocolTCP, b)
	number := func() (out frontend) {
		for key, f := range k.frontends.entries {
			if key.Scope == inside && !key.isMarker() {
				out = f
			}
		}
		return out
	}
	apply := func(r *reconciler, fs ...route.Frontend) {
		t.Helper()
		if err := r.apply(map[types.NamespacedName][]route.Frontend{f.Service: fs}); err != nil {
			t.Fatal(err)
		}
	}
	apply(k.reconciler(), f)
	first, backends := number(), maps.Clone(k.backends.entries)
	r := k.reconciler()
	if err := r.adopt(); err != nil {
		t.Fatal(err)
	}
	apply(r, f)
	if second := number(); second.Service != first.Service || second.Generation <= first.Generation {
		t.Errorf("numbers went from %+v to %+v", first, second)
	}
	if diff := cmp.Diff(backends, k.backends.entries); diff != "" {
		t.Errorf("backends changed: %s", diff)
	}
}

func TestReconcilerFirstOwnerWins(t *testing.T) {
	k := newFakeKernel(t)
	r := k.reconciler()
	a, b := clusterIP("a", "192.0.2.1", 80, corev1.ProtocolTCP, back(p1IP+":8080")), clusterIP("b", "192.0.2.1", 80, corev1.ProtocolTCP, back(p2IP+":8080"))
	for _, f := range []*route.Frontend{&a, &b} {
		f.Kind = route.ExternalIP
		if err := r.apply(map[types.NamespacedName][]route.Frontend{f.Service: {*f}}); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(expect(map[types.NamespacedName][]route.Frontend{a.Service: {a}}), k.words()); diff != "" {
		t.Errorf("with both (-want +got):\n%s", diff)
	}
	if err := r.apply(map[types.NamespacedName][]route.Frontend{a.Service: nil}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(expect(map[types.NamespacedName][]route.Frontend{b.Service: {b}}), k.words()); diff != "" {
		t.Errorf("after the first is gone (-want +got):\n%s", diff)
	}
}

// TestReconcilerHostPortGivesWay: a Service takes the place of a Pod's hostPort whoever came first, and gives it back.
func TestReconcilerHostPortGivesWay(t *testing.T) {
	k := newFakeKernel(t)
	r := k.reconciler()
	pod := clusterIP("", n1IP, 8080, corev1.ProtocolTCP, back(p1IP+":8080"))
	pod.Service, pod.Kind = route.PodKey("default", "web"), route.HostPortKind
	svc := clusterIP("web", n1IP, 8080, corev1.ProtocolTCP, back(p2IP+":8080"))
	svc.Kind = route.ExternalIP
	for _, c := range []struct {
		what string
		f    route.Frontend
		gone bool
		want route.Frontend
	}{
		{"the Pod", pod, false, pod}, {"a Service comes", svc, false, svc}, {"the Pod again", pod, false, svc},
		{"the Service goes", svc, true, pod}, {"it comes again", svc, false, svc}, {"the Pod goes", pod, true, svc},
		{"the Pod comes", pod, false, svc}, {"the Service goes again", svc, true, pod},
	} {
		desired := desiredOf(c.f)
		if c.gone {
			desired[c.f.Service] = nil
		}
		if err := r.apply(desired); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(expect(desiredOf(c.want)), k.words()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.what, diff)
		}
	}
	if !r.holds(pod.Service, []route.Frontend{pod}) {
		t.Error("the Pod's frontends are not in step")
	}
}

// TestReconcilerTouchesOnlyWhatChanged counts writes.
func TestReconcilerTouchesOnlyWhatChanged(t *testing.T) {
	k := newFakeKernel(t)
	r := k.reconciler()
	b := back(p1IP+":8080", p2IP+":8080")
	a := clusterIP("a", "10.96.1.1", 80, corev1.ProtocolTCP, b)
	apply := func(f route.Frontend) int {
		t.Helper()
		before := k.checked
		if err := r.apply(map[types.NamespacedName][]route.Frontend{f.Service: {f}}); err != nil {
			t.Fatal(err)
		}
		return k.checked - before
	}
	apply(clusterIP("other", "10.96.1.2", 80, corev1.ProtocolTCP, b))
	if n := apply(a); n != 2+3 {
		t.Errorf("a new Service of known backends took %d writes", n)
	}
	if n := apply(a); n != 0 {
		t.Errorf("no change took %d writes", n)
	}
	a.Affinity = time.Hour
	if n := apply(a); n != 4+2+2 {
		t.Errorf("a change of affinity took %d writes", n)
	}
	a.Cluster = b[:1]
	if n := apply(a); n != 2+2+4 {
		t.Errorf("one endpoint less took %d writes", n)
	}
}

func TestReconcilerSurvivesAFullTable(t *testing.T) {
	k := newFakeKernel(t)
	r := k.reconciler()
	k.slots.full = 3
	a := clusterIP("a", "10.96.1.1", 80, corev1.ProtocolTCP, back(p1IP+":8080", p2IP+":8080"))
	b := clusterIP("b", "10.96.1.2", 80, corev1.ProtocolTCP, back(p1IP+":8080", p2IP+":8080"))
	if err := r.apply(map[types.NamespacedName][]route.Frontend{a.Service: {a}}); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := r.apply(map[types.NamespacedName][]route.Frontend{b.Service: {b}}); !errors.Is(err, errFake) {
			t.Fatalf("error %v", err)
		}
	}
	if err := r.apply(map[types.NamespacedName][]route.Frontend{a.Service: nil}); err != nil {
		t.Fatal(err)
	}
	if err := r.apply(map[types.NamespacedName][]route.Frontend{b.Service: {b}}); err != nil {
		t.Fatal(err)
	}
}

// TestReconcilerLeavesRoomToOthers: a Service that does not fit takes no room from those that do, however often it is tried.
func TestReconcilerLeavesRoomToOthers(t *testing.T) {
	for what, limit := range map[string]func(*fakeKernel){
		"slots":    func(k *fakeKernel) { k.slots.full = 6 },
		"backends": func(k *fakeKernel) { k.backends.full = 6 },
	} {
		k := newFakeKernel(t)
		r := k.reconciler()
		limit(k)
		var many []string
		for i := range 10 {
			many = append(many, fmt.Sprintf("10.244.2.%d:8080", i+2))
		}
		big := clusterIP("big", "10.96.1.1", 80, corev1.ProtocolTCP, back(many...))
		desired := map[types.NamespacedName][]route.Frontend{}
		for i := range 3 {
			for range 3 {
				if err := r.apply(desiredOf(big)); !errors.Is(err, errFake) {
					t.Fatalf("%s: error %v", what, err)
				}
			}
			small := clusterIP(fmt.Sprint("small", i), fmt.Sprintf("10.96.1.%d", i+2), 80, corev1.ProtocolTCP, back(fmt.Sprintf("10.244.1.%d:8080", i), fmt.Sprintf("10.244.1.%d:8081", i)))
			desired[small.Service] = []route.Frontend{small}
			if err := r.apply(desiredOf(small)); err != nil {
				t.Fatalf("%s: Service %d: %v", what, i, err)
			}
		}
		if diff := cmp.Diff(expect(desired), k.words()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
		big.Cluster = big.Cluster[:1]
		if err := r.apply(map[types.NamespacedName][]route.Frontend{{Namespace: "default", Name: "small0"}: nil}); err != nil {
			t.Fatal(err)
		}
		if err := r.apply(desiredOf(big)); err != nil {
			t.Errorf("%s: once it fits: %v", what, err)
		}
	}
}

// TestFullTableIsNamed has the kernel's own tables full.
func TestFullTableIsNamed(t *testing.T) {
	for table, limits := range map[string]Limits{"frontends": {Frontends: 2}, "slots": {Slots: 1}, "backends": {Backends: 1}} {
		r := newRigOf(t, limits)
		err := r.reconciler.apply(desiredOf(clusterIP("a", v4.vip(1), 80, corev1.ProtocolTCP, back(p1IP+":8080", p2IP+":8080"))))
		var full *FullError
		if !errors.As(err, &full) || full.FullTable() != table || full.Entries == 0 {
			t.Errorf("table %s: error %v", table, err)
		}
		if err := r.reconciler.apply(desiredOf(clusterIP("b", v4.vip(2), 80, corev1.ProtocolTCP, nil))); table != "frontends" && err != nil {
			t.Errorf("table %s: a Service that fits: %v", table, err)
		}
	}
}

func desiredOf(f route.Frontend) map[types.NamespacedName][]route.Frontend {
	return map[types.NamespacedName][]route.Frontend{f.Service: {f}}
}
