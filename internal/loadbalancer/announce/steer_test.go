package announce

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
)

// arrive sends a packet of the client's, as its router would.
func (r *rig) arrive(p ipPacket) (uint32, ipPacket) {
	r.t.Helper()
	v, out := r.run(etherIP(r.mac, clientMAC, p.bytes()))
	return v, parseIP(r.t, out[14:])
}

// stays checks that a packet is left to the Service data plane.
func (r *rig) stays(what string, p ipPacket) {
	r.t.Helper()
	r.untouched(what, etherIP(r.mac, clientMAC, p.bytes()))
}

// leaves checks that a packet is handed on.
func (r *rig) leaves(what string, p ipPacket) {
	r.t.Helper()
	if p.ttl == 0 {
		p.ttl = 64
	}
	in := etherIP(r.mac, clientMAC, p.bytes())
	v, out := r.run(in)
	p.ttl--
	if want := etherIP(r.mac, clientMAC, p.bytes()); v != redirect || !bytes.Equal(out, want) {
		r.t.Errorf("%s: verdict %d,\n% x, want it handed on as\n% x", what, int32(v), brief(out), brief(want))
	}
}

// flowsTo makes a packet of each protocol to port 80.
func flowsTo(f family, source string, flags byte) map[string]ipPacket {
	return map[string]ipPacket{
		"TCP": tcpPacket(source, f.vip+":80", flags),
		"UDP": udpPacket(source, f.vip+":80", []byte("data")),
	}
}

func (r *rig) spreadBoth(f family, flags uint32, all func(int) (uint32, uint32)) {
	r.t.Helper()
	r.spread(f.vip, 80, TCP, flags, all)
	r.spread(f.vip, 80, UDP, flags, all)
}

func TestSteer(t *testing.T) { eachFamily(t, testSteer) }

func testSteer(t *testing.T, f family) {
	r := newRig(t)
	r.spreadBoth(f, 0, to(selfNumber, nobody))
	for what, p := range flowsTo(f, f.client+":4000", syn) {
		r.stays(what+" that is this node's", p)
	}
	r.spreadBoth(f, 0, to(peerNumber, nobody))
	for what, p := range flowsTo(f, f.client+":4000", syn) {
		r.leaves(what+" that is another node's", p)
		for _, ttl := range []byte{255, 2} {
			p.ttl = ttl
			r.leaves(fmt.Sprintf("%s with TTL %d", what, ttl), p)
		}
		p.ttl = 1
		r.stays(what+" that may make no more hops", p)
		p.ttl = 0
		fromNode := etherIP(r.mac, thirdMAC, p.bytes())
		r.untouched(what+" that another node handed on", fromNode)
		r.untouched(what+" to another station", etherIP(peerMAC, clientMAC, p.bytes()))
		r.untouched(what+" to all stations", etherIP(broadcast, clientMAC, p.bytes()))
		r.untouched(what+" in a VLAN", ether(r.mac, clientMAC, 0x8100, append([]byte{0, 5}, etherIP(r.mac, clientMAC, p.bytes())[12:]...)))
	}
	r.stays("another port", tcpPacket(f.client+":4000", f.vip+":81", syn))
	r.stays("another address", tcpPacket(f.client+":4000", f.vip2+":80", syn))
	if got, want := r.counts(f.vip), (countsEntry{HandedOn: 6}); got != want {
		t.Errorf("counted %+v, want %+v", got, want)
	}
	r.spreadBoth(f, 0, to(99, nobody))
	for what, p := range flowsTo(f, f.client+":4000", syn) {
		r.stays(what+" of a node that nobody knows", p)
	}
	r.put("hosts", uint32(99), hostEntry{})
	for what, p := range flowsTo(f, f.client+":4000", syn) {
		r.stays(what+" of a node without addresses", p)
	}
	// IPv4 works by way of a neighbour that has IPv6 alone, and not the other way round.
	r.put("hosts", uint32(99), hostEntry{Addr6: addressOf(ip(v6.peer))})
	r.leaves("to a node with IPv6", tcpPacket(f.client+":4000", f.vip+":80", syn))
	r.spread(f.vip, 80, TCP, 0, to(peerNumber, nobody))
	if err := r.collection.Maps["tables"].Delete(r.tables); err != nil {
		t.Fatal(err)
	}
	r.stays("without a table", tcpPacket(f.client+":4000", f.vip+":80", syn))
}

// TestSecondChance has packets come whose flow the owner does not know.
func TestSecondChance(t *testing.T) { eachFamily(t, testSecondChance) }

