package loadbalancer

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/ptr"

	"minato/internal/loadbalancer/announce"
)

// fakeAnnouncer notes what it is told.
type fakeAnnouncer struct {
	mu       sync.Mutex
	ops      []string // in the order of the calls
	services map[string]announce.Service
	peers    []announce.Peer
	adopted  []netip.Addr // what an earlier process announced
	isOpen   bool
	// fail is asked before each call; what it returns is what the call returns.
	fail func(op string) error
	// running gets what Run is to return.
	running chan error
	onView  func(announce.View)
	onClaim func(announce.Conflict)
}

func newFakeAnnouncer() *fakeAnnouncer {
	return &fakeAnnouncer{services: map[string]announce.Service{}, running: make(chan error, 1)}
}

func (f *fakeAnnouncer) note(op string, needsOpen bool) error {
	f.ops = append(f.ops, op)
	if f.fail != nil {
		if err := f.fail(op); err != nil {
			return err
		}
	}
	if needsOpen && !f.isOpen {
		return errors.New("it is not open")
	}
	return nil
}

func (f *fakeAnnouncer) Open(context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	err := f.note("open", false)
	f.isOpen = err == nil
	return err
}

func (f *fakeAnnouncer) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.services, f.isOpen = map[string]announce.Service{}, false
	return f.note("close", false)
}

func (f *fakeAnnouncer) Run(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case err := <-f.running:
		return err
	}
}

func (f *fakeAnnouncer) Answered() ([]netip.Addr, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.adopted, f.note("answered", true)
}

// Apply is noted as "apply default/web 172.30.200.1? 172.30.200.2!>node-1,node-2", with ! for an address that is answered
// and ? for one that is asked for first, and > for nodes that get its flows.
func (f *fakeAnnouncer) Apply(key string, s announce.Service) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.note(strings.TrimSpace("apply "+key+" "+describe(s)), true); err != nil {
		return err
	}
	if f.services[key] = s; len(s.Addresses) == 0 {
		delete(f.services, key)
	}
	return nil
}

func describe(s announce.Service) string {
	var out []string
	for _, a := range s.Addresses {
		text := a.Addr.String()
		if a.Probe {
			text += "?"
		}
		if a.Answer {
			text += "!" + strings.Join(a.Links, "+")
		}
		for _, sp := range s.Spread {
			if sp.Addr == a.Addr {
				text += ">" + strings.Join(sp.Table.Nodes, ",")
			}
		}
		out = append(out, text)
	}
	return strings.Join(out, " ")
}

func (f *fakeAnnouncer) SetPeers(peers []announce.Peer) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	var names []string
	for _, p := range peers {
		names = append(names, p.Name)
	}
	f.peers = peers
	return f.note("peers "+strings.Join(names, ","), true)
}

func (f *fakeAnnouncer) Sweep() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.note("sweep", true)
}

func (f *fakeAnnouncer) Reannounce(addrs ...netip.Addr) {
	f.mu.Lock()
	defer f.mu.Unlock()
	_ = f.note(fmt.Sprintf("reannounce %v", addrs), true)
}

// Counters has one request, two answers and so on for each address that is answered.
func (f *fakeAnnouncer) Counters() ([]announce.Counters, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.isOpen {
		return nil, errors.New("it is not open")
	}
	var out []announce.Counters
	for _, s := range f.services {
		for _, a := range s.Addresses {
			if a.Answer {
				out = append(out, announce.Counters{Addr: a.Addr, Requests: 1, Replies: 2, Gratuitous: 3, HandedOn: 4, Seconds: 5})
			}
		}
	}
	return out, nil
}

// took returns the calls since the last time.
func (f *fakeAnnouncer) took() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := f.ops
	f.ops = nil
	return out
}

// has describes what a Service of namespace default has.
func (f *fakeAnnouncer) has(name string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return describe(f.services["default/"+name])
}

func (f *fakeAnnouncer) open() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.isOpen
}

// fakeObjects are Services with their slices.
type fakeObjects struct {
	mu       sync.Mutex
	services map[types.NamespacedName]*corev1.Service
	slices   map[types.NamespacedName][]*discoveryv1.EndpointSlice
	changed  func(types.NamespacedName, time.Time)
}

type alreadySynced struct{}

func (alreadySynced) Name() string { return "" }
func (alreadySynced) Done() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

func (f *fakeObjects) Follow(changed func(types.NamespacedName, time.Time)) ([]cache.DoneChecker, func(), error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.changed = changed
	for key := range f.services {
		changed(key, time.Time{})
	}
	return []cache.DoneChecker{alreadySynced{}}, func() {}, nil
}

func (f *fakeObjects) Service(key types.NamespacedName) (*corev1.Service, []*discoveryv1.EndpointSlice) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.services[key], f.slices[key]
}

// set stores a Service with endpoints on nodes; "-node-1" is one whose endpoints are terminating.
func (f *fakeObjects) set(s *corev1.Service, nodes ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	slice := &discoveryv1.EndpointSlice{
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: ptr.To("http"), Port: ptr.To[int32](8080)}},
	}
	for i, node := range nodes {
		name, terminating := strings.CutPrefix(node, "-")
		slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{
			Addresses: []string{fmt.Sprintf("10.244.0.%d", i+1)}, NodeName: &name,
			Conditions: discoveryv1.EndpointConditions{Ready: ptr.To(!terminating), Serving: ptr.To(true), Terminating: &terminating},
		})
	}
	f.services[keyOf(s)], f.slices[keyOf(s)] = s, []*discoveryv1.EndpointSlice{slice}
}

func (f *fakeObjects) remove(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.services, key(name))
	delete(f.slices, key(name))
}

// fakeReports are the reports that are wanted, as "node/web [eth0]".
type fakeReports struct {
	mu    sync.Mutex
	wants map[string]*report
	calls int
	done  bool
}

func (f *fakeReports) begin(string, string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.wants, f.done = map[string]*report{}, false
}

func (f *fakeReports) want(_, node string, service types.NamespacedName, r *report) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls++
	if f.wants[node+"/"+service.Name] = r; r == nil {
		delete(f.wants, node+"/"+service.Name)
	}
}

func (f *fakeReports) settled(string, string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.done = true
}

func (f *fakeReports) names() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return strings.Join(slices.Sorted(maps.Keys(f.wants)), " ")
}
