package proxy

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"minato/internal/host"
	"minato/test/lab"
)

// One world serves all parts in turn; the last ones end the proxies.
func TestProxy(t *testing.T) {
	w := newWorld(t)
	w.one.start()
	w.two.start()
	w.one.waitHealthy()
	w.two.waitHealthy()
	for _, part := range []struct {
		name string
		test func(*testing.T)
	}{
		{"cluster IP", w.testClusterIP},
		{"NodePort", w.testNodePort},
		{"policy Local", w.testLocal},
		{"no endpoints", w.testNoEndpoints},
		{"masqueraded by others", w.testMasqueraded},
		{"tunnel", w.testTunnel},
		{"new Pod", w.testNewPod},
		{"zones", w.testZones},
		{"left alone", w.testLeftAlone},
		{"endpoints of HTTP", w.testHTTP},
		{"rights", w.testRights},
		{"NodePort addresses", w.testNodePortAddresses},
		{"kube-proxy's rules", w.testKubeProxyRules},
		{"DaemonSet", w.testDaemonSet},
		{"kill and restart", w.testKill},
		{"changed node", w.testChangedNode},
		{"cleanup", w.testCleanup},
	} {
		if !t.Run(part.name, func(t *testing.T) {
			w.T, w.Objects.TB, w.one.t, w.two.t = t, t, t, t
			part.test(t)
		}) {
			break
		}
	}
	w.T, w.Objects.TB, w.one.t, w.two.t = t, t, t, t
}

// Processes of Pods at their sockets, others at packets; endpoints here and on the other node; TCP and UDP.
func (w *world) testClusterIP(t *testing.T) {
	s := w.Service("web", nil)
	w.Endpoints("web", lab.Endpoint("n1", p1IP), lab.Endpoint("n2", p2IP))
	for _, c := range []struct {
		what   string
		ask    asker
		client string // as endpoints on the other node see it
		remote string
	}{
		{"process of a routed Pod", sockets(t, w.q1, w.one.cgroup.V2()), q1IP, "p2"},
		{"process of a bridged Pod", sockets(t, w.q2, w.two.cgroup.V2()), q2IP, "p1"},
		{"packets of a routed Pod", packets(w.q1), q1IP, "p2"},
		{"packets of a bridged Pod", packets(w.q2), q2IP, "p1"},
		{"an endpoint itself, process", sockets(t, w.p1, w.one.cgroup.V2()), p1IP, "p2"},
		{"an endpoint itself, packets", packets(w.p1), p1IP, "p2"},
		{"an endpoint itself, bridged", packets(w.p2), p2IP, "p1"},
		{"process of the node", sockets(t, w.n1, w.one.cgroup.V2()), n1IP, "p2"},
		{"packets of the node", packets(w.n1), n1IP, "p2"},
		{"packets of the bridge's node", packets(w.n2), n2IP, "p1"},
	} {
		for _, k := range lab.Kinds {
			w.settled(c.what, c.ask, k.Network, k.VIP(s), answeredBy("p1", "p2"))
			for _, a := range w.reached(c.what, c.ask, k.Network, k.VIP(s), "p1", "p2") {
				if a.Server == c.remote && a.Client != k.Of(c.client) {
					t.Errorf("%s: %s saw the client %s, want %s", c.what, a.Server, a.Client, k.Of(c.client))
				}
			}
		}
	}
}

