package dataplane

import (
	"bufio"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	corev1 "k8s.io/api/core/v1"

	"minato/internal/host"
	"minato/internal/service/route"
)

const prompt = 500 * time.Millisecond

func wantAnswer(t *testing.T, what string, a answer, server, peer string) {
	t.Helper()
	if a.Err != "" || a.Server != server || (peer != "" && a.Peer != peer) {
		t.Errorf("%s: got %+v, want server %s and peer %s", what, a, server, peer)
	}
}

func wantRefused(t *testing.T, what string, a answer) {
	t.Helper()
	if !a.refused() || a.Took > prompt {
		t.Errorf("%s: got %+v, want refused at once", what, a)
	}
}

func TestTrafficReachesBackends(t *testing.T) { eachWay(t, testTrafficReachesBackends) }

func testTrafficReachesBackends(t *testing.T, fam family) {
	w := worldOf(t, fam)
	for _, s := range []struct {
		ns   host.Netns
		name string
		ip   string
	}{{w.p1, "p1", fam.p1}, {w.p2, "p2", fam.p2}, {w.n1, "n1", fam.n1}} {
		w.serveTCP(s.ns, s.name, s.ip+":8080")
		w.serveUDP(s.ns, s.name, s.ip+":8080")
	}
	tcp, udp := corev1.ProtocolTCP, corev1.ProtocolUDP
	for i, server := range []string{"p1", "p2", "n1"} {
		b := back([]string{fam.p1, fam.p2, fam.n1}[i] + ":8080")
		vip := fam.vip(1 + i)
		np := uint16(30001 + i)
		w.apply(
			clusterIP("tcp-"+server, vip, 80, tcp, b), fam.nodePort("tcp-"+server, np, tcp, b),
			clusterIP("udp-"+server, vip, 80, udp, b), fam.nodePort("udp-"+server, np, udp, b))
	}
	inPod, inNode := w.helperIn(w.q1), w.helperIn(w.n1)
	clients := map[string]func(network, addr string) answer{
		"socket of a pod":         inPod.ask,
		"socket of the node":      inNode.ask,
		"packet of a pod":         func(n, a string) answer { return ask(w.q1, n, a) },
		"packet of the node":      func(n, a string) answer { return ask(w.n1, n, a) },
		"packet from the outside": func(n, a string) answer { return ask(w.lan, n, a) },
		"packet of a pod itself":  func(n, a string) answer { return ask(w.p1, n, a) },
	}
	w.inside(w.lan, outsideRoute)
	for what, client := range clients {
		for i, server := range []string{"p1", "p2", "n1"} {
			for _, network := range []string{fam.tcp, fam.udp} {
				for _, f := range []string{fam.vip(1+i) + ":80", fam.n1 + ":3000" + string(rune('1'+i))} {
					for range 3 {
						wantAnswer(t, what+" "+network+" to "+f+" at "+server, client(network, f), server, f)
					}
				}
			}
		}
	}
	if t.Failed() {
		t.Log(w.dp.Dump())
	}
}

func TestNobodyThereIsRefusedAtOnce(t *testing.T) { eachFamily(t, testNobodyThereIsRefusedAtOnce) }

