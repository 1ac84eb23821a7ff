package dataplane

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"minato/internal/host"
	"minato/internal/service/route"
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
	eachFamily(t, testConnectedUDPSocketsOfDeadBackendsEnd)
}

func testConnectedUDPSocketsOfDeadBackendsEnd(t *testing.T, fam family) {
	w := newWorld(t)
	w.serveUDP(w.p1, "p1", fam.p1+":8080")
	w.serveUDP(w.p2, "p2", fam.p2+":8080")
	w.runLoop()
	one, two := back(fam.p1+":8080"), back(fam.p2+":8080")
	w.apply(clusterIP("a", fam.vip(1), 53, corev1.ProtocolUDP, one))
	through, direct, six := w.helperIn(w.q1), w.helperIn(w.q1), w.helperIn(w.n1)
	keep := func(h *helper, addr string) answer { return h.do(request{Op: "keep", Network: "udp", Addr: addr}) }
	wantAnswer(t, "through the Service", keep(through, fam.vip(1)+":53"), "p1", "")
	wantAnswer(t, "of the node", keep(six, fam.vip(1)+":53"), "p1", "")
	wantAnswer(t, "without a Service", keep(direct, fam.p1+":8080"), "p1", "")

	// Draining keeps the socket.
	f := clusterIP("a", fam.vip(1), 53, corev1.ProtocolUDP, two)
	f.Draining = one
	w.apply(f)
	wantAnswer(t, "while draining", keep(through, fam.vip(1)+":53"), "p1", "")

	w.apply(clusterIP("a", fam.vip(1), 53, corev1.ProtocolUDP, two))
	for name, h := range map[string]*helper{"pod": through, "node": six} {
		deadline := time.Now().Add(10 * time.Second)
		a := keep(h, fam.vip(1)+":53")
		for a.Err == "" && a.Server == "p1" && time.Now().Before(deadline) {
			a = keep(h, fam.vip(1)+":53")
		}
		if a.Err != "" && !strings.Contains(a.Err, "abort") && !strings.Contains(a.Err, "not connected") && !strings.Contains(a.Err, "destination address") {
			t.Errorf("%s: the socket ended with %q", name, a.Err)
		}
		if a.Err == "" {
			t.Errorf("%s: the socket of a dead backend goes on: %+v", name, a)
		}
		wantAnswer(t, name+": a new socket", keep(h, fam.vip(1)+":53"), "p2", "")
	}
	wantAnswer(t, "without a Service, afterwards", keep(direct, fam.p1+":8080"), "p1", "")
}