// A NodePort answers on every node, wherever the endpoints are.
func (w *world) testNodePort(t *testing.T) {
	w.Service("door", func(s *corev1.Service) {
		s.Spec.Type = corev1.ServiceTypeNodePort
		s.Spec.Ports[0].NodePort, s.Spec.Ports[1].NodePort = 30080, 30080
	})
	w.Endpoints("door", lab.Endpoint("n1", p1IP), lab.Endpoint("n2", p2IP))
	for _, ip := range []string{n1IP, n2IP} {
		for _, k := range lab.Kinds {
			door := k.At(ip, 30080)
			w.settled("from outside", packets(w.lan), k.Network, door, answeredBy("p1", "p2"))
			for _, a := range w.reached("from outside", packets(w.lan), k.Network, door, "p1", "p2") {
				if a.Client == k.Of(lanIP) {
					t.Errorf("at %s: %s saw the client itself, whom its answers would reach past the node", door, a.Server)
				}
			}
			w.reached("from a Pod", packets(w.q1), k.Network, door, "p1", "p2")
			w.reached("from a process", sockets(t, w.q2, w.two.cgroup.V2()), k.Network, door, "p1", "p2")
		}
	}
}

// With the external policy Local endpoints see the client itself, and a node without one says so and is silent.
func (w *world) testLocal(t *testing.T) {
	balanced := w.Service("near", func(s *corev1.Service) {
		s.Spec.Type, s.Spec.ExternalTrafficPolicy = corev1.ServiceTypeLoadBalancer, corev1.ServiceExternalTrafficPolicyLocal
		s.Spec.HealthCheckNodePort = 32100
		s.Spec.Ports[0].NodePort, s.Spec.Ports[1].NodePort = 30081, 30081
	})
	w.Endpoints("near", lab.Endpoint("n2", p2IP))
	var silence sync.WaitGroup // which takes long to hear
	for _, k := range lab.Kinds {
		w.settled("the node of the endpoint", packets(w.lan), k.Network, k.At(n2IP, 30081), func(a lab.Answer) bool { return a.Server == "p2" && a.Client == k.Of(lanIP) })
		silence.Go(func() {
			if a := packets(w.lan)(k.Network, k.At(n1IP, 30081)); !a.Silent() {
				t.Errorf("a node without an endpoint, %s over %s: %+v, want silence", k.Network, k.Family, a)
			}
		})
		w.reached("from inside", packets(w.q1), k.Network, k.At(n1IP, 30081), "p2")
	}
	silence.Wait()
	for n, want := range map[*node]int{w.one: http.StatusServiceUnavailable, w.two: http.StatusOK} {
		ip := map[*node]string{w.one: n1IP, w.two: n2IP}[n]
		for _, f := range lab.Families {
			check := "http://" + f.At(ip, int(balanced.Spec.HealthCheckNodePort))
			lab.Eventually(t, "the health check of "+n.name, func() error {
				if code, body := lab.Get(w.lan, check); code != want {
					return fmt.Errorf("%s: %d %s, want %d", check, code, body, want)
				}
				return nil
			})
		}
	}
}

// Where there is nobody to answer, clients are told at once.
func (w *world) testNoEndpoints(t *testing.T) {
	s := w.Service("empty", func(s *corev1.Service) {
		s.Spec.Type = corev1.ServiceTypeNodePort
		s.Spec.Ports[0].NodePort, s.Spec.Ports[1].NodePort = 30082, 30082
	})
	process := sockets(t, w.q1, w.one.cgroup.V2())
	for _, k := range lab.Kinds {
		for what, c := range map[string]struct {
			ask  asker
			addr string
		}{
			"process of a Pod":  {process, k.VIP(s)},
			"packets of a Pod":  {packets(w.q1), k.VIP(s)},
			"behind the bridge": {packets(w.q2), k.VIP(s)},
			"from outside":      {packets(w.lan), k.At(n1IP, 30082)},
			"the node":          {packets(w.n1), k.VIP(s)},
			"no such port":      {packets(w.q1), k.ClusterIP(s, "81")},
		} {
			w.settled(what, c.ask, k.Network, c.addr, lab.Answer.Refused)
		}
	}
}

