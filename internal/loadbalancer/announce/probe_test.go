package announce

import (
	"bytes"
	"errors"
	"net"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

var probeMark, answerMark = []byte("mnp1"), []byte("mna1")

func TestProbesAreSentBack(t *testing.T) { eachFamily(t, testProbesAreSentBack) }

func testProbesAreSentBack(t *testing.T, f family) {
	r := newRig(t)
	nonce := []byte{1, 2, 3, 4, 5, 6, 7, 8}
	probe := udpPacket(f.peer+":5000", f.self+":7946", slices.Concat(probeMark, nonce))
	probe.ttl = 255
	want := udpPacket(f.self+":7946", f.peer+":5000", slices.Concat(answerMark, nonce))
	want.ttl = 255
	v, out := r.run(etherIP(r.mac, peerMAC, probe.bytes()))
	if w := etherIP(peerMAC, r.mac, want.bytes()); v != redirect || !bytes.Equal(out, w) {
		t.Errorf("verdict %d,\n% x, want\n% x", int32(v), out, w)
	}
	if got := r.station(peerMAC); got != peerNumber {
		t.Errorf("the node's hardware address is of host %d", got)
	}
	// The node has another interface now, and a silent node answers too: it is alive.
	r.settings.Flags |= configSilent
	r.configure()
	moved := net.HardwareAddr{2, 0, 0, 0, 0, 77}
	if v, _ := r.run(etherIP(r.mac, moved, probe.bytes())); v != redirect {
		t.Errorf("from another hardware address: verdict %d", int32(v))
	}
	if is, was := r.station(moved), r.station(peerMAC); is != peerNumber || was != -1 {
		t.Errorf("the node's new hardware address is of host %d, its old one of %d", is, was)
	}
	if !f.ipv6 {
		probe.payload[6], probe.payload[7] = 0, 0 // no checksum
		want.payload[6], want.payload[7] = 0, 0
		if v, out := r.run(etherIP(r.mac, moved, probe.bytes())); v != redirect || !bytes.Equal(out, etherIP(moved, r.mac, want.bytes())) {
			t.Errorf("without a checksum: verdict %d, % x", int32(v), out)
		}
	}
}

// station is the number of the node that has a hardware address, or -1.
func (r *rig) station(a net.HardwareAddr) int {
	r.t.Helper()
	var n uint32
	if err := r.collection.Maps["stations"].Lookup(macOf(a), &n); err != nil {
		return -1
	}
	return int(n)
}

func TestOthersAreNotSentBack(t *testing.T) { eachFamily(t, testOthersAreNotSentBack) }

func testOthersAreNotSentBack(t *testing.T, f family) {
	r := newRig(t)
	r.address(f.vip, addressOwned|addressAnswer, 1<<3)
	payload := slices.Concat(probeMark, make([]byte, 8))
	for what, p := range map[string]ipPacket{
		"from a stranger":       udpPacket(f.client+":5000", f.self+":7946", payload),
		"to another port":       udpPacket(f.peer+":5000", f.self+":7947", payload),
		"to a Service":          udpPacket(f.peer+":5000", f.vip+":7946", payload),
		"to another node":       udpPacket(f.peer+":5000", f.third+":7946", payload),
		"an answer":             udpPacket(f.peer+":5000", f.self+":7946", slices.Concat(answerMark, make([]byte, 8))),
		"of another program":    udpPacket(f.peer+":5000", f.self+":7946", []byte("another protocol")),
		"too short":             udpPacket(f.peer+":5000", f.self+":7946", payload[:11]),
		"of TCP":                tcpPacket(f.peer+":5000", f.self+":7946", syn),
		"that passed a router":  {},
		"that is a fragment":    {},
		"to all stations":       {},
		"from a group address":  {},
		"to another station":    {},
		"of the node's own MAC": {},
	} {
		to, from := r.mac, peerMAC
		if p.payload == nil {
			p = udpPacket(f.peer+":5000", f.self+":7946", payload)
		}
		p.ttl = 255
		switch what {
		case "that passed a router":
			p.ttl = 254
		case "that is a fragment":
			p.more = true
		case "to all stations":
			to = broadcast
		case "from a group address":
			from = broadcast
		case "to another station":
			to = thirdMAC
		case "of the node's own MAC":
			// It is sent back, and nothing is learned from it.
			r.run(etherIP(to, r.mac, p.bytes()))
			if got := r.station(r.mac); got != selfNumber {
				t.Errorf("this node's hardware address is of host %d", got)
			}
			continue
		}
		r.untouched(what, etherIP(to, from, p.bytes()))
	}
	if got := r.station(peerMAC); got != -1 {
		t.Errorf("learned the hardware address of host %d", got)
	}
}

// FuzzFrame feeds anything to the programs: whatever it is, they must come to an end. Only what is for an address that is
// answered is answered, and only what is for a Service is handed on.
func FuzzFrame(f *testing.F) {
	r := newRig(f)
	probe := udpPacket(v4.peer+":5000", v4.self+":7946", slices.Concat(probeMark, make([]byte, 8)))
	probe.ttl = 255
	f.Add(etherIP(r.mac, peerMAC, probe.bytes()))
	f.Add(arpFrame(broadcast, clientMAC, 1, clientMAC, v4.client, noMAC, v4.vip2))
	f.Add(arpFrame(broadcast, clientMAC, 2, clientMAC, v4.vip2, noMAC, v4.vip2))
	f.Add(solicitation(clientMAC, ip(v6.client).String(), ip(v6.vip2).String()))
	f.Add(solicitation(clientMAC, "::", ip(v6.vip2).String()))
	f.Add(advertisement(clientMAC, ip(v6.vip2).String()))
	for _, fam := range []family{v4, v6} {
		r.address(fam.vip2, addressOwned|addressAnswer, 1<<3)
		r.spreadBoth(fam, 0, to(peerNumber, nobody))
		for _, p := range flowsTo(fam, fam.client+":4000", ack) {
			f.Add(etherIP(r.mac, clientMAC, p.bytes()))
			p.more = true
			f.Add(etherIP(r.mac, clientMAC, p.bytes()))
			f.Add(etherIP(r.mac, clientMAC, unreachable(ip(fam.router), tcpPacket(fam.vip+":80", fam.client+":4000", ack)).bytes()))
		}
	}
	ours := [][]byte{}
	for _, fam := range []family{v4, v6} {
		for _, a := range []string{fam.vip, fam.vip2, fam.self} {
			ours = append(ours, ip(a).AsSlice())
		}
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		if len(in) < 14 || len(in) > 1500 {
			return
		}
		v, out, err := r.try(in)
		if errors.Is(err, unix.EINVAL) {
			return // no packet at all
		}
		if err != nil {
			t.Fatal(err)
		}
		switch v {
		case next:
			if !bytes.Equal(in, out) {
				t.Errorf("verdict next, but % x became % x", in, out)
			}
		case redirect:
			if !slices.ContainsFunc(ours, func(a []byte) bool { return bytes.Contains(in, a) }) {
				t.Errorf("answered % x with % x", in, out)
			}
		default:
			t.Errorf("verdict %d", int32(v))
		}
	})
}