func TestNodePortsCantBeBound(t *testing.T) {
	w := newWorld(t)
	node, pod := w.helperIn(w.n1), w.helperIn(w.q1)
	bind := func(h *helper, network, addr string) string {
		return h.do(request{Op: "bind", Network: network, Addr: addr}).Err
	}
	w.apply(nodePort("a", 30080, corev1.ProtocolTCP, back(p1IP+":8080")), v6.nodePort("b", 30082, corev1.ProtocolTCP, back(v6.p1+":8080")))
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
		{node, "tcp6", ":30082", true},
		{node, "tcp6", v6.n1 + ":30082", true},
		{node, "tcp6", "[::1]:30082", false},
		{node, "tcp4", ":30082", false},
		{node, "udp6", ":30082", false},
		{pod, "tcp6", ":30082", false},
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
	closed := nodePort("closed", 30081, corev1.ProtocolUDP, nil)
	closed.Decisions[route.FromOutside] = route.Decision{Verdict: route.Drop}
	w.apply(clusterIP("a", "10.96.1.1", 80, tcp, back(p1IP+":8080")), nodePort("a", 30080, tcp, back(p1IP+":8080")),
		clusterIP("none", "10.96.1.2", 80, tcp, nil), closed)
	pod := w.helperIn(w.q1)
	for range 3 {
		wantAnswer(t, "socket", pod.ask("tcp4", "10.96.1.1:80"), "p1", "")
	}
	for range 2 {
		wantAnswer(t, "packets", ask(w.q1, "tcp4", "10.96.1.1:80"), "p1", "")
	}
	wantRefused(t, "socket", pod.ask("tcp4", "10.96.1.2:80"))
	wantRefused(t, "packets", ask(w.q1, "tcp4", "10.96.1.2:80"))
	wantAnswer(t, "outside", ask(w.lan, "tcp4", n1IP+":30080"), "p1", "")
	if a := ask(w.lan, "udp4", n1IP+":30081"); a.Err == "" || a.refused() {
		t.Errorf("to a closed NodePort: %+v", a)
	}
	all, err := w.dp.Traffic()
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != 1 {
		t.Fatalf("traffic %+v", all)
	}
	a := all[0]
	if a.Service.Name != "a" || a.Protocol != "TCP" || a.Backend != netip.MustParseAddrPort(p1IP+":8080") || a.Connections != 6 ||
		a.Packets < 10 || a.Packets > 100 || a.Bytes < a.Packets*54 {
		t.Errorf("%+v", a)
	}
	got, err := w.dp.Visits()
	if err != nil {
		t.Fatal(err)
	}
	name := func(s, protocol string) ServicePortName {
		return ServicePortName{Service: types.NamespacedName{Namespace: "default", Name: s}, Protocol: protocol}
	}
	want := []Visits{
		{ServicePortName: name("a", "TCP"), Port: 30080, From: "outside", Connections: 1},
		{ServicePortName: name("a", "TCP"), Addr: netip.MustParseAddr("10.96.1.1"), Port: 80, From: "inside", Connections: 5},
		{ServicePortName: name("closed", "UDP"), Port: 30081, From: "outside", Dropped: 1},
		{ServicePortName: name("none", "TCP"), Addr: netip.MustParseAddr("10.96.1.2"), Port: 80, From: "inside", Refused: 2},
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("visits (-want +got):\n%s", diff)
	}
	if err := w.dp.Apply(t.Context(), a.Service, nil); err != nil {
		t.Fatal(err)
	}
	w.dp.pruneCounters()
	left := 0
	if err := w.dp.eachTraffic(func(trafficKey, traffic) { left++ }); err != nil || left != 0 {
		t.Errorf("%d counters of backends are left, %v", left, err)
	}
	if err := w.dp.eachVisits(func(frontendKey, visits) { left++ }); err != nil || left != 2 {
		t.Errorf("%d counters of frontends are left, %v", left, err)
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
	c := host.Cgroup{Path: fmt.Sprintf("mt-svc-empty-%d", os.Getpid())}
	if err := c.Create(); err != nil {
		t.Fatal(err)
	}
	defer c.Delete()
	if got, err := namespacesOf(c); len(got) != 0 || err != nil {
		t.Errorf("%v, %v", got, err)
	}
}

// seat is the twin of the place of a TCP socket.
type seat struct {
	Cookie      uint64
	Beside, Pad uint32
	Peer        [48]byte
}

// TestClosedSocketsAreForgotten: what a socket was connected to is known while it is open, and then no more, also where
// other sockets have all places.
func TestClosedSocketsAreForgotten(t *testing.T) {
	w := newWorld(t)
	w.serveTCP(w.p2, "p2", p2IP+":8080")
	w.apply(clusterIP("a", "10.96.1.1", 80, corev1.ProtocolTCP, back(p2IP+":8080")))
	seats, streams := w.dp.collection.Maps["seats"], kernelTable[uint64, [48]byte]{w.dp.collection.Maps["streams"]}
	for _, taken := range []bool{false, true} {
		const stranger = 1 << 60
		if taken {
			for i := range seats.MaxEntries() {
				if err := seats.Put(i, &seat{Cookie: stranger}); err != nil {
					t.Fatal(err)
				}
			}
		}
		pod := w.helperIn(w.q1)
		wantAnswer(t, "a socket that stays open", pod.do(request{Op: "keep", Network: "tcp4", Addr: "10.96.1.1:80"}), "p2", "")
		for range 3 {
			wantAnswer(t, "a socket", pod.ask("tcp4", "10.96.1.1:80"), "p2", "10.96.1.1:80")
			wantAnswer(t, "a socket of no Service", pod.ask("tcp4", p2IP+":8080"), "p2", p2IP+":8080")
		}
		seated, beside, crowd := 0, uint32(0), 0
		err := (kernelTable[uint32, seat]{seats}).each(func(_ uint32, s seat) {
			if s.Cookie != 0 && s.Cookie != stranger {
				seated++
			}
			beside += s.Beside
		})
		err = errors.Join(err, streams.each(func(uint64, [48]byte) { crowd++ }))
		want := [3]int{1, 0, 0}
		if taken {
			want = [3]int{0, 1, 1}
		}
		if got := [3]int{seated, int(beside), crowd}; err != nil || got != want {
			t.Errorf("places taken %v: %v sockets are known, %v; want %v", taken, got, err, want)
		}
	}
}