// Network plugins masquerade what Pods send to addresses that are no Pods'. Answers come back to the Pod past the
// programs at the uplink, and still have to come from the Service.
func (w *world) testMasqueraded(t *testing.T) {
	for n, pods := range map[*node]string{w.one: n1Pods, w.two: n2Pods} {
		rules := host.Masquerade{Table: "plugin", Sources: lab.Both(pods), Internal: lab.Both(allPod)}
		if err := n.ns.Do(rules.Ensure); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := n.ns.Do(rules.Delete); err != nil {
				t.Error(err)
			}
		})
	}
	s := w.Service("beyond", nil)
	w.Endpoints("beyond", lab.Endpoint("elsewhere", lanIP))
	for what, c := range map[string]struct {
		ask    asker
		client string
	}{
		"packets of a routed Pod":  {packets(w.q1), n1IP},
		"packets of a bridged Pod": {packets(w.q2), n2IP},
		"process of a Pod":         {sockets(t, w.q2, w.two.cgroup.V2()), n2IP},
	} {
		for _, k := range lab.Kinds {
			w.settled(what, c.ask, k.Network, k.VIP(s), func(a lab.Answer) bool { return a.Server == "lan" && a.Client == k.Of(c.client) })
		}
	}
}

// Interfaces that come while the proxy runs are served like the others, and come and go without a word in its log.
func (w *world) testNewPod(t *testing.T) {
	s := w.Service("late", nil)
	w.Endpoints("late", lab.Endpoint("n1", p1IP), lab.Endpoint("n2", p2IP))
	for round := range 3 {
		routed, bridged := namespace(t, "late1"), namespace(t, "late2")
		routedPod(t, w.n1, "cali-late", routed, "10.245.1.77")
		bridgedPod(t, w.n2, "veth-late", bridged, "10.245.2.77")
		for _, ns := range []host.Netns{routed, bridged} {
			for _, k := range lab.Kinds {
				w.settled(fmt.Sprintf("%s in round %d", ns.Name, round), packets(ns), k.Network, k.VIP(s), answeredBy("p1", "p2"))
				w.reached(ns.Name, packets(ns), k.Network, k.VIP(s), "p1", "p2")
			}
		}
		lab.Edit(t, w.n1, func(n *host.Net) error { return n.DeleteLink("cali-late") })
		lab.Edit(t, w.n2, func(n *host.Net) error { return n.DeleteLink("veth-late") })
	}
	for _, n := range []*node{w.one, w.two} {
		if strings.Contains(n.running.Text(), "level=WARN") {
			t.Errorf("%s complains:\n%s", n.name, n.running.Text())
		}
	}
}

// Hints for zones are followed, also when the node's zone changes.
func (w *world) testZones(t *testing.T) {
	s := w.Service("zoned", func(s *corev1.Service) {
		d := corev1.ServiceTrafficDistributionPreferSameZone
		s.Spec.TrafficDistribution = &d
	})
	here, there := lab.Endpoint("n1", p1IP), lab.Endpoint("n2", p2IP)
	here.Hints = &discoveryv1.EndpointHints{ForZones: []discoveryv1.ForZone{{Name: "zone-n1"}}}
	there.Hints = &discoveryv1.EndpointHints{ForZones: []discoveryv1.ForZone{{Name: "zone-n2"}}}
	w.Endpoints("zoned", here, there)
	client := sockets(t, w.q1, w.one.cgroup.V2())
	w.settled("the node's zone", client, "tcp", vip(s), answeredBy("p1"))
	w.reachedOnly("the node's zone", client, vip(s), "p1")
	w.label("n1", "zone-n2")
	w.settled("the node's new zone", client, "tcp", vip(s), answeredBy("p2"))
	w.reachedOnly("the node's new zone", client, vip(s), "p2")
	w.label("n1", "zone-n1")
}

// reachedOnly asks often enough to see another server if there were one in two.
func (w *world) reachedOnly(what string, ask asker, addr, server string) {
	w.Helper()
	for range 24 {
		if a := ask("tcp", addr); a.Server != server {
			w.Fatalf("%s: %+v, want %s alone", what, a, server)
		}
	}
}

