package dataplane

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"minato/internal/service/route"
)

func want(t *testing.T, what string, verdict, wantVerdict uint32, got, wanted segment) {
	t.Helper()
	if verdict != wantVerdict || got != wanted {
		t.Errorf("%s: verdict %d, packet %+v\nwant verdict %d, packet %+v", what, int32(verdict), got, int32(wantVerdict), wanted)
	}
}

// wantUntouched checks that a packet is none of our business.
func wantUntouched(t *testing.T, what string, verdict uint32, in, out []byte) {
	t.Helper()
	if verdict != next || !bytes.Equal(in, out) {
		t.Errorf("%s: verdict %d, packet\n% x, was\n% x", what, int32(verdict), out, in)
	}
}

func TestPacketToAndFro(t *testing.T) { eachFamily(t, testPacketToAndFro) }

func testPacketToAndFro(t *testing.T, f family) {
	for _, udp := range []bool{false, true} {
		for _, noCsum := range []bool{false, true} {
			if noCsum && (!udp || f.ipv6) {
				continue // only an IPv4 UDP packet may have none
			}
			p := corev1.ProtocolTCP
			flags := byte(syn)
			if udp {
				p, flags = corev1.ProtocolUDP, 0
			}
			r := newRig(t)
			r.apply(clusterIP("a", f.vip(1), 80, p, back(f.p2+":8080")))
			in := segment{from: f.q1 + ":40000", to: f.vip(1) + ":80", udp: udp, noCsum: noCsum, flags: flags, payload: "hi"}
			v, out := r.ingress(r.pod, in.packet())
			wanted := in
			wanted.to = f.p2 + ":8080"
			want(t, "from pod", v, pass, parse(t, out), wanted)
			reply := segment{from: f.p2 + ":8080", to: f.q1 + ":40000", udp: udp, noCsum: noCsum, flags: flags | ack&(flags<<3), payload: "ho"}
			v, out = r.ingress(r.uplink, reply.packet())
			wanted = reply
			wanted.from = f.vip(1) + ":80"
			want(t, "reply", v, pass, parse(t, out), wanted)
		}
	}
}

func TestPacketMasquerade(t *testing.T) { eachFamily(t, testPacketMasquerade) }

func testPacketMasquerade(t *testing.T, f family) {
	r := newRig(t)
	r.apply(f.nodePort("a", 30001, corev1.ProtocolTCP, back(f.p2+":8080")))
	in := segment{from: f.client(), to: f.n1 + ":30001", flags: syn}
	v, out := r.ingress(r.uplink, in.packet())
	first := parse(t, out)
	source := netip.MustParseAddrPort(first.from)
	if source.Addr() != ip(f.n1) || source.Port() < masqueradeMin || source.Port() >= masqueradeMin+1000 {
		t.Errorf("masqueraded as %s", source)
	}
	wanted := in
	wanted.from, wanted.to = first.from, f.p2+":8080"
	want(t, "SYN", v, pass, first, wanted)
	v, out = r.ingress(r.uplink, in.packet())
	want(t, "repeated SYN", v, pass, parse(t, out), wanted)
	in.flags, wanted.flags = ack, ack
	v, out = r.ingress(r.uplink, in.packet())
	want(t, "ACK", v, pass, parse(t, out), wanted)
	reply := segment{from: f.p2 + ":8080", to: first.from, flags: syn | ack}
	v, out = r.ingress(r.uplink, reply.packet())
	want(t, "reply", v, pass, parse(t, out), segment{from: f.n1 + ":30001", to: f.client(), flags: syn | ack})

	other := in
	other.from, other.flags = f.lan+":40001", syn
	_, out = r.ingress(r.uplink, other.packet())
	if again := parse(t, out); again.from == first.from {
		t.Errorf("two connections share the source %s", again.from)
	}
	if v, out := r.ingress(r.uplink, segment{from: f.client(), to: f.n2 + ":30001", flags: syn}.packet()); v != next {
		t.Errorf("a NodePort of another node from outside: verdict %d, %+v", int32(v), parse(t, out))
	}
}

