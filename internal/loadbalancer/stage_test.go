package loadbalancer

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"minato/internal/loadbalancer/announce"
	"minato/internal/loadbalancer/config"
)

// stage is a node's decider with everything around it, and no goroutine.
type stage struct {
	t testing.TB
	*decider
	announcer *fakeAnnouncer
	objects   *fakeObjects
	events    *fakeEvents
	reports   *fakeReports
	list      []*corev1.Node
	cfg       config.Config
	clock     time.Time
	view      announce.View
	touched   map[types.NamespacedName]struct{}
}

var defaultPoolOfTests = config.Pool{
	Name: "minato-default", Default: true, AutoAssign: true,
	Ranges: []config.Range{{First: netip.MustParseAddr("172.30.200.1"), Last: netip.MustParseAddr("172.30.207.255")}},
}

// newStage has the nodes of these names; self decides. Nothing was decided yet.
func newStage(t testing.TB, self string, nodes ...string) *stage {
	s := &stage{
		t: t, announcer: newFakeAnnouncer(), events: &fakeEvents{}, reports: &fakeReports{}, clock: time.Unix(1000, 0),
		objects: &fakeObjects{services: map[types.NamespacedName]*corev1.Service{}, slices: map[types.NamespacedName][]*discoveryv1.EndpointSlice{}},
		cfg:     config.Config{Pools: []config.Pool{defaultPoolOfTests}},
		touched: map[types.NamespacedName]struct{}{},
	}
	for i, name := range nodes {
		s.list = append(s.list, fakeNode(name, i))
	}
	s.decider = &decider{
		node: self, objects: s.objects, events: s.events, reports: s.reports, serves: Serves,
		nodes: func() []*corev1.Node { return s.list }, configuration: func() config.Config { return s.cfg },
		gateways: []netip.Addr{netip.MustParseAddr("172.30.0.1")}, interfaces: []string{"eth0"},
		now:     func() time.Time { return s.clock },
		uplinks: &uplinks{announcer: s.announcer, pins: t.TempDir() + "/announce"},
	}
	s.begin()
	return s
}

func fakeNode(name string, i int) *corev1.Node {
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID("uid-" + name), Labels: map[string]string{"name": name}},
		Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{
			{Type: corev1.NodeInternalIP, Address: fmt.Sprintf("172.30.0.%d", 11+i)}, {Type: corev1.NodeHostName, Address: name},
		}},
	}
}

// begin is what Run does at its start.
func (s *stage) begin() {
	s.t.Helper()
	group := &errgroup.Group{}
	ctx, cancel := context.WithCancel(context.Background())
	s.t.Cleanup(func() { cancel(); _ = group.Wait() })
	if err := s.start(ctx, group); err != nil {
		s.t.Logf("start: %v", err)
	}
	for key := range s.objects.services {
		s.touched[key] = struct{}{}
	}
}

// set stores a Service with port 80 at addresses, joined, with endpoints on nodes.
func (s *stage) set(name, addresses string, nodes []string, edits ...func(*corev1.Service)) {
	svc := loadBalancer(name, edits...)
	svc.UID, svc.Spec.ClusterIPs = types.UID("uid-"+name), []string{"10.96.0.1"}
	for _, ip := range strings.Fields(addresses) {
		svc.Status.LoadBalancer.Ingress = append(svc.Status.LoadBalancer.Ingress, corev1.LoadBalancerIngress{IP: ip})
	}
	s.objects.set(svc, nodes...)
	s.touched[key(name)] = struct{}{}
}

func (s *stage) remove(name string) {
	s.objects.remove(name)
	s.touched[key(name)] = struct{}{}
}

// changed decides about the Services that were set or removed.
func (s *stage) changed(conflicts ...announce.Conflict) error {
	n := noted{services: s.touched, conflicts: map[string]announce.Conflict{}}
	s.touched = map[types.NamespacedName]struct{}{}
	for i, c := range conflicts {
		n.conflicts[fmt.Sprint(i)] = c
	}
	return s.step(n)
}

// all decides about everything.
func (s *stage) all() error {
	n := noted{services: s.touched, all: true, view: s.view}
	s.touched = map[types.NamespacedName]struct{}{}
	return s.step(n)
}

func (s *stage) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// hears makes a view of who is alive: the node itself, and of the others those that are named.
func (s *stage) hears(alive ...string) {
	s.view = announce.View{Active: true, Self: true, Peers: map[string]bool{}}
	for _, n := range s.list {
		if n.Name != s.node {
			s.view.Peers[n.Name] = slices.Contains(alive, n.Name)
		}
	}
}

// passTo moves the clock to when something is due.
func (s *stage) passTo() {
	s.t.Helper()
	at := s.later()
	if at.IsZero() {
		s.t.Fatal("nothing is due")
	}
	s.clock = at
}

// wants compares what a Service has at the uplinks, wantOps the calls since the last time, and wantEvents what is part of
// each event.
func (s *stage) wants(name, want string) {
	s.t.Helper()
	if got := s.announcer.has(name); got != want {
		s.t.Errorf("%s has %q at the uplinks, want %q", name, got, want)
	}
}

func (s *stage) wantOps(want ...string) {
	s.t.Helper()
	if got := s.announcer.took(); !slices.Equal(got, want) {
		s.t.Errorf("calls\n %q, want\n %q", got, want)
	}
}

func (s *stage) wantEvents(name string, want ...string) {
	s.t.Helper()
	got := s.events.about(name)
	if !slices.EqualFunc(got, want, strings.Contains) {
		s.t.Errorf("events of %s\n %q, want\n %q", name, got, want)
	}
}

func TestNodeThatIsAwayCountsTheOthers(t *testing.T) {
	cut := announce.View{Active: true, Peers: map[string]bool{"b": false, "c": false}}
	whole := announce.View{Active: true, Self: true, Peers: map[string]bool{"b": true, "c": false}}
	for _, c := range []struct {
		node string
		view announce.View
		want bool
	}{
		{"a", announce.View{}, true}, {"b", announce.View{}, true},
		{"a", cut, false}, {"b", cut, true}, {"d", cut, true},
		{"a", whole, true}, {"b", whole, true}, {"c", whole, false}, {"d", whole, true},
	} {
		if got := heard("a", c.node, c.view); got != c.want {
			t.Errorf("node a, as of %+v: %s is heard: %v, want %v", c.view, c.node, got, c.want)
		}
	}
}