func testNobodyThereIsRefusedAtOnce(t *testing.T, fam family) {
	w := newWorld(t)
	w.inside(w.lan, outsideRoute)
	w.serveTCP(w.p1, "p1", fam.p1+":8080")
	tcp, udp := corev1.ProtocolTCP, corev1.ProtocolUDP
	w.apply(
		clusterIP("full", fam.vip(1), 80, tcp, back(fam.p1+":8080")),
		clusterIP("empty", fam.vip(2), 80, tcp, nil), fam.nodePort("empty", 30002, tcp, nil),
		clusterIP("empty-udp", fam.vip(3), 80, udp, nil), fam.nodePort("empty-udp", 30003, udp, nil))
	pod, node := w.helperIn(w.q1), w.helperIn(w.n1)
	for what, client := range map[string]func(network, addr string) answer{
		"socket of a pod":         pod.ask,
		"socket of the node":      node.ask,
		"packet of a pod":         func(n, a string) answer { return ask(w.q1, n, a) },
		"packet of the node":      func(n, a string) answer { return ask(w.n1, n, a) },
		"packet from the outside": func(n, a string) answer { return ask(w.lan, n, a) },
	} {
		wantAnswer(t, what+" to a backend", client(fam.tcp, fam.vip(1)+":80"), "p1", "")
		wantRefused(t, what+" to a wrong port", client(fam.tcp, fam.vip(1)+":81"))
		wantRefused(t, what+" to a wrong UDP port", client(fam.udp, fam.vip(1)+":81"))
		wantRefused(t, what+" to no endpoints", client(fam.tcp, fam.vip(2)+":80"))
		wantRefused(t, what+" to a NodePort without endpoints", client(fam.tcp, fam.n1+":30002"))
		wantRefused(t, what+" to no UDP endpoints", client(fam.udp, fam.vip(3)+":80"))
		wantRefused(t, what+" to a UDP NodePort without endpoints", client(fam.udp, fam.n1+":30003"))
		wantRefused(t, what+" to a NodePort that nobody has", client(fam.tcp, fam.n1+":30009"))
		if t.Failed() {
			t.Log(w.dp.Dump())
			return
		}
	}
}

func TestUnallocatedAndForbiddenAreDropped(t *testing.T) {
	eachFamily(t, testUnallocatedAndForbiddenAreDropped)
}

func testUnallocatedAndForbiddenAreDropped(t *testing.T, fam family) {
	w := newWorld(t)
	w.inside(w.lan, outsideRoute)
	w.serveTCP(w.p2, "p2", fam.p2+":8080")
	local := fam.nodePort("local", 30001, corev1.ProtocolTCP, back(fam.p2+":8080"))
	local.Decisions[route.FromOutside] = route.Decision{Verdict: route.Drop, Set: route.LocalSet}
	w.apply(local)
	pod := w.helperIn(w.q1)
	var wg sync.WaitGroup
	for what, client := range map[string]func() answer{
		"socket to an unallocated address":           func() answer { return pod.ask(fam.tcp, fam.vip(9)+":80") },
		"packet to an unallocated address":           func() answer { return ask(w.q1, fam.tcp, fam.vip(9)+":80") },
		"node to an unallocated address":             func() answer { return ask(w.n1, fam.tcp, fam.vip(9)+":80") },
		"outside to an unallocated address":          func() answer { return ask(w.lan, fam.tcp, fam.vip(9)+":80") },
		"outside under policy Local with none local": func() answer { return ask(w.lan, fam.tcp, fam.n1+":30001") },
	} {
		wg.Go(func() {
			if a := client(); a.Err == "" || a.refused() || a.Took < prompt {
				t.Errorf("%s: got %+v, want silence", what, a)
			}
		})
	}
	wg.Wait()
	// Inside, the policy does not hold.
	wantAnswer(t, "pod under policy Local", pod.ask(fam.tcp, fam.n1+":30001"), "p2", fam.n1+":30001")
	wantAnswer(t, "node under policy Local", ask(w.n1, fam.tcp, fam.n1+":30001"), "p2", fam.n1+":30001")
}

func TestLocalPolicyKeepsTheClient(t *testing.T) { eachWay(t, testLocalPolicyKeepsTheClient) }

