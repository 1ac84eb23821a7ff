package announce

import (
	"slices"
	"testing"
	"time"
)

// TestExpired has probes and requests come before and after the time until which the agent lets the programs go on.
func TestExpired(t *testing.T) { eachFamily(t, testExpired) }

func testExpired(t *testing.T, f family) {
	r := newRig(t)
	r.address(f.vip, addressOwned|addressAnswer, 1<<3)
	probe := udpPacket(f.peer+":5000", f.self+":7946", slices.Concat(probeMark, make([]byte, 8)))
	probe.ttl = 255
	request := arpFrame(broadcast, clientMAC, 1, clientMAC, v4.client, noMAC, v4.vip)
	if f.ipv6 {
		request = solicitation(clientMAC, ip(f.client).String(), ip(f.vip).String())
	}
	now, err := sinceBoot()
	if err != nil {
		t.Fatal(err)
	}
	const ago = uint64(100 * time.Millisecond)
	for _, c := range []struct {
		what            string
		expires         uint64
		alive, answered bool
	}{
		{"never", 0, true, true},
		{"later", now + uint64(time.Hour), true, true},
		{"just now", now - ago, false, true}, // another node has to find out first
		{"a while ago", now - uint64(time.Minute), false, false},
	} {
		r.settings.Expires = c.expires
		r.configure()
		if v, _ := r.run(etherIP(r.mac, peerMAC, probe.bytes())); (v == redirect) != c.alive {
			t.Errorf("expires %s: a probe: verdict %d", c.what, int32(v))
		}
		if v, _ := r.run(request); (v == redirect) != c.answered {
			t.Errorf("expires %s: a request: verdict %d", c.what, int32(v))
		}
	}
}

// TestProcessAway ends a process for longer than its node may go on without it. The other node finds out and the node falls
// silent; when the process is back, it answers only once the others count it in again.
func TestProcessAway(t *testing.T) {
	f := v4
	w := newWorld(t, "n1", "n2")
	n1, n2 := w.nodes["n1"], w.nodes["n2"]
	n1.close()
	n1.cfg.Expiry = minExpiry
	open := func() {
		n1.open()
		if err := n1.SetPeers([]Peer{{Name: "n2", Addresses: n2.cfg.Addresses}}); err != nil {
			t.Fatal(err)
		}
		n1.apply("a", announced(f.vip, true))
	}
	open()
	n2.apply("a", announced(f.vip, false))
	client := w.raw(w.lan, "br")
	eventually(t, "n1 is alive to n2, and answers", func() bool {
		alive, known := n2.sees("n1")
		return alive && known && client.asks(f, f.vip, n1.mac())
	})
	mac := n1.mac()
	stays := time.Now().Add(2 * minExpiry)
	for time.Now().Before(stays) {
		if alive, _ := n2.sees("n1"); !alive || !client.asks(f, f.vip, mac) {
			t.Fatal("a node whose process is there expires")
		}
	}
	n1.close()
	if !client.asks(f, f.vip, mac) {
		t.Error("the end of the process is noticed at once")
	}
	eventually(t, "n1 is dead to n2", func() bool { alive, known := n2.sees("n1"); return known && !alive })
	n2.apply("a", announced(f.vip, true))
	eventually(t, "n1 is silent", func() bool { return !client.asks(f, f.vip, mac) })
	back := time.Now()
	open()
	eventually(t, "n1 answers again", func() bool { return client.asks(f, f.vip, mac) })
	if after := time.Since(back); after < holdDown-time.Second {
		t.Errorf("n1 answers again after %s, while it is still dead to others", after)
	}
	eventually(t, "n1 is alive to n2", func() bool { alive, _ := n2.sees("n1"); return alive })
}