func TestPacketHalfOfAConnectionIsRebuilt(t *testing.T) {
	eachFamily(t, testPacketHalfOfAConnectionIsRebuilt)
}

func testPacketHalfOfAConnectionIsRebuilt(t *testing.T, f family) {
	r := newRig(t)
	r.apply(f.nodePort("a", 30001, corev1.ProtocolTCP, back(f.p2+":8080")))
	in := segment{from: f.client(), to: f.n1 + ":30001", flags: syn}
	_, out := r.ingress(r.uplink, in.packet())
	first := parse(t, out)
	reply := segment{from: f.p2 + ":8080", to: first.from, flags: syn | ack}
	flows := kernelTable[tuple, flow]{r.collection.Maps["flows"]}
	for _, half := range []bool{false, true} {
		var gone []tuple
		flows.each(func(k tuple, f flow) {
			if (f.Flags&flowReply != 0) == half {
				gone = append(gone, k)
			}
		})
		if len(gone) != 1 {
			t.Fatalf("%d entries of one direction", len(gone))
		}
		if err := flows.remove(gone); err != nil {
			t.Fatal(err)
		}
		// A packet of the direction that is left rebuilds the other.
		in.flags = ack
		if half {
			r.ingress(r.uplink, in.packet())
		} else {
			r.ingress(r.uplink, reply.packet())
		}
		v, out := r.ingress(r.uplink, in.packet())
		want(t, "forward", v, pass, parse(t, out), segment{from: first.from, to: f.p2 + ":8080", flags: ack})
		v, out = r.ingress(r.uplink, reply.packet())
		want(t, "reply", v, pass, parse(t, out), segment{from: f.n1 + ":30001", to: f.client(), flags: syn | ack})
	}
}

func TestPacketNewConnectionFromAnOldPort(t *testing.T) {
	eachFamily(t, testPacketNewConnectionFromAnOldPort)
}

func testPacketNewConnectionFromAnOldPort(t *testing.T, f family) {
	r := newRig(t)
	np := func(b string) route.Frontend { return f.nodePort("a", 30001, corev1.ProtocolTCP, back(b)) }
	r.apply(np(f.p2 + ":8080"))
	send := func(flags byte) segment {
		_, out := r.ingress(r.uplink, segment{from: f.client(), to: f.n1 + ":30001", flags: flags}.packet())
		return parse(t, out)
	}
	first := send(syn)
	r.apply(np(f.p1 + ":8080"))
	if got := send(ack); got.to != first.to {
		t.Errorf("an open connection moved from %s to %s", first.to, got.to)
	}
	if got := send(syn); got.to != f.p1+":8080" {
		t.Errorf("a SYN went to %s, whose backend is gone", got.to)
	}
	r.apply(np(f.p1 + ":8081"))
	draining := np(f.p1 + ":8081")
	draining.Draining = back(f.p1 + ":8080")
	r.apply(draining)
	send(rst)
	if got := send(syn); got.to != f.p1+":8081" {
		t.Errorf("a SYN after RST went to %s", got.to)
	}
}

func TestPacketReject(t *testing.T) { eachFamily(t, testPacketReject) }