func testLocalPolicyKeepsTheClient(t *testing.T, fam family) {
	w := worldOf(t, fam)
	w.serveTCP(w.p1, "p1", fam.p1+":8080")
	w.serveUDP(w.p1, "p1", fam.p1+":8080")
	w.serveTCP(w.n1, "n1", fam.n1+":8080")
	w.serveUDP(w.n1, "n1", fam.n1+":8080")
	var fs []route.Frontend
	for i, p := range []corev1.Protocol{corev1.ProtocolTCP, corev1.ProtocolUDP} {
		for j, b := range []string{fam.p1, fam.n1} {
			f := fam.nodePort(strings.ToLower(string(p))+b, uint16(30001+10*i+j), p, nil)
			f.Local = back(b + ":8080")
			f.Decisions[route.FromOutside] = route.Decision{Set: route.LocalSet}
			fs = append(fs, f)
		}
	}
	w.apply(fs...)
	for i, network := range []string{fam.tcp, fam.udp} {
		for j, server := range []string{"p1", "n1"} {
			a := ask(w.lan, network, fmt.Sprintf("%s:%d", fam.n1, 30001+10*i+j))
			wantAnswer(t, network+" to "+server, a, server, "")
			if !strings.HasPrefix(a.Client, fam.lan+":") {
				t.Errorf("%s to %s: server saw client %s, want %s", network, server, a.Client, fam.lan)
			}
		}
	}
	if t.Failed() {
		t.Log(w.dp.Dump())
	}
}

func TestIPv6SocketsReachIPv4Services(t *testing.T) {
	w := newWorld(t)
	w.serveTCP(w.p2, "p2", p2IP+":8080")
	w.serveUDP(w.p2, "p2", p2IP+":8080")
	w.apply(clusterIP("tcp", "10.96.1.1", 80, corev1.ProtocolTCP, back(p2IP+":8080")),
		clusterIP("udp", "10.96.1.1", 80, corev1.ProtocolUDP, back(p2IP+":8080")),
		clusterIP("empty", "10.96.1.2", 80, corev1.ProtocolTCP, nil))
	pod := w.helperIn(w.q1)
	for _, network := range []string{"tcp", "udp"} {
		wantAnswer(t, network, pod.do(request{Op: "ask6", Network: network, Addr: "10.96.1.1:80"}), "p2", "[::ffff:10.96.1.1]:80")
	}
	wantRefused(t, "no endpoints", pod.do(request{Op: "ask6", Network: "tcp", Addr: "10.96.1.2:80"}))
	wantAnswer(t, "unconnected", pod.do(request{Op: "sendto", Network: "udp", Addr: "10.96.1.1:80"}), "p2", "10.96.1.1:80")
}

func TestUnconnectedUDPStaysAndMoves(t *testing.T) { eachFamily(t, testUnconnectedUDPStaysAndMoves) }

func testUnconnectedUDPStaysAndMoves(t *testing.T, fam family) {
	w := newWorld(t)
	w.serveUDP(w.p1, "p1", fam.p1+":8080")
	w.serveUDP(w.p2, "p2", fam.p2+":8080")
	udp := corev1.ProtocolUDP
	both := back(fam.p1+":8080", fam.p2+":8080")
	w.apply(clusterIP("a", fam.vip(1), 53, udp, both), clusterIP("b", fam.vip(2), 53, udp, back(fam.p2+":8080")))
	pod := w.helperIn(w.q1)
	send := func(addr string) answer { return pod.do(request{Op: "sendto", Network: fam.udp, Addr: addr}) }
	first := send(fam.vip(1) + ":53")
	wantAnswer(t, "first", first, first.Server, fam.vip(1)+":53")
	for range 20 {
		wantAnswer(t, "again", send(fam.vip(1)+":53"), first.Server, fam.vip(1)+":53")
	}
	wantAnswer(t, "other Service", send(fam.vip(2)+":53"), "p2", fam.vip(2)+":53")
	// A backend that drains keeps what it has; one that is gone does not.
	keep, other := both[:1], "p2"
	if first.Server == "p1" {
		keep = both[1:]
	} else {
		other = "p1"
	}
	drained := clusterIP("a", fam.vip(1), 53, udp, keep)
	drained.Draining = both
	w.apply(drained)
	wantAnswer(t, "draining", send(fam.vip(1)+":53"), first.Server, "")
	w.apply(clusterIP("a", fam.vip(1), 53, udp, keep), clusterIP("b", fam.vip(2), 53, udp, keep))
	wantAnswer(t, "gone", send(fam.vip(1)+":53"), other, fam.vip(1)+":53")
}

