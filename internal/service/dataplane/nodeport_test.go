package dataplane

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"minato/internal/host"
	"minato/internal/service/route"
)

// TestNodePortOfAnotherNode: what goes to another node's NodePort is outside traffic there, wherever it comes from.
// Under externalTrafficPolicy Local that node's own backends get it, with the client's address, or nobody does.
func TestNodePortOfAnotherNode(t *testing.T) { eachFamily(t, testNodePortOfAnotherNode) }

func testNodePortOfAnotherNode(t *testing.T, fam family) {
	w := newWorld(t)
	second := w.secondDataPlane()
	for _, s := range []struct {
		ns       host.Netns
		name, ip string
	}{{w.p1, "p1", fam.p1}, {w.p2, "p2", fam.p2}} {
		w.serveTCP(s.ns, s.name, s.ip+":8080")
		w.serveUDP(s.ns, s.name, s.ip+":8080")
	}
	policies := func(local []route.Backend, p corev1.Protocol) (fs []route.Frontend) {
		cluster := fam.nodePort("cluster-"+string(p), 30001, p, back(fam.p1+":8080"))
		alone := fam.nodePort("here-"+string(p), 30002, p, back(fam.p1+":8080", fam.p2+":8080"))
		alone.Local = local
		alone.Decisions[route.FromOutside] = route.Decision{Set: route.LocalSet}
		elsewhere := fam.nodePort("elsewhere-"+string(p), 30003, p, back(fam.p1+":8080"))
		elsewhere.Decisions[route.FromOutside] = route.Decision{Verdict: route.Drop, Set: route.LocalSet}
		return append(fs, cluster, alone, elsewhere)
	}
	for _, p := range []corev1.Protocol{corev1.ProtocolTCP, corev1.ProtocolUDP} {
		w.apply(policies(back(fam.p1+":8080"), p)...)
		for _, f := range policies(back(fam.p2+":8080"), p) {
			if err := second.Apply(t.Context(), f.Service, []route.Frontend{f}); err != nil {
				t.Fatal(err)
			}
		}
	}
	pod, node := w.helperIn(w.q1), w.helperIn(w.n1)
	var silent sync.WaitGroup
	for what, client := range map[string]struct {
		ask func(network, addr string) answer
		own string
	}{
		"socket of a pod":    {pod.ask, fam.q1},
		"socket of the node": {node.ask, fam.n1},
		"packet of a pod":    {func(n, a string) answer { return ask(w.q1, n, a) }, fam.q1},
		"packet of the node": {func(n, a string) answer { return ask(w.n1, n, a) }, fam.n1},
	} {
		for _, network := range []string{fam.tcp, fam.udp} {
			at := func(port int) string { return fmt.Sprintf("%s:%d", fam.n2, port) }
			wantAnswer(t, what+", policy Cluster, "+network, client.ask(network, at(30001)), "p1", at(30001))
			for range 3 {
				a := client.ask(network, at(30002))
				wantAnswer(t, what+", policy Local, "+network, a, "p2", at(30002))
				if !strings.HasPrefix(a.Client, client.own+":") {
					t.Errorf("%s, policy Local, %s: the backend saw client %s, want %s", what, network, a.Client, client.own)
				}
			}
			// The own node's addresses are the inside, where the policy does not hold.
			mine := fmt.Sprintf("%s:%d", fam.n1, 30003)
			wantAnswer(t, what+", own node, "+network, client.ask(network, mine), "p1", mine)
		}
		silent.Go(func() {
			for _, network := range []string{fam.tcp, fam.udp} {
				if a := client.ask(network, fam.n2+":30003"); a.Err == "" || a.refused() || a.Took < prompt {
					t.Errorf("%s, policy Local without a backend, %s: got %+v, want silence", what, network, a)
				}
			}
		})
	}
	silent.Wait()
	if t.Failed() {
		t.Log(w.dp.Dump())
		t.Log(second.Dump())
	}
}

func TestPacketToAnotherNodesNodePortPasses(t *testing.T) {
	eachFamily(t, func(t *testing.T, f family) {
		r := newRig(t)
		for _, p := range []corev1.Protocol{corev1.ProtocolTCP, corev1.ProtocolUDP} {
			r.apply(f.nodePort("a-"+string(p), 30001, p, back(f.p2+":8080")))
			in := segment{from: f.q1 + ":40000", to: f.n2 + ":30001", udp: p == corev1.ProtocolUDP, flags: syn, payload: "hi"}
			v, out := r.ingress(r.pod, in.packet())
			wantUntouched(t, string(p)+" from a pod", v, in.packet(), out)
			in.to = f.n1 + ":30001"
			if v, out := r.ingress(r.pod, in.packet()); v != pass || parse(t, out).to != f.p2+":8080" {
				t.Errorf("%s to the own node: verdict %d, %+v", p, int32(v), parse(t, out))
			}
		}
	})
}
