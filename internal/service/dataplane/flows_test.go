package dataplane

import (
	"fmt"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
)

// flowRig is a rig whose table of flows takes few connections from outside to a NodePort.
type flowRig struct {
	*rig
	f family
}

const fewFlows = 64 // entries, two to a connection

func newFlowRig(t *testing.T, f family) flowRig {
	r := flowRig{newRigOf(t, Limits{Flows: fewFlows}), f}
	r.apply(f.nodePort("tcp", 30001, corev1.ProtocolTCP, back(f.p2+":8080")), f.nodePort("udp", 30001, corev1.ProtocolUDP, back(f.p2+":8080")))
	return r
}

// send sends a packet of the client's i-th connection, and returns how it looks after translation.
func (r flowRig) send(i int, udp bool, flags byte) (verdict uint32, as segment) {
	r.t.Helper()
	in := segment{from: fmt.Sprintf("%s:%d", r.f.lan, 1000+i), to: r.f.n1 + ":30001", udp: udp, flags: flags}
	v, out := r.ingress(r.uplink, in.packet())
	if v != pass {
		return v, segment{}
	}
	return v, parse(r.t.(*testing.T), out)
}

// answer sends the answer to a packet that was translated.
func (r flowRig) answer(to segment, flags byte) {
	r.t.Helper()
	if v, _ := r.ingress(r.uplink, segment{from: to.to, to: to.from, udp: to.udp, flags: flags}.packet()); v != pass {
		r.t.Fatalf("answer: verdict %d", int32(v))
	}
}

func (r flowRig) flows() map[tuple]flow {
	r.t.Helper()
	all := map[tuple]flow{}
	if err := (kernelTable[tuple, flow]{r.collection.Maps["flows"]}).each(func(k tuple, f flow) { all[k] = f }); err != nil {
		r.t.Fatal(err)
	}
	return all
}

// age has all flows look as if nothing had come for so long.
func (r flowRig) age(by time.Duration) {
	r.t.Helper()
	for k, f := range r.flows() {
		f.Seen -= uint32(by.Seconds())
		if err := r.collection.Maps["flows"].Update(&k, &f, 0); err != nil {
			r.t.Fatal(err)
		}
	}
}

// TestFlowsThatAreOverMakeRoom: a table that is full takes new connections while there are old ones that nobody uses.
func TestFlowsThatAreOverMakeRoom(t *testing.T) { eachFamily(t, testFlowsThatAreOverMakeRoom) }

func testFlowsThatAreOverMakeRoom(t *testing.T, f family) {
	r := newFlowRig(t, f)
	for i := range 5 * fewFlows {
		if v, _ := r.send(i, false, syn); v != pass {
			t.Fatalf("connection %d: verdict %d with %d flows", i, int32(v), len(r.flows()))
		}
		r.send(i, false, rst)
	}
	if n := len(r.flows()); n > fewFlows {
		t.Errorf("%d flows", n)
	}
}

// TestFlowsEnd: without any need for room, too, a flow that is over goes once nothing can come any more.
func TestFlowsEnd(t *testing.T) { eachFamily(t, testFlowsEnd) }

func testFlowsEnd(t *testing.T, f family) {
	r := newFlowRig(t, f)
	end := func(i int, flags ...byte) {
		_, as := r.send(i, false, syn)
		r.answer(as, syn|ack)
		for _, f := range flags {
			if f&rst == 0 {
				r.answer(as, f)
			}
			r.send(i, false, f)
		}
	}
	end(0, rst)
	end(1, fin|ack) // the backend is the first to close, so it waits
	end(2)          // stays open
	left := func() (out []string) {
		for k, f := range r.flows() {
			if f.Flags&flowReply == 0 {
				out = append(out, fmt.Sprint(k.Sport.Number()-1000))
			}
		}
		return out
	}
	for i, step := range []struct {
		after time.Duration
		flows int
	}{{0, 3}, {11 * time.Second, 2}, {time.Minute, 1}} {
		r.age(step.after)
		// Ends of connections are when others are looked at.
		for j := range 4 {
			end(100*(i+1)+j, rst)
		}
		kept := 0
		for _, port := range left() {
			if len(port) == 1 {
				kept++
			}
		}
		if kept != step.flows {
			t.Errorf("%s later %d of the first flows are left, want %d: %v", step.after, kept, step.flows, left())
		}
	}
}

// TestFlowsInUseStay: a table full of connections in use takes no more of them and keeps those it has; of what is not in
// use any more, the longest waits go first.
func TestFlowsInUseStay(t *testing.T) { eachFamily(t, testFlowsInUseStay) }

func testFlowsInUseStay(t *testing.T, f family) {
	r := newFlowRig(t, f)
	sent := map[int]segment{}
	for i := range fewFlows / 2 {
		v, as := r.send(i, false, syn)
		if v != pass {
			t.Fatalf("connection %d: verdict %d", i, int32(v))
		}
		r.answer(as, syn|ack)
		sent[i] = as
	}
	for i := range 3 {
		if v, _ := r.send(1000+i, i == 2, syn); v != shot {
			t.Errorf("a connection too many: verdict %d", int32(v))
		}
	}
	for i, as := range sent {
		if v, now := r.send(i, false, ack); v != pass || now.from != as.from || now.to != as.to {
			t.Errorf("connection %d from %s to %s goes from %s to %s", i, as.from, as.to, now.from, now.to)
		}
	}
	if n := r.counter(t, "packets dropped for want of room in the table of flows"); n != 3 {
		t.Errorf("%d packets counted that had no room", n)
	}
	r.age(2 * time.Minute)
	r.send(0, false, ack)
	for i := range 3 {
		if v, _ := r.send(2000+i, false, syn); v != pass {
			t.Errorf("others were idle for minutes, and a new connection got verdict %d", int32(v))
		}
	}
	if v, now := r.send(0, false, ack); v != pass || now.from != sent[0].from {
		t.Errorf("the one that was not idle goes from %s, not %s", now.from, sent[0].from)
	}
}

// TestFlowsOfAFlood: connections that nobody answers, and UDP, give way soon.
func TestFlowsOfAFlood(t *testing.T) {
	for _, udp := range []bool{false, true} {
		r := newFlowRig(t, v4)
		_, mine := r.send(0, false, syn)
		r.answer(mine, syn|ack)
		for i := range 2 * fewFlows {
			r.send(100+i, udp, syn)
		}
		deadline := time.Now().Add(10 * time.Second)
		for v := uint32(shot); v != pass; {
			if time.Now().After(deadline) {
				t.Fatal("no room after a flood")
			}
			v, _ = r.send(5000, false, syn)
		}
		if v, now := r.send(0, false, ack); v != pass || now.from != mine.from {
			t.Errorf("the connection before the flood goes from %s, not %s", now.from, mine.from)
		}
	}
}

func (r flowRig) counter(t *testing.T, what string) (sum uint64) {
	t.Helper()
	for i, name := range counterNames {
		if name != what {
			continue
		}
		var each []uint64
		if err := r.collection.Maps["counters"].Lookup(uint32(i), &each); err != nil {
			t.Fatal(err)
		}
		for _, n := range each {
			sum += n
		}
		return sum
	}
	t.Fatalf("no counter %q", what)
	return 0
}

// monotonic is the programs' clock.
func monotonic(t *testing.T) uint32 {
	t.Helper()
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		t.Fatal(err)
	}
	return uint32(now.Sec)
}