func TestPacketUDPMovesWhenItsBackendIsGone(t *testing.T) {
	eachFamily(t, testPacketUDPMovesWhenItsBackendIsGone)
}

func testPacketUDPMovesWhenItsBackendIsGone(t *testing.T, fam family) {
	w := newWorld(t)
	w.serveUDP(w.p1, "p1", fam.p1+":8080")
	w.serveUDP(w.p2, "p2", fam.p2+":8080")
	b := back(fam.p1+":8080", fam.p2+":8080")
	w.apply(fam.nodePort("a", 30001, corev1.ProtocolUDP, b[:1]))
	c, err := w.lan.DialContext(t.Context(), fam.udp, fam.n1+":30001")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	exchange := func() string {
		t.Helper()
		c.SetDeadline(time.Now().Add(3 * time.Second))
		buf := make([]byte, 100)
		c.Write([]byte("x"))
		n, err := c.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Fields(string(buf[:n]))[0]
	}
	if got := exchange(); got != "p1" {
		t.Errorf("first answer from %s", got)
	}
	f := fam.nodePort("a", 30001, corev1.ProtocolUDP, b[1:])
	f.Draining = b[:1]
	w.apply(f)
	if got := exchange(); got != "p1" {
		t.Errorf("answer from %s while p1 drains", got)
	}
	w.apply(fam.nodePort("a", 30001, corev1.ProtocolUDP, b[1:]))
	if got := exchange(); got != "p2" {
		t.Errorf("answer from %s after p1 is gone", got)
	}
}

func TestConnectionsOutliveTheProcess(t *testing.T) {
	w := newWorld(t)
	w.serveTCP(w.p2, "p2", p2IP+":8080")
	np := nodePort("a", 30001, corev1.ProtocolTCP, back(p2IP+":8080"))
	vip := clusterIP("a", "10.96.1.1", 80, corev1.ProtocolTCP, back(p2IP+":8080"))
	w.apply(np, vip, clusterIP("gone", "10.96.1.2", 80, corev1.ProtocolTCP, back(p2IP+":8080")))
	c, err := w.lan.DialContext(t.Context(), "tcp4", n1IP+":30001")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	r := bufio.NewReader(c)
	if _, err := r.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	echo := func(when string) {
		t.Helper()
		c.SetDeadline(time.Now().Add(3 * time.Second))
		fmt.Fprintln(c, when)
		if line, err := r.ReadString('\n'); err != nil || line != when+"\n" {
			t.Fatalf("%s: %q, %v", when, line, err)
		}
	}
	pod := w.helperIn(w.q1)
	check := func(when string) {
		t.Helper()
		echo(when)
		wantAnswer(t, when, pod.ask("tcp4", "10.96.1.1:80"), "p2", "10.96.1.1:80")
		wantAnswer(t, when, ask(w.q1, "tcp4", "10.96.1.1:80"), "p2", "10.96.1.1:80")
		wantAnswer(t, when, ask(w.lan, "tcp4", n1IP+":30001"), "p2", "")
	}
	check("before")
	w.dp.Close()
	check("while nobody runs")
	w.open()
	check("while nothing is applied")
	w.apply(np, vip)
	check("after applying")
	wantAnswer(t, "not swept yet", pod.ask("tcp4", "10.96.1.2:80"), "p2", "")
	if err := w.dp.Sweep(); err != nil {
		t.Fatal(err)
	}
	check("after sweeping")
	d, err := w.dp.Dump()
	if err != nil {
		t.Fatal(err)
	}
	if len(d.Frontends) != 5 || len(d.Backends) != 1 {
		t.Errorf("tables after sweeping:\n%s", d)
	}
}