func testPacketReject(t *testing.T, f family) {
	r := newRig(t)
	r.apply(clusterIP("a", f.vip(1), 80, corev1.ProtocolTCP, nil), clusterIP("b", f.vip(2), 80, corev1.ProtocolUDP, nil))
	for what, c := range map[string]struct{ in, out segment }{
		"SYN": {segment{from: f.client(), to: f.vip(1) + ":80", flags: syn, seq: 99},
			segment{from: f.vip(1) + ":80", to: f.client(), flags: rst | ack, ack: 100}},
		"SYN with data": {segment{from: f.client(), to: f.vip(1) + ":80", flags: syn, seq: 0xffffffff, payload: "early"},
			segment{from: f.vip(1) + ":80", to: f.client(), flags: rst | ack, ack: 5}},
		"ACK": {segment{from: f.client(), to: f.vip(1) + ":80", flags: ack, seq: 1, ack: 77, payload: "x"},
			segment{from: f.vip(1) + ":80", to: f.client(), flags: rst, seq: 77}},
		"wrong port": {segment{from: f.client(), to: f.vip(1) + ":81", flags: syn, seq: 1},
			segment{from: f.vip(1) + ":81", to: f.client(), flags: rst | ack, ack: 2}},
	} {
		v, out := r.ingress(r.uplink, c.in.packet())
		want(t, what, v, pass, parse(t, out), c.out)
	}
	if v, _ := r.ingress(r.uplink, segment{from: f.client(), to: f.vip(1) + ":80", flags: rst}.packet()); v != shot {
		t.Errorf("RST to nobody: verdict %d", int32(v))
	}
	if v, _ := r.ingress(r.pod, segment{from: f.q1 + ":1", to: f.vip(7) + ":80", flags: syn}.packet()); v != shot {
		t.Errorf("unallocated address: verdict %d", int32(v))
	}
}

func TestPacketUnreachable(t *testing.T) { eachFamily(t, testPacketUnreachable) }

func testPacketUnreachable(t *testing.T, f family) {
	r := newRig(t)
	r.apply(clusterIP("b", f.vip(2), 80, corev1.ProtocolUDP, nil))
	kind, code, quote := byte(3), byte(3), 28
	if f.ipv6 {
		kind, code, quote = 1, 4, 48
	}
	for _, payload := range []string{"", "x", strings.Repeat("long", 300)} {
		in := segment{from: f.client(), to: f.vip(2) + ":80", udp: true, payload: payload}
		v, out := r.ingress(r.uplink, in.packet())
		m := parseICMP(t, out)
		if v != pass || m.kind != kind || m.code != code || m.from != ip(f.vip(2)) || m.to != ip(f.lan) {
			t.Errorf("verdict %d, no port unreachable from the Service: %+v", int32(v), m)
		}
		if !bytes.Equal(m.payload, in.ipPacket()[:quote]) {
			t.Errorf("quotes % x, want % x", m.payload, in.ipPacket()[:quote])
		}
	}
}

func TestPacketICMPErrors(t *testing.T) {
	eachFamily(t, func(t *testing.T, f family) {
		for _, udp := range []bool{false, true} {
			testPacketICMPErrors(t, f, udp)
		}
	})
}

func testPacketICMPErrors(t *testing.T, f family, udp bool) {
	r := newRig(t)
	p, flags := corev1.ProtocolTCP, byte(syn)
	if udp {
		p, flags = corev1.ProtocolUDP, 0
	}
	r.apply(f.nodePort("a", 30001, p, back(f.p2+":8080")))
	_, out := r.ingress(r.uplink, segment{from: f.client(), to: f.n1 + ":30001", flags: flags, udp: udp}.packet())
	source := parse(t, out).from
	// The shortest quotation has the ports and no more.
	shortest := 28
	if f.ipv6 {
		shortest = 48
	}
	check := func(what string, in icmp, from, to string, quoted segment) {
		t.Helper()
		v, out := r.ingress(r.uplink, in.packet())
		got := parseICMP(t, out)
		if v != pass || got.from != ip(from) || got.to != ip(to) || got.kind != in.kind || got.code != in.code || got.rest != in.rest {
			t.Errorf("%s: verdict %d, %+v", what, int32(v), got)
		}
		// The transport's checksum in there is not covered by anything, and nobody looks at it.
		want := quoted.ipPacket()[:len(in.payload)]
		if ports := shortest - 4; !bytes.Equal(got.payload[:ports], want[:ports]) {
			t.Errorf("%s: quotes % x, want % x", what, got.payload, want)
		}
	}
	sent := segment{from: source, to: f.p2 + ":8080", flags: flags, udp: udp}
	asked := segment{from: f.client(), to: f.n1 + ":30001", flags: flags, udp: udp}
	check("from the backend", tooBig(f.p2, f.n1, sent.ipPacket()[:shortest]), f.n1, f.lan, asked)
	check("from a router", tooBig(f.router, f.n1, sent.ipPacket()), f.router, f.lan, asked)
	answered := segment{from: f.n1 + ":30001", to: f.client(), flags: flags, udp: udp}
	translated := segment{from: f.p2 + ":8080", to: source, flags: flags, udp: udp}
	check("from the client", tooBig(f.lan, f.n1, answered.ipPacket()), f.n1, f.p2, translated)
	check("from a router near the client", tooBig(f.router, f.n1, answered.ipPacket()), f.router, f.p2, translated)
	kinds := []byte{3, 11, 12}
	if f.ipv6 {
		kinds = []byte{1, 2, 3, 4}
	}
	for _, kind := range kinds {
		in := tooBig(f.router, f.n1, sent.ipPacket())
		in.kind = kind
		check(fmt.Sprint("type ", kind), in, f.router, f.lan, asked)
	}
	stranger := tooBig(f.p2, f.n1, segment{from: f.n1 + ":1", to: f.p2 + ":2"}.ipPacket()).packet()
	v, out := r.ingress(r.uplink, stranger)
	wantUntouched(t, "about a stranger", v, stranger, out)
}