func (w *world) label(node, zone string) {
	w.Helper()
	patch := fmt.Sprintf(`{"metadata":{"labels":{%q:%q}}}`, corev1.LabelTopologyZone, zone)
	if _, err := w.Client.CoreV1().Nodes().Patch(w.Context(), node, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		w.Fatal(err)
	}
}

// What another proxy serves is not answered here, and the address is nobody's.
func (w *world) testLeftAlone(t *testing.T) {
	other := w.Service("theirs", func(s *corev1.Service) {
		s.Labels = map[string]string{"service.kubernetes.io/service-proxy-name": "another"}
	})
	w.Endpoints("theirs", lab.Endpoint("n1", p1IP))
	w.Service("headless", func(s *corev1.Service) { s.Spec.ClusterIP = corev1.ClusterIPNone })
	w.Endpoints("headless", lab.Endpoint("n1", p1IP))
	after := w.Service("after", nil)
	w.Endpoints("after", lab.Endpoint("n1", p1IP))
	w.settled("a later Service", packets(w.q1), "tcp", vip(after), answeredBy("p1"))
	if a := packets(w.q1)("tcp", vip(other)); !a.Silent() {
		t.Errorf("a Service of another proxy: %+v, want silence", a)
	}
	if code, body := lab.Get(w.n1, "http://127.0.0.1:10249/metrics"); code != http.StatusOK || !strings.Contains(body, `service="after"`) ||
		strings.Contains(body, `service="theirs"`) || strings.Contains(body, `service="headless"`) {
		t.Errorf("%d, want figures of the Service after and of no other:\n%s", code, body)
	}
}

// /healthz says whether load balancers are to send traffic here, /livez whether the process is well.
func (w *world) testHTTP(t *testing.T) {
	type health struct {
		LastUpdated, CurrentTime string
		NodeEligible             *bool
	}
	is := func(path string, code int, eligible *bool) {
		t.Helper()
		lab.Eventually(t, fmt.Sprintf("%s answers %d", path, code), func() error {
			var h health
			got, body := lab.Get(w.lan, "http://"+n1IP+":10256"+path)
			if got != code {
				return fmt.Errorf("%d %s", got, body)
			}
			if err := json.Unmarshal([]byte(body), &h); err != nil {
				return err
			}
			if (h.NodeEligible == nil) != (eligible == nil) || eligible != nil && *h.NodeEligible != *eligible || h.LastUpdated == "" || h.CurrentTime == "" {
				return fmt.Errorf("%s", body)
			}
			return nil
		})
	}
	yes, no := true, false
	is("/healthz", http.StatusOK, &yes)
	is("/livez", http.StatusOK, nil)
	w.taint("n1", `[{"key":"ToBeDeletedByClusterAutoscaler","effect":"NoSchedule"}]`)
	is("/healthz", http.StatusServiceUnavailable, &no)
	is("/livez", http.StatusOK, nil)
	w.taint("n1", `null`)
	is("/healthz", http.StatusOK, &yes)
	code, body := lab.Get(w.lan, "http://"+n1IP+":10249/metrics")
	for _, want := range []string{"kubeproxy_sync_proxy_rules_duration_seconds_count ", "kubeproxy_sync_proxy_rules_service_changes_total ", "minato_service_connections_total{", "minato_service_events_total{"} {
		if code != http.StatusOK || !strings.Contains(body, "\n"+want) {
			t.Errorf("metrics: %d, no %s in\n%s", code, want, body)
		}
	}
}

func (w *world) taint(node, taints string) {
	w.Helper()
	if _, err := w.Client.CoreV1().Nodes().Patch(w.Context(), node, types.MergePatchType, []byte(`{"spec":{"taints":`+taints+`}}`), metav1.PatchOptions{}); err != nil {
		w.Fatal(err)
	}
}