// TestChurn replaces backends while clients connect: none may ever be refused.
func TestChurn(t *testing.T) {
	w := newWorld(t)
	w.serveTCP(w.p1, "p1", p1IP+":8080")
	w.serveTCP(w.p2, "p2", p2IP+":8080")
	b := back(p1IP+":8080", p2IP+":8080")
	frontends := func(b []route.Backend) []route.Frontend {
		return []route.Frontend{clusterIP("a", "10.96.1.1", 80, corev1.ProtocolTCP, b), nodePort("a", 30001, corev1.ProtocolTCP, b)}
	}
	w.apply(frontends(b)...)
	pod := w.helperIn(w.q1)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	seen := map[string]int{}
	for _, client := range []func() answer{
		func() answer { return ask(w.lan, "tcp4", n1IP+":30001") },
		func() answer { return pod.ask("tcp4", "10.96.1.1:80") },
	} {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if a := client(); a.Err != "" {
					t.Errorf("while backends change: %+v", a)
				}
			}
		})
	}
	for i := range 600 {
		w.apply(frontends([][]route.Backend{b[:1], b, b[1:], b}[i%4])...)
	}
	close(stop)
	wg.Wait()
	for range 60 {
		seen[ask(w.lan, "tcp4", n1IP+":30001").Server]++
	}
	if seen["p1"] < 10 || seen["p2"] < 10 {
		t.Errorf("connections are not spread: %v", seen)
	}
	d, err := w.dp.Dump()
	if err != nil {
		t.Fatal(err)
	}
	if len(d.Frontends) != 5 || len(d.Backends) != 2 {
		t.Errorf("tables after churn:\n%s", d)
	}
}

// TestICMPErrorsComeBack has a backend's kernel say that nobody listens; the client must understand.
func TestICMPErrorsComeBack(t *testing.T) { eachWay(t, testICMPErrorsComeBack) }

func testICMPErrorsComeBack(t *testing.T, fam family) {
	w := worldOf(t, fam)
	w.inside(w.lan, outsideRoute)
	for _, ip := range []string{fam.p1, fam.p2, fam.n1} {
		w.apply(clusterIP("udp", fam.vip(1), 80, corev1.ProtocolUDP, back(ip+":9")))
		for from, ns := range map[string]host.Netns{"pod": w.q1, "node": w.n1, "outside": w.lan} {
			wantRefused(t, from+" to a closed port at "+ip, ask(ns, fam.udp, fam.vip(1)+":80"))
		}
	}
}

func TestPodsComeAndGo(t *testing.T) {
	w := newWorld(t)
	w.serveTCP(w.p2, "p2", p2IP+":8080")
	w.apply(clusterIP("a", "10.96.1.1", 80, corev1.ProtocolTCP, back(p2IP+":8080")))
	for range 2 {
		if err := w.dp.DetachPod("vq1"); err != nil {
			t.Fatal(err)
		}
	}
	// An interface of the same name comes back without having been detached.
	w.inside(w.n1, func(h *netlink.Handle) error {
		l, err := h.LinkByName("vp1")
		return errors.Join(err, h.LinkDel(l))
	})
	w.pod(w.n1, "vp1", w.p1, func(f family) string { return f.p1 })
	if err := w.dp.AttachPod("vp1"); err != nil {
		t.Fatal(err)
	}
	wantAnswer(t, "new pod", ask(w.p1, "tcp4", "10.96.1.1:80"), "p2", "10.96.1.1:80")
	if err := w.dp.AttachPod("nosuch"); err == nil {
		t.Error("no error for an interface that does not exist")
	}
	w.inside(w.n1, func(h *netlink.Handle) error {
		l, err := h.LinkByName("vp1")
		return errors.Join(err, h.LinkDel(l))
	})
	w.dp.Close()
	w.open()
	if err := w.dp.DetachPod("vp1"); err != nil {
		t.Error(err)
	}
}

// DetachPod detaches what AttachPod attaches; it is no error if the interface is gone.
func (d *DataPlane) DetachPod(ifname string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.collection == nil {
		return fmt.Errorf("detach pod interface %s: %w", ifname, errClosed)
	}
	l, err := d.links.LinkByName(ifname)
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("detach pod interface %s: %w", ifname, err)
	}
	if err := removeFilters(d.links, l.Attrs().Index, inbound); err != nil {
		return fmt.Errorf("detach pod interface %s: %w", ifname, err)
	}
	return nil
}
