package loadbalancer

import (
	"fmt"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"minato/test/lab"
)

// One world serves all parts in turn; the last one ends the load balancers.
func TestLoadBalancer(t *testing.T) {
	w := newWorld(t)
	for _, n := range w.node[1:] {
		n.before = n.picture()
		n.start()
	}
	for _, part := range []struct {
		name string
		test func(*testing.T)
	}{
		{"addresses", w.testAddresses},
		{"metrics and events", w.testMetrics},
		{"rights", w.testRights},
		{"two on a node", w.testTwo},
		{"kill and restart", w.testKill},
		{"another node with endpoints", w.testMoved},
		{"change of the leader", w.testLeader},
		{"split from the API", w.testSplitAPI},
		{"split from the LAN", w.testSplitLAN},
		{"process that stays dead", w.testProcessStaysDead},
		{"death of a node", w.testDeath},
		{"cleanup", w.testCleanup},
	} {
		if !t.Run(part.name, func(t *testing.T) {
			w.T, w.Objects.TB = t, t
			part.test(t)
		}) {
			break
		}
	}
	w.T, w.Objects.TB = t, t
}

// MetalLB's kinds come with the first leader. With them, Services get addresses of both families, which every node's Pods
// answer at, over TCP and UDP; with the policy Local these see the client itself.
func (w *world) testAddresses(t *testing.T) {
	w.configure("IPAddressPool", "ipaddresspools", "lan", map[string]any{"addresses": []any{
		"172.31.200.1-172.31.200.20", lab.IPv6.Of("172.31.200.1") + "-" + lab.IPv6.Of("172.31.200.20"),
	}})
	w.configure("L2Advertisement", "l2advertisements", "lan", map[string]any{})
	w.balanced("web", nil)
	w.balanced("near", func(s *corev1.Service) { s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal })
	for _, n := range w.node[1:] {
		n.waitHealthy()
	}
	for _, name := range []string{"web", "near"} {
		addrs := w.addresses(name)
		w.settled(name, addrs)
		for _, k := range lab.Kinds {
			w.reached(name, k, at(addrs[k.Family]), name == "near", "p1", "p2", "p3")
		}
	}
}

// settled waits until the Pods of all nodes that are given, or of all there are, serve a Service and no others.
func (w *world) settled(name string, addrs map[lab.Family]netip.Addr, servers ...string) {
	w.Helper()
	for _, k := range lab.Kinds {
		lab.Eventually(w.T, name+" answers over "+string(k.Family)+" and "+k.Network, func() error {
			seen := map[string]bool{}
			for range 16 {
				a := lab.AskWithin(w.client, k.Network, at(addrs[k.Family]), 200*time.Millisecond)
				if a.Err != "" {
					return fmt.Errorf("%+v", a)
				}
				seen[a.Server] = true
			}
			for _, s := range servers {
				if !seen[s] {
					return fmt.Errorf("%s does not answer", s)
				}
			}
			return nil
		})
	}
}

// What MetalLB counts and tells, under its names: by the one node that announces, and by the leader.
func (w *world) testMetrics(t *testing.T) {
	addrs := w.addresses("web")
	announcer, err := w.announcer("web", addrs)
	if err != nil {
		t.Fatal(err)
	}
	// A client that had asked before anybody announced the address learned of it unasked.
	lab.Command(t, w.client, "ip", "neigh", "flush", "dev", "eth0")
	for _, f := range lab.Families {
		w.reached("with an empty cache", lab.Traffic{Family: f, Network: "tcp"}, at(addrs[f]), false, "p1", "p2", "p3")
		for _, name := range []string{"metallb_layer2_requests_received", "metallb_layer2_responses_sent", "metallb_layer2_gratuitous_sent"} {
			// A new address is announced a little after it is answered first.
			lab.Eventually(t, name+" counts", func() error {
				if v := announcer.metric(fmt.Sprintf("%s{ip=%q}", name, addrs[f])); v < 1 {
					return fmt.Errorf("%s of %s at %s: %v", name, addrs[f], announcer.name, v)
				}
				return nil
			})
		}
	}
	leader, err := w.leader()
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range w.node[1:] {
		want := map[bool]float64{true: 4, false: -1}[n == leader]
		if v := n.metric(`metallb_allocator_addresses_in_use_total{pool="lan"}`); v != want {
			t.Errorf("addresses in use as %s has it: %v, want %v; the leader is %s", n.name, v, want, leader.name)
		}
	}
	said := fmt.Sprintf("announcing from node %q with protocol %q", announcer.name, "layer2")
	lab.Eventually(t, "the event "+said, func() error {
		list, err := w.Client.CoreV1().Events("default").List(t.Context(), metav1.ListOptions{FieldSelector: "reason=nodeAssigned,involvedObject.name=web"})
		if err != nil {
			return err
		}
		for _, e := range list.Items {
			if e.Message == said && e.Source.Component == "metallb-speaker" {
				return nil
			}
		}
		return fmt.Errorf("not among %d", len(list.Items))
	})
}