// The rights of the manifest are enough, and no more than promised.
func (w *world) testRights(t *testing.T) {
	lab.Eventually(t, "an event tells of the start", func() error {
		list, err := w.Client.EventsV1().Events("").List(t.Context(), metav1.ListOptions{})
		if err != nil {
			return err
		}
		for _, e := range list.Items {
			if e.Reason == "Starting" && e.ReportingController == "minato-proxy" && e.Regarding.Kind == "Node" && e.Regarding.Name == "n1" {
				return nil
			}
		}
		return fmt.Errorf("not among %d events", len(list.Items))
	})
	for _, n := range []*node{w.one, w.two} {
		for _, word := range []string{"forbidden", "Forbidden", "Unauthorized"} {
			if strings.Contains(n.running.Text(), word) {
				t.Errorf("%s: %s", n.name, n.running.Text())
			}
		}
	}
	role, err := w.Client.RbacV1().ClusterRoles().Get(t.Context(), "system:minato:proxy", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, rule := range role.Rules {
		allowed := []string{"get", "list", "watch"}
		if rule.Resources[0] == "events" {
			allowed = []string{"create", "patch"}
		}
		for _, verb := range rule.Verbs {
			if !contains(allowed, verb) {
				t.Errorf("the role has %s on %v", verb, rule.Resources)
			}
		}
	}
}

// NodePorts answer where the flag says: at further addresses of the node, and no more at those left out.
func (w *world) testNodePortAddresses(t *testing.T) {
	lab.Edit(t, w.n1, func(n *host.Net) error { return n.AddAddress("eth0", netip.MustParsePrefix("172.31.9.11/32")) })
	lab.Edit(t, w.lan, func(n *host.Net) error {
		return n.ReplaceRoute(host.Route{Dst: netip.MustParsePrefix("172.31.9.11/32"), Link: "br"})
	})
	w.one.running.End(syscall.SIGTERM)
	w.one.start("--nodeport-addresses", "172.31.9.0/24")
	w.one.waitHealthy()
	w.reached("an address of the range", packets(w.lan), "tcp", "172.31.9.11:30080", "p1", "p2")
	for _, f := range lab.Families {
		if a := packets(w.lan)("tcp", f.At(n1IP, 30080)); !a.Refused() {
			t.Errorf("an address outside of the range: %+v, want refused by the node itself", a)
		}
	}
	w.one.running.End(syscall.SIGTERM)
	w.one.start("--nodeport-addresses", "primary")
	w.one.waitHealthy()
	for _, f := range lab.Families {
		w.reached("the primary address", packets(w.lan), "tcp", f.At(n1IP, 30080), "p1", "p2")
	}
	if a := packets(w.lan)("tcp", "172.31.9.11:30080"); !a.Refused() {
		t.Errorf("another address: %+v, want refused by the node itself", a)
	}
	w.one.running.End(syscall.SIGTERM)
	if out, err := w.one.ip("address", "del", "172.31.9.11/32", "dev", "eth0"); err != nil {
		t.Fatal(err, out)
	}
	w.one.start()
	w.one.waitHealthy()
}

// A kube-proxy that was there is told of.
func (w *world) testKubeProxyRules(t *testing.T) {
	if text := w.two.running.Text(); strings.Contains(text, "kube-proxy --cleanup") {
		t.Errorf("a clean node is complained of:\n%s", text)
	}
	w.nft(w.n2, "add table ip kube-proxy")
	w.two.running.End(syscall.SIGTERM)
	w.two.start()
	w.two.waitHealthy()
	if text := w.two.running.Text(); !strings.Contains(text, "kube-proxy --cleanup") || !strings.Contains(text, "nftables table kube-proxy") {
		t.Errorf("rules of kube-proxy are not told of:\n%s", text)
	}
	w.nft(w.n2, "delete table ip kube-proxy")
}

// askEvery is slow enough for masqueraded UDP, whose source ports are kept for minutes, and fast enough to fall into
// whatever gap a restart might leave.
const askEvery = 2 * time.Millisecond

// prober asks all the time and counts what goes wrong.
type prober struct {
	stop     chan struct{}
	wg       sync.WaitGroup
	mu       sync.Mutex
	asked    int
	failures []string
}

func (p *prober) run(what string, ask asker, network, addr string) {
	p.wg.Go(func() {
		for {
			select {
			case <-p.stop:
				return
			default:
			}
			a := ask(network, addr)
			p.mu.Lock()
			p.asked++
			if a.Err != "" {
				p.failures = append(p.failures, fmt.Sprintf("%s: %s %s: %+v", what, network, addr, a))
			}
			p.mu.Unlock()
			time.Sleep(askEvery)
		}
	})
}

// A proxy that is killed leaves everything at work, and one that comes back takes it over and follows what changed
// meanwhile; nobody's request fails for it.
func (w *world) testKill(t *testing.T) {
	web, err := w.Client.CoreV1().Services("default").Get(t.Context(), "web", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	// A Pod whose ports no packets of other sockets had before: what those were told apart by is remembered for minutes.
	fresh := namespace(t, "fresh")
	routedPod(t, w.n1, "cali-fresh", fresh, "10.245.1.88")
	t.Cleanup(func() { lab.Edit(t, w.n1, func(n *host.Net) error { return n.DeleteLink("cali-fresh") }) })
	process := sockets(t, fresh, w.one.cgroup.V2())
	moving, leaving := w.Service("moving", nil), w.Service("leaving", nil)
	w.Endpoints("moving", lab.Endpoint("n1", p1IP))
	w.Endpoints("leaving", lab.Endpoint("n1", p1IP))
	client := packets(w.p1)
	w.settled("before", client, "tcp", vip(moving), answeredBy("p1"))
	w.settled("before", client, "tcp", vip(leaving), answeredBy("p1"))

	p := &prober{stop: make(chan struct{})}
	for _, k := range lab.Kinds {
		p.run("process of a Pod", sockets(t, fresh, w.one.cgroup.V2()), k.Network, k.VIP(web))
		p.run("packets of a Pod", packets(w.q1), k.Network, k.VIP(web))
		p.run("from outside", packets(w.lan), k.Network, k.At(n1IP, 30080))
	}
	for range 3 {
		w.one.running.End(syscall.SIGKILL)
		for _, f := range lab.Families {
			w.reached("while it is dead", process, "tcp", f.VIP(web), "p1", "p2")
			w.reached("while it is dead", packets(w.q1), "udp", f.VIP(web), "p1", "p2")
		}
		w.one.start()
		w.one.waitHealthy()
	}
	w.one.running.End(syscall.SIGKILL)
	w.Endpoints("moving", lab.Endpoint("n2", p2IP))
	if err := w.Client.CoreV1().Services("default").Delete(t.Context(), "leaving", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	arriving := w.Service("arriving", nil)
	w.Endpoints("arriving", lab.Endpoint("n1", q1IP))
	for _, f := range lab.Families {
		w.reachedOnly("while it is dead", client, f.VIP(moving), "p1")
	}
	w.one.start()
	w.one.waitHealthy()
	for _, f := range lab.Families {
		w.reachedOnly("after the restart", client, f.VIP(moving), "p2")
		w.reached("after the restart", client, "tcp", f.VIP(arriving), "q1")
		if a := client("tcp", f.VIP(leaving)); !a.Silent() {
			t.Errorf("a Service deleted meanwhile: %+v, want silence", a)
		}
	}
	close(p.stop)
	p.wg.Wait()
	t.Logf("%d requests during four restarts", p.asked)
	if len(p.failures) > 0 || p.asked < 1000 {
		t.Errorf("%d of %d requests failed during the restarts; the first: %s", len(p.failures), p.asked, strings.Join(p.failures[:min(3, len(p.failures))], "\n"))
	}
	if code, out := w.one.once(w.one.args()...); code == 0 || !strings.Contains(out, "another proxy runs on this node already") {
		t.Errorf("a second proxy on the node: status %d\n%s", code, out)
	}
}

// When the node's address changes, the proxy ends for whoever runs it to start it again with the new one.
func (w *world) testChangedNode(t *testing.T) {
	lab.Edit(t, w.n2, func(n *host.Net) error { return n.AddAddress("eth0", netip.MustParsePrefix("172.31.0.22/16")) })
	w.address("n2", "172.31.0.22", lab.IPv6.Of(n2IP))
	lab.Eventually(t, "the proxy ends", func() error {
		select {
		case <-w.two.running.Done:
			return nil
		default:
			return fmt.Errorf("it runs on")
		}
	})
	if code := w.two.running.Cmd.ProcessState.ExitCode(); code != 1 || !strings.Contains(w.two.running.Text(), "172.31.0.22") {
		t.Errorf("status %d:\n%s", code, w.two.running.Text())
	}
	w.two.start()
	w.two.waitHealthy()
	w.reached("the new address", packets(w.lan), "tcp", "172.31.0.22:30080", "p1", "p2")
	w.reached("the address that stays", packets(w.lan), "tcp", lab.IPv6.At(n2IP, 30080), "p1", "p2")
	w.address("n2", n2IP, lab.IPv6.Of(n2IP))
	<-w.two.running.Done
	if out, err := w.two.ip("address", "del", "172.31.0.22/16", "dev", "eth0"); err != nil {
		t.Fatal(err, out)
	}
	w.two.start()
	w.two.waitHealthy()
}

func (w *world) address(node string, ips ...string) {
	w.Helper()
	var all []corev1.NodeAddress
	for _, ip := range ips {
		all = append(all, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: ip})
	}
	patch, err := json.Marshal(map[string]any{"status": map[string]any{"addresses": all}})
	if err != nil {
		w.Fatal(err)
	}
	if _, err := w.Client.CoreV1().Nodes().Patch(w.Context(), node, types.MergePatchType, patch, metav1.PatchOptions{}, "status"); err != nil {
		w.Fatal(err)
	}
}

// sameAsBefore complains of whatever a proxy left on a node.
func (w *world) sameAsBefore(n *node, when string) {
	w.Helper()
	if after := n.picture(); after != w.before[n] {
		w.Errorf("%s after %s (- before, + after):\n%s", n.name, when, cmp.Diff(w.before[n], after))
	}
}

// --cleanup leaves the node as it was before there was a proxy.
func (w *world) testCleanup(t *testing.T) {
	for _, n := range []*node{w.one, w.two} {
		if with := n.picture(); with == w.before[n] {
			t.Fatalf("%s: the picture does not show the proxy:\n%s", n.name, with)
		}
		if code, out := n.once("proxy", "--cleanup", "--bpf-dir", n.bpfDir()); code == 0 || !strings.Contains(out, "another proxy runs on this node already") {
			t.Errorf("%s: cleanup beside a running proxy: status %d\n%s", n.name, code, out)
		}
		n.running.End(syscall.SIGKILL)
		for _, round := range []string{"first", "second"} {
			if code, out := n.once("proxy", "--cleanup", "--bpf-dir", n.bpfDir()); code != 0 {
				t.Fatalf("%s: %s cleanup: status %d\n%s", n.name, round, code, out)
			}
			w.sameAsBefore(n, "the "+round+" cleanup")
		}
	}
	web, err := w.Client.CoreV1().Services("default").Get(t.Context(), "web", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range lab.Families {
		if a := sockets(t, w.q1, w.one.cgroup.V2())("tcp", f.VIP(web)); a.Err == "" {
			t.Errorf("a Service still answers: %+v", a)
		}
	}
}
