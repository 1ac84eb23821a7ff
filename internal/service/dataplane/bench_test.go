package dataplane

import (
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"minato/internal/host"
	"minato/internal/service/route"
)

func manyServices(n int) map[types.NamespacedName][]route.Frontend {
	out := map[types.NamespacedName][]route.Frontend{}
	for i := range n {
		b := []route.Backend{
			{Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), 80)},
			{Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 2, byte(i >> 8), byte(i)}), 80)},
		}
		f := clusterIP(fmt.Sprint("many-", i), netip.AddrFrom4([4]byte{10, 96, byte(i>>8) + 8, byte(i)}).String(), 80, corev1.ProtocolTCP, b)
		out[f.Service] = []route.Frontend{f}
	}
	return out
}

// BenchmarkApplyAll writes 10,000 Services with two endpoints each to the kernel.
func BenchmarkApplyAll(b *testing.B) {
	r := newRig(b)
	services := manyServices(10000)
	none := map[types.NamespacedName][]route.Frontend{}
	for k := range services {
		none[k] = nil
	}
	for b.Loop() {
		if err := r.reconciler.apply(services); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if err := r.reconciler.apply(none); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

// BenchmarkApplyOne changes the endpoints of one Service among 10,000.
func BenchmarkApplyOne(b *testing.B) {
	r := newRig(b)
	if err := r.reconciler.apply(manyServices(10000)); err != nil {
		b.Fatal(err)
	}
	f := clusterIP("a", "10.96.1.1", 80, corev1.ProtocolTCP, nil)
	sets := [][]route.Backend{back(p1IP+":80", p2IP+":80"), back(p1IP + ":80")}
	for i := 0; b.Loop(); i++ {
		f.Cluster = sets[i%2]
		if err := r.reconciler.apply(map[types.NamespacedName][]route.Frontend{f.Service: {f}}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkPackets shows what a packet costs: one that matches nothing, and one of a known connection.
func BenchmarkPackets(b *testing.B) {
	r := newRig(b)
	if err := r.reconciler.apply(manyServices(10000)); err != nil {
		b.Fatal(err)
	}
	for _, f := range []family{v4, v6} {
		// The kernel sends one packet again and again, as the program left it. So that it is still one to a Service, the
		// Service's backend is the Service's address.
		r.apply(clusterIP("a"+f.name, f.vip(1), 80, corev1.ProtocolUDP, back(f.vip(1)+":80")))
		for name, s := range map[string]segment{
			"untouched":  {from: f.q1 + ":40000", to: f.p2 + ":8080", flags: ack},
			"translated": {from: f.q1 + ":40000", to: f.vip(1) + ":80", udp: true},
		} {
			b.Run(f.name+" "+name, func(b *testing.B) {
				p := r.collection.Programs[programFor(inbound, f.ipv6)]
				opts := &ebpf.RunOptions{Data: s.packet(), Repeat: uint32(b.N), Context: skb{Ifindex: r.pod}}
				err := r.ns.Do(func() error {
					_, err := p.Run(opts)
					return err
				})
				if err != nil {
					b.Fatal(err)
				}
			})
		}
	}
}

// TestConnectLatency compares connections to a backend with connections through a Service; run it with -v.
func TestConnectLatency(t *testing.T) {
	if testing.Short() {
		t.Skip("measures")
	}
	w := newWorld(t)
	w.serveTCP(w.p2, "p2", p2IP+":8080")
	b := back(p2IP + ":8080")
	if err := w.dp.ApplyAll(t.Context(), manyServices(5000)); err != nil {
		t.Fatal(err)
	}
	w.apply(clusterIP("a", "10.96.1.1", 80, corev1.ProtocolTCP, b), nodePort("a", 30001, corev1.ProtocolTCP, b))
	pod := w.helperIn(w.q1)
	medians := map[string]time.Duration{}
	for _, c := range []struct {
		what string
		do   func(addr string) []time.Duration
		addr string
	}{
		{"pod direct", pod.latency, p2IP + ":8080"},
		{"pod through the Service", pod.latency, "10.96.1.1:80"},
		{"outside direct", func(a string) []time.Duration { return latencies(w.lan, a) }, p2IP + ":8080"},
		{"outside through the NodePort", func(a string) []time.Duration { return latencies(w.lan, a) }, n1IP + ":30001"},
	} {
		all := c.do(c.addr)
		if len(all) == 0 {
			t.Fatalf("%s: no connection", c.what)
		}
		slices.Sort(all)
		medians[c.what] = all[len(all)/2]
		t.Logf("%-30s p50 %s p99 %s", c.what, all[len(all)/2], all[len(all)*99/100])
	}
	if direct, service := medians["pod direct"], medians["pod through the Service"]; service > 3*direct {
		t.Errorf("connecting takes %s directly and %s through the Service", direct, service)
	}
}

func latencies(ns host.Netns, addr string) (out []time.Duration) {
	ns.Do(func() error {
		for range 500 {
			start := time.Now()
			c, err := net.Dial("tcp4", addr)
			if err != nil {
				out = nil
				return err
			}
			out = append(out, time.Since(start))
			c.Close()
		}
		return nil
	})
	return out
}

func (h *helper) latency(addr string) (out []time.Duration) {
	h.t.Helper()
	a := h.do(request{Op: "latency", Addr: addr})
	if err := json.Unmarshal([]byte(a.Server), &out); err != nil {
		h.t.Fatal(err)
	}
	return out
}