func TestPacketOthersAreUntouched(t *testing.T) { eachFamily(t, testPacketOthersAreUntouched) }

func testPacketOthersAreUntouched(t *testing.T, f family) {
	r := newRig(t)
	r.apply(clusterIP("a", f.vip(1), 80, corev1.ProtocolTCP, back(f.p2+":8080")), f.nodePort("a", 30001, corev1.ProtocolTCP, back(f.p2+":8080")))
	arp := append(frame([]byte{0})[:12], 8, 6, 0, 1, 8, 0, 6, 4, 0, 1)
	arp = append(arp, make([]byte, 32)...)
	ping := icmp{from: ip(f.lan), to: ip(f.n1), kind: 8}
	loopback := "127.0.0.1"
	if f.ipv6 {
		ping.kind, loopback = 128, "[::1]"
	}
	gre := frame(header{from: ip(f.lan), to: ip(f.n1), proto: 47, payload: make([]byte, 8)}.packet())
	short := segment{from: f.client(), to: f.vip(1) + ":80", flags: syn}.packet()
	for what, in := range map[string][]byte{
		"TCP":         segment{from: f.client(), to: f.p1 + ":80", flags: syn}.packet(),
		"other port":  segment{from: f.client(), to: f.n1 + ":30002", flags: syn}.packet(),
		"UDP":         segment{from: f.client(), to: f.n1 + ":30001", udp: true}.packet(),
		"foreign":     segment{from: f.client(), to: f.foreign + ":30001", flags: syn}.packet(),
		"ARP":         arp,
		"ping":        ping.packet(),
		"GRE":         gre,
		"cut short":   short[:len(short)-10],
		"loopback IP": segment{from: loopback + ":1", to: loopback + ":30001", flags: syn}.packet(),
	} {
		for _, ifindex := range []uint32{r.pod, r.uplink, loopbackIndex} {
			v, out := r.ingress(ifindex, in)
			wantUntouched(t, what, v, in, out)
		}
		v, out := r.run(outbound, r.uplink, in)
		wantUntouched(t, what+" going out", v, in, out)
	}
}

// A switch floods frames to a station that it does not know. They are that station's to serve, and no other's.
func TestPacketToAnotherStation(t *testing.T) { eachFamily(t, testPacketToAnotherStation) }

