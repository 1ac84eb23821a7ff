package pool

import (
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// ledger is one of the world, that has decided.
func (w *world) ledger() *Ledger {
	l := NewLedger(w.pools)
	for _, s := range w.services {
		l.Set(s)
	}
	l.Settle()
	return l
}

// usage counts plainly what the Services use.
func (w *world) usage(decisions map[types.NamespacedName]Decision) map[string]PoolUsage {
	out := map[string]PoolUsage{}
	for name, s := range newSpaces(w.pools).byName {
		out[name] = PoolUsage{TotalIPv4: s.v4.size(), TotalIPv6: s.v6.size()}
	}
	seen := map[netip.Addr]bool{}
	for _, d := range decisions {
		if len(d.Addresses) == 0 {
			continue
		}
		u := out[d.Pool]
		u.Services++
		for _, a := range d.Addresses {
			switch {
			case seen[a]:
			case familyOf(a) == corev1.IPv4Protocol:
				u.AssignedIPv4++
			default:
				u.AssignedIPv6++
			}
			seen[a] = true
		}
		out[d.Pool] = u
	}
	for name, u := range out {
		u.AvailableIPv4, u.AvailableIPv6 = u.TotalIPv4-u.AssignedIPv4, u.TotalIPv6-u.AssignedIPv6
		out[name] = u
	}
	return out
}

// servable changes a Service so that there is nearly always an address for it.
func (w *world) servable(s *Service) {
	s.Invalid, s.Requested, s.Current = "", nil, nil
	if len(s.Families) == 0 {
		s.Families = v4Only
	}
	if len(s.Families) == 1 {
		s.Policy = ""
	}
	if s.RequestedPool != "" {
		s.RequestedPool = "b"
	}
	few := func() netip.Addr { return netip.AddrFrom4([4]byte{10, 2, 0, byte(w.IntN(40))}) }
	if slices.Contains(s.wanted(), corev1.IPv4Protocol) {
		switch w.IntN(6) {
		case 0:
			s.Requested = []netip.Addr{few()}
		case 1, 2:
			s.Current = []netip.Addr{few()}
		}
	}
}

// vary is one event or several at once; it returns whom they concern.
func (w *world) vary(l *Ledger, step int, ample bool) map[types.NamespacedName]bool {
	concerned := map[types.NamespacedName]bool{}
	for range 1 + w.IntN(3) {
		i := w.IntN(len(w.services) + 1)
		switch {
		case i == len(w.services) || w.IntN(3) == 0:
			s := w.service(50 + step*10 + len(concerned))
			if slices.ContainsFunc(w.services, func(o Service) bool { return o.Key == s.Key }) {
				continue
			}
			if ample {
				w.servable(&s)
			}
			w.services = append(w.services, s)
			l.Set(s)
			concerned[s.Key] = true
		case w.IntN(2) == 0:
			key := w.services[i].Key
			w.services = slices.Delete(w.services, i, i+1)
			l.Remove(key)
			concerned[key] = true
		default:
			s := w.service(i)
			s.Key, s.Created = w.services[i].Key, w.services[i].Created
			if ample {
				w.servable(&s)
			}
			s.Current = w.services[i].Current
			w.services[i] = s
			l.Set(s)
			concerned[s.Key] = true
		}
	}
	return concerned
}

// However Services come, change and go, what is remembered leads to the same as deciding about all of them anew.
func TestLedgerDecidesAsAllocate(t *testing.T) {
	alone, steps := 0, 0
	eachWorld(t, func(t *testing.T, w *world) {
		ample := w.IntN(4) > 0 // where nobody waits, the others need not be looked at
		if ample {
			w.pools = large()
			for i := range w.services {
				w.servable(&w.services[i])
			}
		}
		l := w.ledger()
		decided := Allocate(w.pools, w.services)
		w.remember(decided)
		for step := range 6 {
			concerned := w.vary(l, step, ample)
			got, want := l.Settle(), Allocate(w.pools, w.services)
			steps++
			if len(got) <= len(concerned) && len(want) > len(concerned) {
				alone++
			}
			for key, d := range want {
				g, told := got[key]
				switch {
				case told && !reflect.DeepEqual(g, d):
					t.Errorf("%s: decided %+v\nwant %+v", key, g, d)
				case !told && concerned[key]:
					t.Errorf("%s: nothing was decided; want %+v", key, d)
				case !told && !slices.Equal(decided[key].Addresses, d.Addresses):
					t.Errorf("%s: stays as it was, %+v\nwant %+v", key, decided[key], d)
				}
			}
			for key := range got {
				if _, here := want[key]; !here {
					t.Errorf("%s: there is a decision about a Service that is gone", key)
				}
			}
			if got, want := l.Usage(), w.usage(want); !maps.Equal(got, want) {
				t.Errorf("usage %+v\nwant %+v", got, want)
			}
			decided = want
			w.remember(decided)
		}
	})
	if alone < steps/10 {
		t.Errorf("in %d of %d steps others were left alone; the test shows little", alone, steps)
	}
	t.Logf("others were left alone in %d of %d steps", alone, steps)
}

// A Service of the name of another that is gone asks for its address like everybody.
func TestLedgerForgetsWhoIsGone(t *testing.T) {
	l := NewLedger(large())
	one := svc("one")
	l.Set(one)
	first := l.Settle()[one.Key]
	l.Remove(one.Key)
	l.Set(one)
	if got := l.Settle()[one.Key]; got.Reason != Allocated || !slices.Equal(got.Addresses, first.Addresses) {
		t.Errorf("got %+v, want %s of %v", got, Allocated, first.Addresses)
	}
}
