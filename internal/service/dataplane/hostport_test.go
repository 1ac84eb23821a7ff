package dataplane

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"minato/internal/host"
	"minato/internal/service/route"
)

// hostPorts are the frontends of a Pod on the first node.
func hostPorts(name string, ports ...route.HostPort) []route.Frontend {
	return route.CompileHostPorts(types.NamespacedName{Namespace: "default", Name: name}, ports, nodesOf(v4, v6)[0])
}

func (f family) hostPort(port uint16, p corev1.Protocol, hostIP, backend string) route.HostPort {
	out := route.HostPort{Port: port, Protocol: p, Backend: back(backend)[0].Addr}
	if hostIP != "" {
		out.HostIP = ip(hostIP)
	}
	return out
}

// TestHostPort reaches a Pod by its hostPort from everywhere.
func TestHostPort(t *testing.T) { eachWay(t, testHostPort) }

func testHostPort(t *testing.T, fam family) {
	w := worldOf(t, fam)
	w.serveTCP(w.p1, "p1", fam.p1+":8080")
	w.serveUDP(w.p1, "p1", fam.p1+":8080")
	loopback := "127.0.0.1"
	if fam.ipv6 {
		loopback = "[::1]"
	}
	tcp, udp := corev1.ProtocolTCP, corev1.ProtocolUDP
	var fs []route.Frontend
	for _, p := range []corev1.Protocol{tcp, udp} {
		fs = append(fs, hostPorts("web",
			fam.hostPort(80, p, "", fam.p1+":8080"), fam.hostPort(81, p, fam.n1, fam.p1+":8080"), fam.hostPort(82, p, loopback, fam.p1+":8080"),
			fam.hostPort(83, p, fam.foreign, fam.p1+":8080"))...)
	}
	w.apply(fs...)
	inPod, inNode, itself := w.helperIn(w.q1), w.helperIn(w.n1), w.helperIn(w.p1)
	packets := func(ns host.Netns) func(network, addr string) answer {
		return func(n, a string) answer { return ask(ns, n, a) }
	}
	for what, c := range map[string]struct {
		ask func(network, addr string) answer
		// own is the address under which the Pod must see the client, if it is to.
		own string
	}{
		"socket of a pod":          {inPod.ask, fam.q1},
		"socket of the node":       {inNode.ask, ""}, // the address of the link
		"socket of the pod itself": {itself.ask, fam.p1},
		"packet of a pod":          {packets(w.q1), fam.q1},
		"packet of the node":       {packets(w.n1), fam.n1},
		"packet of the pod itself": {packets(w.p1), ""},
		"another node":             {packets(w.n2), fam.n2},
		"pod of another node":      {packets(w.p2), fam.p2},
		"outside":                  {packets(w.lan), fam.lan},
	} {
		for _, network := range []string{fam.tcp, fam.udp} {
			for _, port := range []int{80, 81} {
				to := fmt.Sprintf("%s:%d", fam.n1, port)
				a := c.ask(network, to)
				wantAnswer(t, what+" "+network+" to "+to, a, "p1", to)
				if !strings.HasPrefix(a.Client, c.own) {
					t.Errorf("%s %s to %s: the Pod saw client %s, want %s", what, network, to, a.Client, c.own)
				}
			}
			wantRefused(t, what+" "+network+" to an address that has it on the loopback only", c.ask(network, fam.n1+":82"))
		}
	}
	for _, network := range []string{fam.tcp, fam.udp} {
		for _, port := range []int{80, 82} {
			to := fmt.Sprintf("%s:%d", loopback, port)
			wantAnswer(t, "node's loopback "+network+" "+to, inNode.ask(network, to), "p1", to)
			wantRefused(t, "a Pod's loopback "+network+" "+to, inPod.ask(network, to))
		}
		wantRefused(t, "node's loopback, hostIP elsewhere", inNode.ask(network, loopback+":81"))
	}
	if err := w.dp.Apply(t.Context(), fs[0].Service, nil); err != nil {
		t.Fatal(err)
	}
	wantRefused(t, "after the Pod is gone", ask(w.lan, fam.tcp, fam.n1+":80"))
	if t.Failed() {
		t.Log(w.dp.Dump())
	}
}

// TestPacketHostPort is about what a live test can't send: packets from a wire to a loopback address, and a NodePort of
// the same number.
func TestPacketHostPort(t *testing.T) { eachFamily(t, testPacketHostPort) }

func testPacketHostPort(t *testing.T, fam family) {
	r := newRig(t)
	tcp := corev1.ProtocolTCP
	loopback := "127.0.0.1"
	if fam.ipv6 {
		loopback = "[::1]"
	}
	r.apply(hostPorts("web", fam.hostPort(80, tcp, "", fam.p1+":8080"), fam.hostPort(30001, tcp, "", fam.p1+":8080"))...)
	for what, index := range map[string]uint32{"uplink": r.uplink, "pod": r.pod} {
		in := segment{from: fam.q1 + ":40000", to: loopback + ":80", flags: syn}.packet()
		v, out := r.ingress(index, in)
		wantUntouched(t, "to the loopback address from "+what, v, in, out)
	}
	in := segment{from: fam.client(), to: fam.n1 + ":80", flags: syn}
	wanted := in
	wanted.to = fam.p1 + ":8080"
	v, out := r.ingress(r.uplink, in.packet())
	want(t, "from outside", v, pass, parse(t, out), wanted)
	v, out = r.ingress(r.uplink, segment{from: fam.p1 + ":8080", to: fam.client(), flags: syn | ack}.packet())
	want(t, "the answer", v, pass, parse(t, out), segment{from: fam.n1 + ":80", to: fam.client(), flags: syn | ack})

	port := 41000
	reached := func() string {
		t.Helper()
		port++
		_, out := r.ingress(r.pod, segment{from: fmt.Sprintf("%s:%d", fam.q1, port), to: fam.n1 + ":30001", flags: syn}.packet())
		return parse(t, out).to
	}
	if got := reached(); got != fam.p1+":8080" {
		t.Errorf("hostPort in the range of NodePorts: %s", got)
	}
	r.apply(fam.nodePort("svc", 30001, tcp, back(fam.p2+":8080")))
	if got := reached(); got != fam.p2+":8080" {
		t.Errorf("a NodePort of the same number goes first, but the packet went to %s", got)
	}
	if err := r.reconciler.apply(map[types.NamespacedName][]route.Frontend{fam.nodePort("svc", 1, tcp, nil).Service: nil}); err != nil {
		t.Fatal(err)
	}
	if got := reached(); got != fam.p1+":8080" {
		t.Errorf("after the NodePort is gone: %s", got)
	}
}
