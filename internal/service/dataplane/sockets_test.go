package dataplane

import (
	"context"
	"encoding/binary"
	"net/netip"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"minato/internal/host"
)

// runLoop runs the data plane's own loop until the test ends.
func (w *world) runLoop() {
	w.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.dp.Run(ctx) }()
	w.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Error(err)
		}
	})
}

func TestConnectedUDPSocketsOfDeadBackendsEnd(t *testing.T) {
	w := newWorld(t)
	w.serveUDP(w.p1, "p1", p1IP+":8080")
	w.serveUDP(w.p2, "p2", p2IP+":8080")
	w.runLoop()
	one, two := back(p1IP+":8080"), back(p2IP+":8080")
	w.apply(clusterIP("a", "10.96.1.1", 53, corev1.ProtocolUDP, one))
	through, direct, six := w.helperIn(w.q1), w.helperIn(w.q1), w.helperIn(w.n1)
	keep := func(h *helper, addr string) answer { return h.do(request{Op: "keep", Network: "udp", Addr: addr}) }
	wantAnswer(t, "through the Service", keep(through, "10.96.1.1:53"), "p1", "")
	wantAnswer(t, "of the node", keep(six, "10.96.1.1:53"), "p1", "")
	wantAnswer(t, "without a Service", keep(direct, p1IP+":8080"), "p1", "")

	// Draining keeps the socket.
	f := clusterIP("a", "10.96.1.1", 53, corev1.ProtocolUDP, two)
	f.Draining = one
	w.apply(f)
	wantAnswer(t, "while draining", keep(through, "10.96.1.1:53"), "p1", "")

	w.apply(clusterIP("a", "10.96.1.1", 53, corev1.ProtocolUDP, two))
	for name, h := range map[string]*helper{"pod": through, "node": six} {
		deadline := time.Now().Add(10 * time.Second)
		a := keep(h, "10.96.1.1:53")
		for a.Err == "" && a.Server == "p1" && time.Now().Before(deadline) {
			a = keep(h, "10.96.1.1:53")
		}
		if a.Err != "" && !strings.Contains(a.Err, "abort") && !strings.Contains(a.Err, "not connected") && !strings.Contains(a.Err, "destination address") {
			t.Errorf("%s: the socket ended with %q", name, a.Err)
		}
		if a.Err == "" {
			t.Errorf("%s: the socket of a dead backend goes on: %+v", name, a)
		}
		wantAnswer(t, name+": a new socket", keep(h, "10.96.1.1:53"), "p2", "")
	}
	wantAnswer(t, "without a Service, afterwards", keep(direct, p1IP+":8080"), "p1", "")
}

func TestNodePortsCantBeBound(t *testing.T) {
	w := newWorld(t)
	node, pod := w.helperIn(w.n1), w.helperIn(w.q1)
	bind := func(h *helper, network, addr string) string {
		return h.do(request{Op: "bind", Network: network, Addr: addr}).Err
	}
	w.apply(nodePort("a", 30080, corev1.ProtocolTCP, back(p1IP+":8080")))
	for _, c := range []struct {
		h             *helper
		network, addr string
		taken         bool
	}{
		{node, "tcp4", ":30080", true},
		{node, "tcp", ":30080", true}, // both families
		{node, "tcp4", n1IP + ":30080", true},
		{node, "tcp6", ":30080", true}, // whether it wants both can't be told
		{node, "tcp6", "[::1]:30080", false},
		{node, "tcp4", "127.0.0.1:30080", false},
		{node, "udp4", ":30080", false},
		{node, "tcp4", ":30081", false},
		{pod, "tcp4", ":30080", false},
	} {
		err := bind(c.h, c.network, c.addr)
		if taken := strings.Contains(err, "address already in use"); taken != c.taken || !taken && err != "" {
			t.Errorf("bind %s %s: %q, taken should be %t", c.network, c.addr, err, c.taken)
		}
	}
	if err := w.dp.Apply(t.Context(), nodePort("a", 1, corev1.ProtocolTCP, nil).Service, nil); err != nil {
		t.Fatal(err)
	}
	if err := bind(node, "tcp4", ":30080"); err != "" {
		t.Errorf("after the Service is gone: %s", err)
	}
}