func testSecondChance(t *testing.T, f family) {
	r := newRig(t)
	r.spreadBoth(f, 0, to(selfNumber, peerNumber))
	packet := tcpPacket(f.client+":4000", f.vip+":80", ack)
	r.leaves("unknown", packet)
	fromNode := etherIP(r.mac, thirdMAC, packet.bytes())
	if v, _ := r.run(fromNode); v != redirect {
		t.Errorf("unknown, from a node: verdict %d", int32(v))
	}
	r.leaves("SYN and ACK", tcpPacket(f.client+":4000", f.vip+":80", syn|ack))
	r.leaves("FIN", tcpPacket(f.client+":4000", f.vip+":80", fin|ack))
	r.stays("SYN", tcpPacket(f.client+":4000", f.vip+":80", syn))
	r.stays("UDP", udpPacket(f.client+":4000", f.vip+":80", nil))
	last := packet
	last.ttl = 1
	r.stays("no more hops", last)
	if got, want := r.counts(f.vip), (countsEntry{HandedOn: 4, Seconds: 4}); got != want {
		t.Errorf("counted %+v, want %+v", got, want)
	}
	// struct tuple of the Service data plane
	key := slices.Concat(addressBytes(f.client), addressBytes(f.vip), be16(4000), be16(80), []byte{6, 0, 0, 0})
	r.put("flows", key, make([]byte, r.collection.Maps["flows"].ValueSize()))
	r.stays("known", packet)
	r.leaves("another flow", tcpPacket(f.client+":4001", f.vip+":80", ack))
	r.settings.Flags = 0
	r.configure()
	r.stays("without the table of flows", tcpPacket(f.client+":4001", f.vip+":80", ack))
	r.settings.Flags = configFlows
	r.configure()
	r.spreadBoth(f, 0, to(selfNumber, nobody))
	r.stays("without a second", tcpPacket(f.client+":4001", f.vip+":80", ack))
	r.spreadBoth(f, 0, to(thirdNumber, selfNumber))
	r.untouched("unknown to the second", fromNode)
}

func addressBytes(s string) []byte {
	a := addressOf(ip(s))
	return a[:]
}

func TestFragments(t *testing.T) { eachFamily(t, testFragments) }

func testFragments(t *testing.T, f family) {
	r := newRig(t)
	r.spreadBoth(f, 0, to(peerNumber, nobody))
	r.spread(f.vip2, 80, UDP, 0, to(selfNumber, nobody))
	whole := udpPacket(f.client+":4000", f.vip+":80", make([]byte, 3000))
	piece := func(p ipPacket, id, from, to int) ipPacket {
		p.offset, p.more, p.id, p.payload = from, to < len(p.payload), id, p.payload[from:to]
		return p
	}
	r.stays("a fragment whose first one was not seen", piece(whole, 5, 1480, 2960))
	r.leaves("the first fragment", piece(whole, 5, 0, 1480))
	r.leaves("the second fragment", piece(whole, 5, 1480, 2960))
	r.leaves("the last fragment", piece(whole, 5, 2960, 3008))
	r.stays("a fragment of another packet", piece(whole, 6, 1480, 2960))
	mine := udpPacket(f.client+":4000", f.vip2+":80", make([]byte, 3000))
	r.stays("this node's first fragment", piece(mine, 7, 0, 1480))
	r.stays("this node's second fragment", piece(mine, 7, 1480, 2960))
}

// TestErrors has routers complain about packets of a Service. The errors belong to the flow.
func TestErrors(t *testing.T) { eachFamily(t, testErrors) }

func testErrors(t *testing.T, f family) {
	r := newRig(t)
	r.spreadBoth(f, 0, to(peerNumber, nobody))
	sent := map[string]ipPacket{
		"TCP": tcpPacket(f.vip+":80", f.client+":4000", ack),
		"UDP": udpPacket(f.vip+":80", f.client+":4000", []byte("answer")),
	}
	for what, p := range sent {
		r.leaves("error about "+what, unreachable(ip(f.router), p))
	}
	r.stays("error about another port", unreachable(ip(f.router), tcpPacket(f.vip+":81", f.client+":4000", ack)))
	stray := unreachable(ip(f.router), tcpPacket(f.vip2+":80", f.client+":4000", ack))
	stray.to = ip(f.vip)
	r.spread(f.vip2, 80, TCP, 0, to(peerNumber, nobody))
	r.stays("error about another address", stray.summed(2))
	ping := unreachable(ip(f.router), sent["TCP"])
	ping.payload[0] = 8
	if f.ipv6 {
		ping.payload[0] = 128
	}
	r.stays("ping", ping.summed(2))
	r.spreadBoth(f, 0, to(selfNumber, peerNumber))
	r.leaves("error about an unknown connection", unreachable(ip(f.router), sent["TCP"]))
	r.stays("error about a datagram", unreachable(ip(f.router), sent["UDP"]))
	// The same bucket as the flow's, whatever it is.
	for i := range 50 {
		client := fmt.Sprintf("%s:%d", f.client, 4000+i)
		mine := BucketOf(netip.MustParseAddrPort(client), netip.MustParseAddrPort(f.vip+":80"), UDP, false, MaxBuckets)
		r.spread(f.vip, 80, UDP, 0, onlyMine(mine))
		r.stays("error about this node's", unreachable(ip(f.router), udpPacket(f.vip+":80", client, nil)))
	}
}

