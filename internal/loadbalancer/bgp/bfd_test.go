package bgp

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func hasBFD(s Session) bool { return isUp(s) && s.BFD != nil && s.BFD.Up && s.BFD.Received > 0 }

func TestBFD(t *testing.T) {
	l := newLab(t, "bird", "nft")
	b := l.bird(`
protocol bfd { interface "*" { min rx interval 100 ms; min tx interval 100 ms; multiplier 3; }; }
protocol bgp node { local as 65010; neighbor {node4} as 64500; bfd on; error wait time 1, 2; ipv4 { import all; export none; }; }
`)
	s := newTestLocal(t)
	runSpeaker(t, s)
	p := l.peer4Of("bird", route("192.0.2.1/32"))
	p.PeerASN, p.BFD = 65010, &BFD{Receive: 100 * time.Millisecond, Transmit: 100 * time.Millisecond, Multiplier: 3}
	apply(t, s, p)
	session(t, s, "bird", 20*time.Second, "up, with BFD", hasBFD)
	b.hasRoute("192.0.2.1/32")
	b.until(10*time.Second, "BFD is up in BIRD", func() error {
		if out, _ := b.try("show bfd sessions"); !strings.Contains(out, "Up") {
			return errors.New(out)
		}
		return nil
	})
	l.cut()
	cut := time.Now()
	session(t, s, "bird", 10*time.Second, "down", func(x Session) bool { return !isUp(x) && strings.Contains(x.Error, "BFD") })
	b.lacksRoute("192.0.2.1/32")
	took := time.Since(cut)
	t.Logf("both ends found the cut within %v", took)
	if took > 3*time.Second { // the hold time is 90
		t.Errorf("the cut was found only after %v", took)
	}
	l.mend()
	session(t, s, "bird", 20*time.Second, "up again, with BFD", hasBFD)
	b.hasRoute("192.0.2.1/32")
}

// A router that takes the end of BFD for a restart keeps the routes; it has to be told so.
func TestGracefulRestartWithBFD(t *testing.T) {
	l := newLab(t, "bird")
	b := l.bird(`
protocol bfd { interface "*" { min rx interval 100 ms; min tx interval 100 ms; multiplier 3; }; }
protocol bgp node { local as 65010; neighbor {node4} as 64500; bfd graceful; ipv4 { import all; export none; }; }
`)
	p := l.peer4Of("bird", route("192.0.2.1/32"))
	p.PeerASN, p.GracefulRestart, p.BFD = 65010, true, &BFD{Receive: 100 * time.Millisecond, Transmit: 100 * time.Millisecond, Multiplier: 3}
	first := newTestLocal(t)
	stop := runSpeaker(t, first)
	apply(t, first, p)
	session(t, first, "bird", 20*time.Second, "up, with BFD", hasBFD)
	b.hasRoute("192.0.2.1/32")
	end := b.watchRoute("192.0.2.1/32")
	stop()
	second := newTestLocal(t)
	runSpeaker(t, second)
	apply(t, second, p)
	session(t, second, "bird", 20*time.Second, "up again, with BFD", hasBFD)
	if missing, looks := end(); missing != "" || looks < 20 {
		t.Errorf("looked %d times; the route was away %s", looks, missing)
	}
}

// Both ends could be passive, so BIRD is not. BFD over several hops has a port of its own, and BIRD uses it since it is
// told that the session is one. It sends such packets with a TTL of 64.
func TestBFDMultiHopAndPassive(t *testing.T) {
	l := newLab(t, "bird")
	b := l.bird(`
protocol bfd { multihop { interval 100 ms; multiplier 3; }; }
protocol bgp node { local {peer4} as 65010; neighbor {node4} as 64500; multihop 3; bfd on; ipv4 { import all; export none; }; }
`)
	s := newTestLocal(t)
	runSpeaker(t, s)
	p := l.peer4Of("bird", route("192.0.2.1/32"))
	p.PeerASN, p.MultiHop = 65010, true
	p.BFD = &BFD{Receive: 100 * time.Millisecond, Transmit: 100 * time.Millisecond, Multiplier: 3, Passive: true, MinimumTTL: 64}
	apply(t, s, p)
	session(t, s, "bird", 20*time.Second, "up, with BFD", hasBFD)
	b.hasRoute("192.0.2.1/32")
}
