package main

import (
	"net"
	"net/netip"
	"testing"
)

func TestARP(t *testing.T) {
	mac := net.HardwareAddr{2, 0, 0, 0, 0, 7}
	from, about := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.9")
	asked := question(mac, from, about)
	if len(asked) != arpSize || netip.AddrFrom4([4]byte(asked[24:28])) != about {
		t.Fatalf("% x", asked)
	}
	if _, ok := answerIn(asked); ok {
		t.Error("a question was taken for an answer")
	}
	asked[7] = 2
	c, ok := answerIn(append(asked, make([]byte, 18)...)) // with the padding of a short frame
	if !ok || c.Address != from || c.MAC != mac.String() {
		t.Errorf("%v %+v", ok, c)
	}
	if _, ok := answerIn(asked[:27]); ok {
		t.Error("a short packet was taken for an answer")
	}
}

func TestQuestionsGoRound(t *testing.T) {
	p := &prober{awaited: map[netip.Addr]bool{}, wake: make(chan struct{}, 1)}
	var all []netip.Addr
	for i := range questions + 50 {
		all = append(all, netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}))
	}
	p.await(all)
	p.await(all[:10]) // known
	first, second := p.next(), p.next()
	if len(first) != questions || first[0] != all[0] || len(second) != questions || second[0] != all[questions] || second[50] != all[0] {
		t.Errorf("%d from %v, then %d from %v", len(first), first[0], len(second), second[0])
	}
	delete(p.awaited, all[50])
	for _, a := range append(p.next(), p.next()...) {
		if a == all[50] {
			t.Error("asked about an address that was answered")
		}
	}
	p.forget()
	if left := p.next(); len(left) > 0 {
		t.Errorf("asked about %v after forgetting", left)
	}
}
