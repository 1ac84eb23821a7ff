package bfd

import (
	"testing"
	"time"
)

var fast = Timing{Receive: 100 * time.Millisecond, Transmit: 50 * time.Millisecond, Multiplier: 3}

// other is a packet of the other end.
func other(s State, yours uint32) packet {
	return packet{state: s, multiplier: 3, mine: 9, yours: yours, transmit: time.Second, receive: time.Second}
}

// up brings a machine up.
func up(t *testing.T) *machine {
	t.Helper()
	m := newMachine(fast, 7)
	m.receive(other(Down, 0))
	if o, _ := m.receive(other(Init, 7)); m.state != Up || !o.changed || o.failed {
		t.Fatalf("state is %v, outcome %+v", m.state, o)
	}
	return m
}

// The table of RFC 5880, section 6.2.
func TestStates(t *testing.T) {
	to := map[State]func(t *testing.T) *machine{
		Down: func(*testing.T) *machine { return newMachine(fast, 7) },
		Init: func(*testing.T) *machine { m := newMachine(fast, 7); m.receive(other(Down, 0)); return m },
		Up:   up,
	}
	for _, c := range []struct {
		from, gets, want State
		failed           bool
	}{
		{Down, AdminDown, Down, false}, {Down, Down, Init, false}, {Down, Init, Up, false}, {Down, Up, Down, false},
		{Init, AdminDown, Down, false}, {Init, Down, Init, false}, {Init, Init, Up, false}, {Init, Up, Up, false},
		{Up, AdminDown, Down, false}, {Up, Down, Down, true}, {Up, Init, Up, false}, {Up, Up, Up, false},
	} {
		m := to[c.from](t)
		o, ok := m.receive(other(c.gets, 7))
		if !ok || m.state != c.want || o.changed != (c.from != c.want) || o.failed != c.failed {
			t.Errorf("%v gets %v: %v, %+v, %v; want %v, failed %v", c.from, c.gets, m.state, o, ok, c.want, c.failed)
		}
	}
}

func TestOtherSession(t *testing.T) {
	m := up(t)
	if _, ok := m.receive(other(Down, 8)); ok || m.state != Up {
		t.Errorf("a packet of another session was taken: %v", m.state)
	}
}

func TestExpiry(t *testing.T) {
	m := up(t)
	if o := m.expire(); !o.failed || m.state != Down || m.yours != 0 || m.packet().diagnostic != detectionExpired {
		t.Errorf("outcome is %+v, packet %+v", o, m.packet())
	}
	if o := m.expire(); o != (outcome{}) {
		t.Errorf("a path that is down went down: %+v", o)
	}
	m = newMachine(fast, 7)
	m.receive(other(Down, 0))
	if o := m.expire(); o.failed || m.state != Down {
		t.Errorf("a path that never was up failed: %+v, %v", o, m.state)
	}
}

// A router sends one packet each second until the path is up, so that is waited for, however fast this end would be.
func TestIntervals(t *testing.T) {
	m := newMachine(fast, 7)
	if got := m.interval(); got != slow {
		t.Errorf("sends each %v while down, want %v", got, slow)
	}
	m.receive(other(Down, 0))
	if got := m.detection(); got != 3*time.Second {
		t.Errorf("waits for %v, want 3 s", got)
	}
	p := other(Init, 7)
	p.receive, p.transmit, p.multiplier = 80*time.Millisecond, 30*time.Millisecond, 5
	m.receive(p)
	if got := m.interval(); got != 80*time.Millisecond {
		t.Errorf("sends each %v, want 80 ms as the router wants", got)
	}
	if got := m.detection(); got != 500*time.Millisecond {
		t.Errorf("waits for %v, want 5 times what this end can take", got)
	}
	if o, _ := m.receive(p); o.send {
		t.Error("sends at once although nothing has changed")
	}
	p.receive = 0
	m.receive(p)
	if got := m.interval(); got != 0 {
		t.Errorf("sends each %v to a router that wants nothing", got)
	}
	p.receive = 60 * time.Millisecond
	if o, _ := m.receive(p); !o.send || o.changed {
		t.Errorf("does not send at once although the router wants packets soon: %+v", o)
	}
}

func TestPoll(t *testing.T) {
	m := up(t)
	if !m.packet().poll {
		t.Fatal("the new interval is not confirmed")
	}
	p := other(Up, 7)
	p.poll = true
	if o, _ := m.receive(p); !o.answer || !m.final().final || m.final().poll {
		t.Errorf("a poll is not answered: %+v, %+v", o, m.final())
	}
	p.poll, p.final = false, true
	if m.receive(p); m.packet().poll {
		t.Error("still polls after the answer")
	}
}
