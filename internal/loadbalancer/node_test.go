package loadbalancer

import (
	"context"
	"errors"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"

	"minato/internal/loadbalancer/announce"
	"minato/internal/loadbalancer/pool"
)

// nodeRig is a Node that runs, in a cluster whose configuration is real and whose uplinks are not.
type nodeRig struct {
	*world
	node      *Node
	announcer *fakeAnnouncer
	objects   *fakeObjects
	events    *fakeEvents
	ended     chan error
	halt      context.CancelFunc
}

func newNodeRig(t *testing.T, self string, nodes ...string) *nodeRig {
	r := &nodeRig{world: newWorld(t), announcer: newFakeAnnouncer(), events: &fakeEvents{}}
	for i, name := range nodes {
		if _, err := r.api.CoreV1().Nodes().Create(t.Context(), fakeNode(name, i), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	r.world.start()
	r.objects = &fakeObjects{services: map[types.NamespacedName]*corev1.Service{}, slices: map[types.NamespacedName][]*discoveryv1.EndpointSlice{}}
	factory := informers.NewSharedInformerFactory(r.api, 0)
	factory.Core().V1().Nodes().Informer()
	factory.Start(t.Context().Done())
	var err error
	r.node, err = newNode(NodeConfig{
		Name: self, Uplinks: []string{"eth0"}, PinDir: t.TempDir() + "/announce", Objects: r.objects, Nodes: factory.Core().V1().Nodes(),
		Settings: r.settings, Serves: Serves, Events: r.events, Logger: r.settings.cfg.Logger,
	}, func(c announce.Config) (announcer, error) {
		r.announcer.onView, r.announcer.onClaim = c.OnView, c.OnConflict
		return r.announcer, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// run runs the Node until halt or the end of the test.
func (r *nodeRig) run() {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	r.ended, r.halt = ended, cancel
	go func() { ended <- r.node.Run(ctx) }()
	r.t.Cleanup(cancel)
}

// end waits for Run to return.
func (r *nodeRig) end() error {
	r.t.Helper()
	select {
	case err := <-r.ended:
		return err
	case <-time.After(deadline):
		r.t.Fatal("Run did not return")
		return nil
	}
}

// set stores a Service and tells of it, if somebody listens.
func (r *nodeRig) set(name, addr string, nodes ...string) {
	svc := loadBalancer(name)
	svc.Spec.ClusterIPs = []string{"10.96.0.1"}
	svc.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: addr}}
	r.objects.set(svc, nodes...)
	r.objects.mu.Lock()
	changed := r.objects.changed
	r.objects.mu.Unlock()
	if changed != nil {
		changed(key(name), time.Time{})
	}
}

func (r *nodeRig) wants(name, want string) {
	r.t.Helper()
	r.eventually(name+" as "+want, func() bool { return r.announcer.has(name) == want }, func() any { return r.announcer.has(name) })
}

func TestANodeFollowsItsCluster(t *testing.T) {
	r := newNodeRig(t, "node-1", threeNodes...)
	mine, theirs := addressFor(0, []string{"node-1"}, threeNodes...), addressFor(0, []string{"node-2", "node-1"}, threeNodes...)
	r.run()
	r.set("mine", mine, "node-1")
	r.wants("mine", mine+"!>node-1")
	r.set("theirs", theirs, "node-1", "node-2")
	r.eventually("the other one", func() bool { return strings.Contains(r.announcer.has("theirs"), theirs) }, func() any { return r.announcer.has("theirs") })
	r.announcer.onView(announce.View{Active: true, Self: true, Peers: map[string]bool{"node-2": false, "node-3": true}})
	r.eventually("the dead node's address", func() bool { return strings.HasSuffix(r.announcer.has("theirs"), "!>node-1") }, func() any { return r.announcer.has("theirs") })
	r.announcer.onClaim(claim(theirs, "node-2"))
	r.eventually("a yield", func() bool { return !strings.Contains(r.announcer.has("theirs"), "!") }, func() any { return r.announcer.has("theirs") })
	described, err := r.node.Explain(State{Services: []ServiceState{{
		Namespace: "default", Name: "theirs", Decision: pool.Decision{Addresses: []netip.Addr{netip.MustParseAddr(theirs)}, Pool: "minato-default"},
	}}})
	if err != nil || len(described) != 1 || described[0].Addresses[0].AnnouncedBy != "node-2" || !strings.Contains(described[0].Addresses[0].Message, "is heard to do so") {
		t.Errorf("explained %+v, %v", described, err)
	}
	if err := r.api.CoreV1().Nodes().Delete(t.Context(), "node-3", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	r.eventually("one peer less", func() bool { return slices.Contains(r.announcer.took(), "peers node-2") }, func() any { return "another call" })
	r.halt()
	if err := r.end(); err != nil || r.announcer.open() {
		t.Errorf("Run: %v, open %v", err, r.announcer.open())
	}
}

// The next Run keeps the addresses of a dead node until it has found out again that it is dead.
func TestANodeTakesOverWhatItLeft(t *testing.T) {
	r := newNodeRig(t, "node-1", threeNodes...)
	r.node.decider.uplinks.pins = t.TempDir()
	theirs := addressFor(0, []string{"node-2", "node-1"}, threeNodes...)
	r.announcer.adopted = []netip.Addr{netip.MustParseAddr(theirs)}
	r.set("theirs", theirs, "node-1")
	for range 2 { // a part that is started again
		r.run()
		r.eventually("an open announcer", r.announcer.open, func() any { return "none" })
		r.announcer.onView(announce.View{Active: true, Self: true, Peers: map[string]bool{"node-3": true}})
		r.announcer.onView(announce.View{Active: true, Self: true, Peers: map[string]bool{"node-3": true, "node-2": false}})
		r.wants("theirs", theirs+"!>node-1")
		for _, op := range r.announcer.took() {
			if strings.HasPrefix(op, "apply") && !strings.Contains(op, "!") {
				t.Errorf("the address was given away: %s", op)
			}
		}
		r.halt()
		if err := r.end(); err != nil {
			t.Fatal(err)
		}
	}
	if got := r.events.about("theirs"); len(got) > 0 {
		t.Errorf("events %q", got)
	}
}

// What is left does not stay as it is for ever if nothing is heard of who is alive.
func TestANodeDoesNotWaitForEver(t *testing.T) {
	r := newNodeRig(t, "node-1", threeNodes...)
	r.node.decider.uplinks.pins = t.TempDir()
	mine := addressFor(0, []string{"node-1"}, threeNodes...)
	r.set("mine", mine, "node-1")
	r.run()
	r.wants("mine", mine+"!>node-1")
}

// An announcer that fails ends Run, and the next Run begins anew, without what the old one told.
func TestAnAnnouncerThatFails(t *testing.T) {
	r := newNodeRig(t, "node-1", threeNodes...)
	theirs := addressFor(0, []string{"node-2", "node-1"}, threeNodes...)
	r.set("theirs", theirs, "node-1")
	r.run()
	r.wants("theirs", theirs+">node-1")
	r.announcer.onView(announce.View{Active: true, Self: true, Peers: map[string]bool{"node-2": false}})
	r.wants("theirs", theirs+"!>node-1")
	r.announcer.running <- errors.New("the socket broke")
	if err := r.end(); err == nil || !strings.Contains(err.Error(), "the socket broke") || r.announcer.open() {
		t.Errorf("Run: %v, open %v", err, r.announcer.open())
	}
	r.run()
	r.wants("theirs", theirs+">node-1")
}

// Without an answer from the API nothing is decided.
func TestANodeWaitsForTheConfiguration(t *testing.T) {
	r := newNodeRig(t, "node-1", "node-1")
	settings, err := NewSettings(SettingsConfig{Client: r.api, Dynamic: r.dynamic})
	if err != nil {
		t.Fatal(err)
	}
	r.node.cfg.Settings = settings // it does not run
	r.set("mine", "172.30.200.1", "node-1")
	r.run()
	if _, err := r.node.Explain(State{}); !errors.Is(err, errNotReady) {
		t.Errorf("Explain: %v", err)
	}
	r.halt()
	if err := r.end(); err != nil || len(r.announcer.took()) > 0 {
		t.Errorf("Run: %v, calls %q", err, r.announcer.took())
	}
}

func TestNodeConfigIsChecked(t *testing.T) {
	if _, err := NewNode(NodeConfig{}); err == nil || !strings.Contains(err.Error(), "Name is required") {
		t.Errorf("error %v", err)
	}
	if _, err := NewNode(NodeConfig{Name: "node-1"}); err == nil || !strings.Contains(err.Error(), "Settings are required") {
		t.Errorf("error %v", err)
	}
}

func TestHeartbeatsChangeNothing(t *testing.T) {
	n := &Node{changes: newNodeChanges()}
	was := fakeNode("node-1", 0)
	is := was.DeepCopy()
	is.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}
	is.Annotations = map[string]string{"a": "b"}
	n.nodeChanged(was, is)
	if n.changes.take().all {
		t.Error("a heartbeat has everything decided anew")
	}
	for what, edit := range map[string]func(*corev1.Node){
		"labels":    func(n *corev1.Node) { n.Labels = nil },
		"addresses": func(n *corev1.Node) { n.Status.Addresses = nil },
		"condition": func(n *corev1.Node) {
			n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeNetworkUnavailable, Status: corev1.ConditionTrue}}
		},
		"UID": func(n *corev1.Node) { n.UID = "other" },
	} {
		is := was.DeepCopy()
		edit(is)
		if n.nodeChanged(was, is); !n.changes.take().all {
			t.Errorf("%s: nothing is decided anew", what)
		}
	}
}

// Who routes Services is told which nodes are not heard, and at the end that nobody listens.
func TestSilentNodesAreTold(t *testing.T) {
	r := newNodeRig(t, "node-1", threeNodes...)
	told := make(chan map[string]bool, 8)
	r.node.cfg.Silent = func(nodes map[string]bool) { told <- nodes }
	r.run()
	want := func(what string, nodes ...string) {
		t.Helper()
		select {
		case got := <-told:
			if names := slices.Sorted(maps.Keys(got)); !slices.Equal(names, nodes) {
				t.Errorf("%s: told of %q, want %q", what, names, nodes)
			}
		case <-time.After(deadline):
			t.Fatalf("%s: nothing is told", what)
		}
	}
	r.announcer.onView(announce.View{Active: true, Self: true, Peers: map[string]bool{"node-2": true, "node-3": false}})
	want("one is dead", "node-3")
	r.announcer.onView(announce.View{Active: true, Self: false, Peers: map[string]bool{"node-2": false, "node-3": false}})
	want("nobody is heard", "node-2", "node-3")
	r.announcer.onView(announce.View{Peers: map[string]bool{"node-2": false}})
	want("nobody is asked")
	r.halt()
	if err := <-r.ended; err != nil {
		t.Error(err)
	}
	want("the end")
}