// The manifest's rights are enough for all of that.
func (w *world) testRights(t *testing.T) {
	for _, n := range w.node[1:] {
		for _, word := range []string{"forbidden", "Forbidden", "Unauthorized", "a part failed"} {
			if text := n.running.Text(); strings.Contains(text, word) {
				t.Errorf("%s: %q in\n%s", n.name, word, text)
			}
		}
	}
}

// A second process on a node refuses to start.
func (w *world) testTwo(t *testing.T) {
	n := w.node[1]
	if code, out := lab.Once(t, n.ns, n.args()...); code == 0 || !strings.Contains(out, "another loadbalancer runs on this node already") {
		t.Errorf("status %d\n%s", code, out)
	}
}

// A process that is killed leaves everything at work, also for clients that have to ask for the address; one that comes back
// goes on.
func (w *world) testKill(t *testing.T) {
	addrs := w.addresses("near")
	n, err := w.announcer("near", addrs)
	if err != nil {
		t.Fatal(err)
	}
	kept := w.connect(at(addrs[lab.IPv4]), "")
	defer kept.Close()
	serves := func(when string) {
		t.Helper()
		lab.Command(t, w.client, "ip", "neigh", "flush", "dev", "eth0")
		for _, k := range lab.Kinds {
			w.reached(when, k, at(addrs[k.Family]), true, "p1", "p2", "p3")
		}
		if back, err := kept.echo(when); back != when {
			t.Fatalf("%s: a connection: %q, %v", when, back, err)
		}
	}
	for range 2 {
		n.running.End(syscall.SIGKILL)
		serves("while it is dead")
		n.start()
		n.waitHealthy()
		serves("after the restart")
	}
	if now, err := w.announcer("near", addrs); now != n {
		t.Errorf("the announcing node was %s and is %+v, %v", n.name, now, err)
	}
}

// When one more node has endpoints, it takes over flows of the others, but for connections that these know: so many would not
// all stay where they were by chance.
func (w *world) testMoved(t *testing.T) {
	w.balanced("moved", func(s *corev1.Service) { s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal })
	w.exchange("moved", lab.Endpoint("n1", podIP(1)), lab.Endpoint("n2", podIP(2)))
	addrs := w.addresses("moved")
	for _, f := range lab.Families {
		lab.Eventually(t, "only two answer", func() error {
			for range 32 {
				if a := lab.AskWithin(w.client, "tcp", at(addrs[f]), 200*time.Millisecond); a.Err != "" || a.Server == "p3" {
					return fmt.Errorf("%+v", a)
				}
			}
			return nil
		})
	}
	var kept []*connection
	for range 16 {
		for _, f := range lab.Families {
			c := w.connect(at(addrs[f]), "p3")
			defer c.Close()
			kept = append(kept, c)
		}
	}
	w.exchange("moved", lab.Endpoint("n1", podIP(1)), lab.Endpoint("n2", podIP(2)), lab.Endpoint("n3", podIP(3)))
	w.settled("moved", addrs, "p1", "p2", "p3")
	for _, c := range kept {
		if err := c.SetDeadline(time.Now().Add(died)); err != nil {
			t.Fatal(err)
		}
		if back, err := c.echo("still there"); back != "still there" {
			t.Errorf("a connection with %s: %q, %v", c.server, back, err)
		}
	}
	second := 0.0
	for _, n := range w.node[1:] {
		for _, f := range lab.Families {
			second += max(n.metric(fmt.Sprintf("minato_loadbalancer_unknown_packets_total{ip=%q}", addrs[f])), 0)
		}
	}
	if second == 0 {
		t.Error("no connection was one of those that moved; the test shows nothing")
	}
}