// onlyMine gives all buckets but one to another node.
func onlyMine(mine int) func(int) (uint32, uint32) {
	return func(bucket int) (uint32, uint32) {
		if bucket == mine {
			return selfNumber, nobody
		}
		return peerNumber, nobody
	}
}

func TestExtensionHeaders(t *testing.T) {
	r := newRig(t)
	r.spreadBoth(v6, 0, to(peerNumber, nobody))
	p := tcpPacket(v6.client+":4000", v6.vip+":80", syn)
	// Hop-by-hop options, destination options, and a fragment header of a packet that is whole.
	p.payload = slices.Concat([]byte{60, 0, 1, 4, 0, 0, 0, 0, 44, 0, 1, 4, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 9}, p.payload)
	p.proto = 0
	r.leaves("TCP behind extension headers", p)
	q := udpPacket(v6.client+":4000", v6.vip+":80", nil)
	q.payload = slices.Concat(bytes.Repeat([]byte{60, 0, 1, 4, 0, 0, 0, 0}, 8), q.payload)
	q.proto = 60
	r.stays("UDP behind too many", q)
}

// TestHashesAgree finds the bucket of many flows in Go, and gives this node that bucket alone.
func TestHashesAgree(t *testing.T) { eachFamily(t, testHashesAgree) }

func testHashesAgree(t *testing.T, f family) {
	r := newRig(t)
	rnd := rand.New(rand.NewPCG(1, 2))
	seen := map[int]bool{}
	for i := range 200 {
		client := netip.AddrPortFrom(ip(f.client), uint16(rnd.Uint32()))
		if f.ipv6 {
			a := client.Addr().As16()
			for j := 8; j < 16; j++ {
				a[j] = byte(rnd.Uint32())
			}
			client = netip.AddrPortFrom(netip.AddrFrom16(a), client.Port())
		} else {
			client = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(rnd.Uint32()), byte(rnd.Uint32()), byte(rnd.Uint32())}), client.Port())
		}
		proto, packet := TCP, tcpPacket(client.String(), f.vip+":80", syn)
		if i%2 == 1 {
			proto, packet = UDP, udpPacket(client.String(), f.vip+":80", nil)
		}
		for flags, byClient := range []bool{false, true} {
			mine := BucketOf(client, netip.MustParseAddrPort(f.vip+":80"), proto, byClient, MaxBuckets)
			seen[mine] = true
			r.spread(f.vip, 80, proto, uint32(flags), onlyMine(mine))
			r.stays(fmt.Sprintf("%s from %s, by client %t", proto, client, byClient), packet)
		}
	}
	if len(seen) < 300 {
		t.Errorf("400 hashes fell into only %d buckets", len(seen))
	}
}

// TestByClient has all flows of a client go to one node, also those to another port.
func TestByClient(t *testing.T) {
	service := func(port uint16) netip.AddrPort { return netip.AddrPortFrom(ip(v4.vip), port) }
	one := BucketOf(netip.AddrPortFrom(ip(v4.client), 1), service(80), TCP, true, MaxBuckets)
	if got := BucketOf(netip.AddrPortFrom(ip(v4.client), 2), service(443), UDP, true, MaxBuckets); got != one {
		t.Errorf("buckets %d and %d of one client", one, got)
	}
	// Shares of 1,021 buckets differ by little: each has about 98 of 100,000 flows.
	var share [MaxBuckets]int
	for i := range 100_000 {
		share[BucketOf(netip.AddrPortFrom(ip(v4.client), uint16(i)), service(uint16(80+i>>16)), TCP, false, MaxBuckets)]++
	}
	if low, high := slices.Min(share[:]), slices.Max(share[:]); low < 50 || high > 160 {
		t.Errorf("shares of buckets are from %d to %d", low, high)
	}
}