func TestPortsAreReserved(t *testing.T) {
	w := newWorld(t)
	read := func() (text string) {
		t.Helper()
		err := w.n1.Do(func() (err error) {
			text, err = host.ReadSysctl(reservedPorts)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	if got := read(); got != "30000-32767,61000-65535" {
		t.Errorf("reserved: %q", got)
	}
	// What others reserved stays.
	if err := w.n1.Sysctls(map[string]string{reservedPorts: "8080,30000-32767,61000-65535"}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := releasePorts(w.n1); err != nil {
			t.Fatal(err)
		}
		if got := read(); got != "8080" {
			t.Errorf("after release: %q", got)
		}
	}
	for range 2 {
		if err := reservePorts(w.n1); err != nil {
			t.Fatal(err)
		}
		if got := read(); got != "8080,30000-32767,61000-65535" {
			t.Errorf("reserved again: %q", got)
		}
	}
	if err := w.n1.Sysctls(map[string]string{reservedPorts: "30000-32767,61000-65535"}); err != nil {
		t.Fatal(err)
	}
	if err := releasePorts(w.n1); err != nil {
		t.Fatal(err)
	}
	if got := read(); got != "" {
		t.Errorf("after the last release: %q", got)
	}
}

func TestTrafficIsCounted(t *testing.T) {
	w := newWorld(t)
	w.serveTCP(w.p1, "p1", p1IP+":8080")
	tcp := corev1.ProtocolTCP
	w.apply(clusterIP("a", "10.96.1.1", 80, tcp, back(p1IP+":8080")), clusterIP("none", "10.96.1.2", 80, tcp, nil))
	pod := w.helperIn(w.q1)
	for range 3 {
		wantAnswer(t, "socket", pod.ask("tcp4", "10.96.1.1:80"), "p1", "")
	}
	for range 2 {
		wantAnswer(t, "packets", ask(w.q1, "tcp4", "10.96.1.1:80"), "p1", "")
	}
	wantRefused(t, "socket", pod.ask("tcp4", "10.96.1.2:80"))
	wantRefused(t, "packets", ask(w.q1, "tcp4", "10.96.1.2:80"))
	all, err := w.dp.Traffic()
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != 2 {
		t.Fatalf("traffic %+v", all)
	}
	a, none := all[0], all[1]
	if a.Service.Name != "a" || a.Protocol != "TCP" || a.Backend != netip.MustParseAddrPort(p1IP+":8080") || a.Connections != 5 ||
		a.Packets < 10 || a.Packets > 100 || a.Bytes < a.Packets*54 || a.Refused+a.Dropped != 0 {
		t.Errorf("%+v", a)
	}
	if none.Service.Name != "none" || none.Backend.IsValid() || none.Refused != 2 || none.Connections+none.Packets != 0 {
		t.Errorf("%+v", none)
	}
	if err := w.dp.Apply(t.Context(), a.Service, nil); err != nil {
		t.Fatal(err)
	}
	w.dp.pruneTraffic()
	left := 0
	if err := w.dp.eachTraffic(func(trafficKey, traffic) { left++ }); err != nil || left != 1 {
		t.Errorf("%d counters are left, %v", left, err)
	}
}

func FuzzParseSocket(f *testing.F) {
	f.Add([]byte{})
	f.Add(make([]byte, 72))
	f.Fuzz(func(t *testing.T, b []byte) {
		id, ok := parseSocket(b)
		if ok != (len(b) >= 4+binary.Size(id)) {
			t.Errorf("%d bytes make a socket: %t", len(b), ok)
		}
		if ok && (diagRequest{ID: id}).Serialize()[8] != b[4] {
			t.Error("the socket is named otherwise than it was")
		}
	})
}

func TestNamespacesOfNobody(t *testing.T) {
	requireRoot(t)
	c := host.Cgroup{Path: "mt-svc-empty-" + strings.ToLower(t.Name())}
	if err := c.Create(); err != nil {
		t.Fatal(err)
	}
	defer c.Delete()
	if got, err := namespacesOf(c); len(got) != 0 || err != nil {
		t.Errorf("%v, %v", got, err)
	}
}
