package loadbalancer

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"minato/internal/loadbalancer/announce"
)

// claim is what a peer is heard to say.
func claim(addr, peer string) announce.Conflict {
	return announce.Conflict{Addr: netip.MustParseAddr(addr), MAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}, Link: "eth0", Peer: peer}
}

func stranger(addr string, last byte) announce.Conflict {
	c := claim(addr, "")
	c.MAC = net.HardwareAddr{2, 0, 0, 0, 1, last}
	return c
}

// Two nodes that don't hear each other both announce: the one behind in the order stops, the other announces anew.
func TestConflictBetweenNodes(t *testing.T) {
	nodes := []string{"node-1", "node-2"}
	addr := addressFor(0, []string{"node-2"}, nodes...)
	loser, winner := newStage(t, "node-1", nodes...), newStage(t, "node-2", nodes...)
	for _, s := range []*stage{loser, winner} {
		s.set("web", addr, nodes)
		s.hears()
		s.must(s.all())
		s.wants("web", addr+"!>"+s.node)
		s.announcer.took()
	}
	winner.must(winner.changed(claim(addr, "node-1")))
	winner.wantOps("reannounce [" + addr + "]")
	loser.must(loser.changed(claim(addr, "node-2")))
	loser.wantOps("apply default/web " + addr + ">node-1")
	if loser.winners("web") != "node-2" || loser.reports.names() != "" {
		t.Errorf("winner %s, reports %q", loser.winners("web"), loser.reports.names())
	}
	loser.must(loser.changed(claim(addr, "node-2"))) // late
	loser.wantOps()

	// The yield ends.
	began := loser.clock
	loser.passTo()
	if got := loser.clock.Sub(began); got != firstYield {
		t.Errorf("the yield lasts %v", got)
	}
	loser.must(loser.changed())
	loser.wantOps("apply default/web " + addr + "!>node-1")
	if !loser.later().IsZero() {
		t.Error("something is due after the end of a yield")
	}
	// Where both go on not to hear each other, it is tried less and less often.
	for _, want := range []time.Duration{10 * time.Second, 20 * time.Second, 40 * time.Second, time.Minute, time.Minute} {
		loser.clock = loser.clock.Add(time.Second)
		loser.must(loser.changed(claim(addr, "node-2")))
		began := loser.clock
		loser.passTo()
		if got := loser.clock.Sub(began); got != want {
			t.Errorf("the yield lasts %v, want %v", got, want)
		}
		loser.must(loser.changed())
	}
	loser.clock = loser.clock.Add(10 * time.Minute)
	loser.must(loser.changed(claim(addr, "node-2")))
	began = loser.clock
	loser.passTo()
	if got := loser.clock.Sub(began); got != firstYield {
		t.Errorf("after a long time the yield lasts %v", got)
	}
}

// The other node dies while it has the address.
func TestYieldEndsWithTheOtherNode(t *testing.T) {
	s := newStage(t, "node-1", threeNodes...)
	addr := addressFor(0, []string{"node-2", "node-1"}, threeNodes...)
	s.set("web", addr, threeNodes)
	s.hears("node-3")
	s.must(s.all())
	s.must(s.changed(claim(addr, "node-2")))
	s.wants("web", addr+">node-1,node-3")
	s.hears("node-2", "node-3")
	s.must(s.all())
	s.wants("web", addr+">node-1,node-2,node-3")
	s.hears("node-3")
	s.must(s.all())
	s.wants("web", addr+"!>node-1,node-3")
	if !s.later().IsZero() {
		t.Error("something is due")
	}
}

// Nothing stays due of an address that nobody has any more, or that another node has won.
func TestYieldOfAnAddressThatGoes(t *testing.T) {
	nodes := []string{"node-1", "node-2"}
	addr := addressFor(0, []string{"node-2"}, nodes...)
	for what, then := range map[string]func(*stage){
		"removed": func(s *stage) { s.remove("web"); s.must(s.changed()) },
		"heard":   func(s *stage) { s.hears("node-2"); s.must(s.all()); s.passTo(); s.must(s.changed()) },
	} {
		s := newStage(t, "node-1", nodes...)
		s.set("web", addr, nodes)
		s.hears()
		s.must(s.all())
		s.must(s.changed(claim(addr, "node-2")))
		then(s)
		if at := s.later(); !at.IsZero() {
			t.Errorf("%s: something is due at %v", what, at)
		}
	}
}

