package dataplane

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func TestMasqueradePorts(t *testing.T) {
	requireRoot(t)
	ns := netnsFor(t, "ports")
	for given, want := range map[string][2]uint16{
		"32768 60999": {1024, 29999},
		"30000 60999": {1024, 29999},
		"1024 65535":  {61000, 65535},
	} {
		if err := ns.Sysctls(map[string]string{socketPorts: given}); err != nil {
			t.Fatal(err)
		}
		if low, high, err := masqueradePorts(ns); err != nil || low != want[0] || high != want[1] {
			t.Errorf("%s: %d-%d, %v; want %v", given, low, high, err, want)
		}
	}
}

// TestPacketSourcePortIsTakenAgain has a single source port to masquerade with. A second connection gets it as soon as
// the backend has forgotten the first, and not before.
func TestPacketSourcePortIsTakenAgain(t *testing.T) {
	const forward, reply = true, false
	type packet struct {
		forward bool
		flags   uint8
	}
	for name, c := range map[string]struct {
		after []packet
		age   uint32 // seconds
		free  bool
	}{
		"open":                            {after: []packet{{forward, ack}, {reply, ack}}, age: 1000},
		"reset by the client":             {after: []packet{{forward, rst}}, free: true},
		"reset by the backend":            {after: []packet{{reply, rst | ack}}, free: true},
		"half closed by the client":       {after: []packet{{forward, fin | ack}}, age: 1000},
		"closed by the client first":      {after: []packet{{forward, fin | ack}, {reply, fin | ack}}, age: 2, free: true},
		"closed by the client just now":   {after: []packet{{forward, fin | ack}, {reply, fin | ack}}},
		"closed by the backend first":     {after: []packet{{reply, fin | ack}, {forward, fin | ack}}, age: 59},
		"closed by the backend long ago":  {after: []packet{{reply, fin | ack}, {forward, fin | ack}}, age: 61, free: true},
		"closed by the backend, repeated": {after: []packet{{reply, fin | ack}, {forward, fin | ack}, {reply, fin | ack}}, age: 59},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.settings.MasqueradeCount = 1
			r.configure()
			r.apply(nodePort("a", 30001, corev1.ProtocolTCP, back(p2IP+":8080")))
			in := segment{from: lanIP + ":40000", to: n1IP + ":30001", flags: syn}
			_, out := r.ingress(r.uplink, in.packet())
			taken := parse(t, out).from
			if want := fmt.Sprintf("%s:%d", n1IP, masqueradeMin); taken != want {
				t.Fatalf("masqueraded as %s, want %s", taken, want)
			}
			for _, p := range c.after {
				s := segment{from: in.from, to: in.to, flags: p.flags}
				if !p.forward {
					s.from, s.to = p2IP+":8080", taken
				}
				r.ingress(r.uplink, s.packet())
			}
			flows := kernelTable[tuple, flow]{r.collection.Maps["flows"]}
			var keys []tuple
			var aged []flow
			flows.each(func(k tuple, f flow) {
				f.Seen -= c.age
				keys, aged = append(keys, k), append(aged, f)
			})
			if err := flows.put(keys, aged); err != nil {
				t.Fatal(err)
			}
			v, out := r.ingress(r.uplink, segment{from: lanIP + ":40001", to: in.to, flags: syn}.packet())
			if free := v == pass && parse(t, out).from == taken; free != c.free {
				t.Errorf("the port can be taken: %t (verdict %d)", free, int32(v))
			}
		})
	}
}