// A leader that is told to end makes way for another at once.
func (w *world) testLeader(t *testing.T) {
	old, err := w.leader()
	if err != nil {
		t.Fatal(err)
	}
	old.running.End(syscall.SIGTERM)
	if code := old.running.Cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("status %d of a process that was told to end:\n%s", code, old.running.Text())
	}
	w.balanced("late", nil)
	began := time.Now()
	w.addresses("late")
	t.Logf("with another leader, a Service has its addresses after %s", time.Since(began).Round(time.Millisecond))
	if leader, err := w.leader(); err != nil || leader == old {
		t.Errorf("the leader is %+v, %v", leader, err)
	}
	old.start()
	old.waitHealthy()
}

// died bounds how long an address is not answered at after its node died; a machine that is busy takes several times of
// what an idle one does.
const died = 5 * time.Second

// When the announcing node dies, another one announces its addresses. What goes to other nodes' Pods goes on, and when it is
// back, it takes part again.
func (w *world) testDeath(t *testing.T) {
	addrs := w.addresses("near")
	dead, err := w.announcer("near", addrs)
	if err != nil {
		t.Fatal(err)
	}
	pod := fmt.Sprint("p", dead.number)
	kept := w.connect(at(addrs[lab.IPv4]), pod)
	defer kept.Close()
	rest := []string{"p1", "p2", "p3"}
	rest = append(rest[:dead.number-1], rest[dead.number:]...)
	w.cut(t, dead.number, "down")
	dead.running.End(syscall.SIGKILL)
	began := time.Now()
	for {
		if a := lab.AskWithin(w.client, "tcp", at(addrs[lab.IPv4]), 50*time.Millisecond); a.Err == "" {
			break
		} else if time.Since(began) > died {
			t.Fatalf("%s after the death of %s: %+v", died, dead.name, a)
		}
	}
	t.Logf("answered %s after the death of %s", time.Since(began).Round(time.Millisecond), dead.name)
	w.settled("near", addrs, rest...)
	for _, k := range lab.Kinds {
		w.reached("after the death", k, at(addrs[k.Family]), true, rest...)
	}
	if err := kept.SetDeadline(time.Now().Add(died)); err != nil {
		t.Fatal(err)
	}
	if back, err := kept.echo("still there"); back != "still there" {
		t.Errorf("a connection with %s: %q, %v", kept.server, back, err)
	}
	now, err := w.announcer("near", addrs)
	if err != nil || now == dead {
		t.Fatalf("announced by %+v, %v", now, err)
	}
	w.cut(t, dead.number, "up")
	dead.start()
	dead.waitHealthy()
	w.settled("near", addrs, "p1", "p2", "p3")
	lab.Eventually(t, "the node that is back announces again", func() error {
		if n, err := w.announcer("near", addrs); n != dead {
			return fmt.Errorf("announced by %+v, %v", n, err)
		}
		return nil
	})
}

// --cleanup leaves a node as it was before there was a load balancer.
func (w *world) testCleanup(t *testing.T) {
	for _, n := range w.node[1:] {
		if with := n.picture(); with == n.before {
			t.Fatalf("%s: the picture does not show the load balancer:\n%s", n.name, with)
		}
		cleanup := []string{"loadbalancer", "--cleanup", "--bpf-dir", n.bpfDir()}
		if code, out := lab.Once(t, n.ns, cleanup...); code == 0 || !strings.Contains(out, "another loadbalancer runs on this node already") {
			t.Errorf("%s: cleanup beside a running one: status %d\n%s", n.name, code, out)
		}
		n.running.End(syscall.SIGKILL)
		for _, round := range []string{"first", "second"} {
			if code, out := lab.Once(t, n.ns, cleanup...); code != 0 {
				t.Fatalf("%s: %s cleanup: status %d\n%s", n.name, round, code, out)
			}
			if after := n.picture(); after != n.before {
				t.Errorf("%s after the %s cleanup (- before, + after):\n%s", n.name, round, cmp.Diff(n.before, after))
			}
		}
	}
	lab.Command(t, w.client, "ip", "neigh", "flush", "dev", "eth0")
	if a := lab.Ask(w.client, "tcp", at(w.addresses("web")[lab.IPv4])); a.Err == "" {
		t.Errorf("an address is still answered: %+v", a)
	}
}