func testPacketToAnotherStation(t *testing.T, f family) {
	r := newRig(t)
	r.apply(clusterIP("a", f.vip(1), 80, corev1.ProtocolTCP, back(f.p2+":8080")), f.nodePort("a", 30001, corev1.ProtocolTCP, back(f.p2+":8080")))
	for _, to := range []string{f.vip(1) + ":80", f.n1 + ":30001"} {
		in := segment{from: f.client(), to: to, flags: syn}.packet()
		if _, out := r.ingress(r.uplink, in); bytes.Equal(in, out) {
			t.Errorf("to %s: was not served", to)
		}
		in = segment{from: f.client(), to: to, flags: syn, seq: 1}.packet()
		in[5]++
		v, out := r.ingress(r.uplink, in)
		wantUntouched(t, "to "+to+" at another station", v, in, out)
	}
}

func TestPacketEgressRestoresTheFrontend(t *testing.T) {
	eachFamily(t, testPacketEgressRestoresTheFrontend)
}

func testPacketEgressRestoresTheFrontend(t *testing.T, f family) {
	r := newRig(t)
	np := f.nodePort("a", 30001, corev1.ProtocolUDP, nil)
	np.Local = back(f.n1 + ":8080")
	np.Decisions[route.FromOutside] = route.Decision{Set: route.LocalSet}
	r.apply(np)
	v, out := r.ingress(r.uplink, segment{from: f.client(), to: f.n1 + ":30001", udp: true, payload: "hi"}.packet())
	want(t, "in", v, pass, parse(t, out), segment{from: f.client(), to: f.n1 + ":8080", udp: true, payload: "hi"})
	v, out = r.run(outbound, r.uplink, segment{from: f.n1 + ":8080", to: f.client(), udp: true, payload: "ho"}.packet())
	want(t, "out", v, next, parse(t, out), segment{from: f.n1 + ":30001", to: f.client(), udp: true, payload: "ho"})
}

func TestPacketInjection(t *testing.T) { eachFamily(t, testPacketInjection) }

func testPacketInjection(t *testing.T, f family) {
	r := newRig(t)
	r.settings.Inject = r.injectIn
	r.configure()
	r.apply(clusterIP("a", f.vip(1), 80, corev1.ProtocolTCP, back(f.p2+":8080")))
	in := segment{from: f.q1 + ":40000", to: f.vip(1) + ":80", flags: syn}
	v, out := r.ingress(r.pod, in.packet())
	if v != redirect || !bytes.Equal(out[:6], r.settings.MAC[:6]) {
		t.Errorf("verdict %d, to %x", int32(v), out[:6])
	}
	v, again := r.ingress(r.injectIn, out)
	wantUntouched(t, "at the injection interface", v, out, again)
	// The node's own packets come in there too, and are not ours yet.
	v, out = r.ingress(r.injectIn, segment{from: f.n1 + ":40000", to: f.vip(1) + ":80", flags: syn}.packet())
	got := parse(t, out)
	if v != pass || got.to != f.p2+":8080" || !strings.HasPrefix(got.from, f.n1+":61") {
		t.Errorf("of the node: verdict %d, %+v", int32(v), got)
	}
}

// TestPacketSameBackendTwice uses one f.client() port for two frontends with one backend.
func TestPacketSameBackendTwice(t *testing.T) { eachFamily(t, testPacketSameBackendTwice) }

func testPacketSameBackendTwice(t *testing.T, f family) {
	r := newRig(t)
	r.apply(clusterIP("a", f.vip(1), 80, corev1.ProtocolTCP, back(f.p2+":8080")), clusterIP("b", f.vip(2), 80, corev1.ProtocolTCP, back(f.p2+":8080")))
	_, a := r.ingress(r.pod, segment{from: f.q1 + ":40000", to: f.vip(1) + ":80", flags: syn}.packet())
	_, b := r.ingress(r.pod, segment{from: f.q1 + ":40000", to: f.vip(2) + ":80", flags: syn}.packet())
	if x, y := parse(t, a), parse(t, b); x.from == y.from {
		t.Errorf("both connections look like %s", x.from)
	} else {
		v, out := r.ingress(r.uplink, segment{from: y.to, to: y.from, flags: syn | ack}.packet())
		want(t, "second reply", v, pass, parse(t, out), segment{from: f.vip(2) + ":80", to: f.q1 + ":40000", flags: syn | ack})
		v, out = r.ingress(r.uplink, segment{from: x.to, to: x.from, flags: syn | ack}.packet())
		want(t, "first reply", v, pass, parse(t, out), segment{from: f.vip(1) + ":80", to: f.q1 + ":40000", flags: syn | ack})
	}
}