// Claims of addresses that this node does not announce, or that no Service has, change nothing.
func TestClaimsThatAreNoConflicts(t *testing.T) {
	s := newStage(t, "node-1", threeNodes...)
	addr := addressFor(0, []string{"node-2"}, threeNodes...)
	s.set("web", addr, threeNodes)
	s.must(s.all())
	s.announcer.took()
	s.must(s.changed(claim(addr, "node-3"), claim("172.30.207.7", "node-2"), stranger("172.30.207.7", 1)))
	s.wantOps()
	if !s.later().IsZero() {
		t.Error("something is due")
	}
}

// A shared address is left to the other node by all Services at once.
func TestConflictOfASharedAddress(t *testing.T) {
	nodes := []string{"node-1", "node-2"}
	addr := addressFor(0, []string{"node-2"}, nodes...)
	s := newStage(t, "node-1", nodes...)
	shared := annotated("metallb.io/allow-shared-ip", "key")
	s.set("a", addr, nodes, shared)
	s.set("b", addr, nodes, shared)
	s.hears()
	s.must(s.all())
	s.must(s.changed(claim(addr, "node-2")))
	s.wants("a", addr+">node-1")
	s.wants("b", addr+">node-1")
}

func TestConflictWithAStranger(t *testing.T) {
	addr := addressFor(0, []string{"node-1"}, threeNodes...)
	for _, self := range threeNodes {
		s := newStage(t, self, threeNodes...)
		s.set("web", addr, threeNodes)
		s.must(s.all())
		s.announcer.took()
		s.events.forget()
		for range 5 {
			s.must(s.changed(stranger(addr, 1)))
		}
		s.wantOps()
		if self != "node-1" { // only the node that announces tells of it
			s.wantEvents("web")
			continue
		}
		first := "Warning/metallb-speaker/addressConflict/" + addr + " is also used by a machine with the hardware address 02:00:00:00:01:01"
		s.wantEvents("web", first)
		held := stranger(addr, 1)
		held.Held = true
		s.must(s.changed(held, stranger(addr, 2), stranger(addr, 1)))
		second := addr + " is not announced: a machine with the hardware address 02:00:00:00:01:01"
		s.wantEvents("web", first, second, "02:00:00:00:01:02")
		// It goes on all the time, and is no news.
		for range 30 {
			s.clock = s.clock.Add(time.Minute)
			s.must(s.changed(stranger(addr, 1)))
		}
		s.wantEvents("web", first, second, "02:00:00:00:01:02")
		s.clock = s.clock.Add(quietFor)
		s.must(s.changed(stranger(addr, 1)))
		s.wantEvents("web", first, second, "02:00:00:00:01:02", first)
	}
}

// A network full of machines with the address makes no flood of events, and the memory of them is bounded.
func TestManyStrangers(t *testing.T) {
	s := newStage(t, "node-1", "node-1")
	s.set("web", "172.30.200.1", []string{"node-1"})
	s.must(s.all())
	s.events.forget()
	for i := range 100 {
		s.must(s.changed(stranger("172.30.200.1", byte(i))))
	}
	if got := len(s.events.about("web")); got != mostStrangers {
		t.Errorf("%d events", got)
	}
	if got := len(s.addrs[netip.MustParseAddr("172.30.200.1")].strangers); got != mostStrangers {
		t.Errorf("%d strangers are kept", got)
	}
}

// An address that nobody announces is told of by the first node that is heard.
func TestStrangerWithAnAddressThatNobodyAnnounces(t *testing.T) {
	for self, want := range map[string]int{"node-1": 0, "node-2": 1, "node-3": 0} {
		s := newStage(t, self, threeNodes...)
		s.hears("node-2", "node-3")
		if self == "node-1" {
			s.hears()
			s.view.Self = false
			s.view.Peers["node-2"] = true
		}
		s.set("web", "172.30.200.1", nil)
		s.must(s.all())
		s.must(s.changed(stranger("172.30.200.1", 1)))
		if got := s.events.about("web"); len(got) != want {
			t.Errorf("%s: events %s", self, strings.Join(got, fmt.Sprintln()))
		}
	}
}