// TestPacketHairpin has a pod reach itself, and a process of its own node: both must answer through the programs.
func TestPacketHairpin(t *testing.T) { eachFamily(t, testPacketHairpin) }

func testPacketHairpin(t *testing.T, f family) {
	for _, server := range []string{f.p1, f.n1} {
		r := newRig(t)
		r.apply(clusterIP("a", f.vip(1), 80, corev1.ProtocolTCP, back(server+":8080")))
		in := segment{from: f.p1 + ":40000", to: f.vip(1) + ":80", flags: syn}
		v, out := r.ingress(r.pod, in.packet())
		there := parse(t, out)
		if source := netip.MustParseAddrPort(there.from); v != pass || there.to != server+":8080" || source.Addr() != ip(f.n1) || source.Port() < masqueradeMin {
			t.Errorf("to %s: verdict %d, %+v", server, int32(v), there)
		}
		v, out = r.ingress(r.pod, segment{from: there.to, to: there.from, flags: syn | ack}.packet())
		want(t, "back", v, pass, parse(t, out), segment{from: in.to, to: in.from, flags: syn | ack})
	}
}

// TestPacketEgressErrors has the node's own kernel complain about a packet that was translated on its way in.
func TestPacketEgressErrors(t *testing.T) { eachFamily(t, testPacketEgressErrors) }

func testPacketEgressErrors(t *testing.T, f family) {
	r := newRig(t)
	np := f.nodePort("a", 30001, corev1.ProtocolUDP, nil)
	np.Local = back(f.n1 + ":8080")
	np.Decisions[route.FromOutside] = route.Decision{Set: route.LocalSet}
	r.apply(np)
	in := segment{from: f.client(), to: f.n1 + ":30001", udp: true, payload: "hi"}
	_, out := r.ingress(r.uplink, in.packet())
	complaint := tooBig(f.n1, f.lan, out[14:])
	v, out := r.run(outbound, r.uplink, complaint.packet())
	got := parseICMP(t, out)
	ports := len(got.payload) - len(in.payload) - 4 // up to the checksums
	if v != next || got.from != ip(f.n1) || got.to != ip(f.lan) || !bytes.Equal(got.payload[:ports], in.ipPacket()[:ports]) {
		t.Errorf("verdict %d, %+v", int32(v), got)
	}
}

func TestPacketPortIsUsedAgainDirectly(t *testing.T) {
	eachFamily(t, testPacketPortIsUsedAgainDirectly)
}

// A port that had a connection through a Service may have one to the same backend without it next.
func testPacketPortIsUsedAgainDirectly(t *testing.T, f family) {
	for _, udp := range []bool{false, true} {
		p, open, answer := corev1.ProtocolTCP, byte(syn), byte(syn|ack)
		if udp {
			p, open, answer = corev1.ProtocolUDP, 0, 0
		}
		r := newRig(t)
		r.apply(clusterIP("a", f.vip(1), 80, p, back(f.p2+":8080")))
		r.ingress(r.pod, segment{from: f.q1 + ":40000", to: f.vip(1) + ":80", udp: udp, flags: open}.packet())
		direct := segment{from: f.q1 + ":40000", to: f.p2 + ":8080", udp: udp, flags: open}.packet()
		v, out := r.ingress(r.pod, direct)
		wantUntouched(t, "direct", v, direct, out)
		reply := segment{from: f.p2 + ":8080", to: f.q1 + ":40000", udp: udp, flags: answer}.packet()
		v, out = r.ingress(r.uplink, reply)
		wantUntouched(t, "answer to it", v, reply, out)
	}
}
