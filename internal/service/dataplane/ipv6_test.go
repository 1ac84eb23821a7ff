package dataplane

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// extension is a header between IPv6's and the transport's. What follows it is filled in.
type extension struct {
	kind byte
	data []byte
}

var (
	hopByHop    = extension{0, []byte{0, 0, 1, 4, 0, 0, 0, 0}}
	routing     = extension{43, append([]byte{0, 2, 4, 0}, make([]byte, 20)...)}
	destination = extension{60, append([]byte{0, 1, 1, 12}, make([]byte, 12)...)}
	atomicPiece = extension{44, []byte{0, 0, 0, 0, 0, 0, 0, 9}} // the only fragment of its packet
)

// extendedPacket is a segment with extension headers.
type extendedPacket struct {
	what string
	segment
	headers []extension
}

func (p extendedPacket) frame() []byte {
	h := p.header()
	for i := len(p.headers) - 1; i >= 0; i-- {
		e := p.headers[i]
		data := bytes.Clone(e.data)
		data[0] = h.proto
		h.proto, h.payload = e.kind, append(data, h.payload...)
	}
	return frame(h.packet())
}

// withoutExtensions is the packet that is left when its extension headers are taken out.
func withoutExtensions(t *testing.T, in []byte) []byte {
	t.Helper()
	h := parseHeader(t, in[14:])
	for {
		size := 8
		switch h.proto {
		case 0, 43, 60:
			size = 8 * (1 + int(h.payload[1]))
		case 44:
		default:
			return frame(h.packet())
		}
		h.proto, h.payload = h.payload[0], h.payload[size:]
	}
}

// extended are packets to the first Service.
func extended() []extendedPacket {
	tcp := segment{from: v6.client(), to: v6.vip(1) + ":80", flags: syn}
	udp := segment{from: v6.client(), to: v6.vip(1) + ":80", udp: true, payload: "x"}
	return []extendedPacket{
		{"hop by hop", tcp, []extension{hopByHop}},
		{"routing", udp, []extension{routing}},
		{"destination", tcp, []extension{destination}},
		{"the only fragment", udp, []extension{atomicPiece}},
		{"all", tcp, []extension{hopByHop, destination, routing, atomicPiece, destination}},
	}
}

func TestPacketExtensionHeaders(t *testing.T) {
	r := newRig(t)
	for _, p := range []corev1.Protocol{corev1.ProtocolTCP, corev1.ProtocolUDP} {
		r.apply(clusterIP(string(p), v6.vip(1), 80, p, back(v6.p2+":8080")))
	}
	for _, p := range extended() {
		v, out := r.ingress(r.pod, p.frame())
		wanted := p.segment
		wanted.to = v6.p2 + ":8080"
		want(t, p.what, v, pass, parse(t, withoutExtensions(t, out)), wanted)
	}
	endless := extendedPacket{segment: segment{from: v6.client(), to: v6.vip(1) + ":80", flags: syn}}
	for range 7 {
		endless.headers = append(endless.headers, destination)
	}
	if v, _ := r.ingress(r.pod, endless.frame()); v != shot {
		t.Errorf("too many headers to a Service: verdict %d", int32(v))
	}
	endless.to = v6.p1 + ":80"
	v, out := r.ingress(r.pod, endless.frame())
	wantUntouched(t, "too many headers to somebody else", v, endless.frame(), out)
	// A header that says that it is longer than the packet.
	short := extendedPacket{segment: endless.segment, headers: []extension{{60, []byte{0, 255, 1, 4, 0, 0, 0, 0}}}}
	v, out = r.ingress(r.pod, short.frame())
	wantUntouched(t, "a header beyond the end", v, short.frame(), out)
	// Nobody answers what carries extension headers.
	refused := extendedPacket{segment: segment{from: v6.client(), to: v6.vip(1) + ":81", flags: syn}, headers: []extension{destination}}
	if v, _ := r.ingress(r.pod, refused.frame()); v != shot {
		t.Errorf("to a wrong port: verdict %d", int32(v))
	}
}

// pieces cuts a packet in two, where a fragment may end.
func pieces(s segment, id uint16) [2][]byte {
	const cut = 24
	h := s.header()
	var out [2][]byte
	for i, data := range [2][]byte{h.payload[:cut], h.payload[cut:]} {
		p := header{from: h.from, to: h.to, proto: h.proto, payload: data}
		offset := uint16(i * cut / 8)
		if !h.from.Is6() {
			packet := p.packet()
			if i == 0 {
				offset |= 0x2000
			}
			binary.BigEndian.PutUint16(packet[4:], id)
			binary.BigEndian.PutUint16(packet[6:], offset)
			packet[10], packet[11] = 0, 0
			binary.BigEndian.PutUint16(packet[10:], ^uint16(sum(0, packet[:20])))
			out[i] = frame(packet)
			continue
		}
		e := []byte{h.proto, 0, 0, 0, 0x12, 0x34, 0, 0}
		binary.BigEndian.PutUint16(e[2:], offset<<3|uint16(1-i))
		binary.BigEndian.PutUint16(e[6:], id)
		p.proto, p.payload = protoFragment, append(e, data...)
		out[i] = frame(p.packet())
	}
	return out
}

const protoFragment = 44

// joined is the packet that pieces make.
func joined(t *testing.T, frames [2][]byte) []byte {
	t.Helper()
	var whole header
	for i, f := range frames {
		h := parseHeader(t, f[14:])
		if h.from.Is6() {
			h.proto, h.payload = h.payload[0], h.payload[8:]
		}
		if i == 1 && (h.from != whole.from || h.to != whole.to) {
			t.Fatalf("the second piece goes from %s to %s, the first from %s to %s", h.from, h.to, whole.from, whole.to)
		}
		h.payload = append(whole.payload, h.payload...)
		whole = h
	}
	return frame(whole.packet())
}

func TestPacketFragments(t *testing.T) { eachFamily(t, testPacketFragments) }

func testPacketFragments(t *testing.T, f family) {
	r := newRig(t)
	r.apply(clusterIP("a", f.vip(1), 80, corev1.ProtocolUDP, back(f.p2+":8080")), clusterIP("none", f.vip(2), 80, corev1.ProtocolUDP, nil))
	in := segment{from: f.q1 + ":40000", to: f.vip(1) + ":80", udp: true, payload: "a datagram that does not fit into one packet"}
	sent := pieces(in, 1)
	var got [2][]byte
	for i := range sent {
		v, out := r.ingress(r.pod, sent[i])
		if v != pass {
			t.Fatalf("piece %d: verdict %d", i, int32(v))
		}
		got[i] = out
	}
	wanted := in
	wanted.to = f.p2 + ":8080"
	want(t, "there", pass, pass, parse(t, joined(t, got)), wanted)
	reply := segment{from: f.p2 + ":8080", to: f.q1 + ":40000", udp: true, payload: "an answer that is too long for one packet as well"}
	for i, piece := range pieces(reply, 2) {
		_, got[i] = r.ingress(r.uplink, piece)
	}
	wanted = reply
	wanted.from = f.vip(1) + ":80"
	want(t, "back", pass, pass, parse(t, joined(t, got)), wanted)

	// A piece whose first one never came belongs to nobody; it must not leave the node for a Service.
	if v, _ := r.ingress(r.pod, pieces(in, 3)[1]); v != shot {
		t.Errorf("a lost piece to a Service: verdict %d", int32(v))
	}
	other := segment{from: f.q1 + ":40000", to: f.p2 + ":80", udp: true, payload: in.payload}
	for i, piece := range pieces(other, 4) {
		v, out := r.ingress(r.pod, piece)
		wantUntouched(t, "to somebody else", v, piece, out)
		if i == 1 {
			v, out = r.ingress(r.pod, pieces(other, 5)[1])
			wantUntouched(t, "a lost piece to somebody else", v, pieces(other, 5)[1], out)
		}
	}
	if v, _ := r.ingress(r.pod, pieces(segment{from: f.q1 + ":1", to: f.vip(2) + ":80", udp: true, payload: in.payload}, 6)[0]); v != shot {
		t.Errorf("a piece to no endpoints: verdict %d", int32(v))
	}
}

// TestPacketNeighboursFindEachOther: what keeps a link working passes, whoever it is for.
func TestPacketNeighboursFindEachOther(t *testing.T) {
	r := newRig(t)
	r.settings.Inject = r.injectIn
	r.configure()
	r.apply(clusterIP("a", v6.vip(1), 80, corev1.ProtocolTCP, back(v6.p2+":8080")), v6.nodePort("a", 30001, corev1.ProtocolUDP, back(v6.p2+":8080")))
	link, target := ip("fe80::1"), ip(v6.n1).AsSlice()
	message := func(kind byte, from, to netip.Addr) []byte {
		return icmp{from: from, to: to, kind: kind, payload: append(target, 1, 1, 2, 0, 0, 0, 0, 1)}.packet()
	}
	for what, in := range map[string][]byte{
		"solicitation for an address":        message(135, ip(v6.lan), ip("ff02::1:ff00:11")),
		"duplicate address detection":        message(135, netip.IPv6Unspecified(), ip("ff02::1:ff00:11")),
		"probe of a neighbour":               message(135, ip(v6.lan), ip(v6.n1)),
		"probe of a Service address":         message(135, ip(v6.lan), ip(v6.vip(1))),
		"advertisement":                      message(136, ip(v6.n1), ip(v6.lan)),
		"router solicitation":                message(133, link, ip("ff02::2")),
		"router advertisement":               message(134, link, ip("ff02::1")),
		"redirect":                           message(137, link, ip(v6.n1)),
		"multicast listener report":          message(143, link, ip("ff02::16")),
		"link-local to a NodePort":           segment{from: "[fe80::2]:5", to: v6.n1 + ":30001", udp: true}.packet(),
		"link-local to a Service":            segment{from: "[fe80::2]:5", to: v6.vip(1) + ":80", flags: syn}.packet(),
		"to a link-local address":            segment{from: v6.client(), to: "[fe80::2]:30001", udp: true}.packet(),
		"to a multicast address":             segment{from: v6.client(), to: "[ff02::fb]:30001", udp: true}.packet(),
		"from an IPv4 address in IPv6":       segment{from: "[::ffff:172.30.0.1]:5", to: v6.vip(1) + ":80", flags: syn}.packet(),
		"to an IPv4 node in IPv6":            segment{from: v6.client(), to: "[::ffff:172.30.0.11]:30001", udp: true}.packet(),
		"an IPv4 packet called an IPv6 one":  append(frame([]byte{6 << 4})[:14], segment{from: v4.client(), to: v4.n1 + ":30001", udp: true, payload: "long enough to be one"}.ipPacket()...),
		"nothing behind the Ethernet header": append(frame([]byte{6 << 4})[:14], make([]byte, 46)...),
	} {
		for _, ifindex := range []uint32{r.pod, r.uplink, loopbackIndex} {
			v, out := r.ingress(ifindex, in)
			wantUntouched(t, what, v, in, out)
		}
		v, out := r.run(outbound, r.uplink, in)
		wantUntouched(t, what+" going out", v, in, out)
	}
	// The node has no neighbours where it sends what is for Services, and what came back would go in circles.
	if v, _ := r.ingress(r.injectIn, message(135, ip(v6.n1), ip(v6.vip(1)))); v != shot {
		t.Errorf("a probe of the node for a Service: verdict %d", int32(v))
	}
	ping := icmp{from: ip(v6.lan), to: ip(v6.vip(1)), kind: 128}.packet()
	if v, _ := r.ingress(r.uplink, ping); v != shot {
		t.Errorf("a ping to a Service: verdict %d", int32(v))
	}
}

// TestPacketChecksumNeverVanishes: a UDP checksum that comes out as 0 is written as 0xffff, for 0 means that there is none.
func TestPacketChecksumNeverVanishes(t *testing.T) { eachFamily(t, testPacketChecksumNeverVanishes) }

func testPacketChecksumNeverVanishes(t *testing.T, f family) {
	r := newRig(t)
	r.apply(clusterIP("a", f.vip(1), 80, corev1.ProtocolUDP, back(f.p2+":8080")))
	out := segment{from: f.q1 + ":40000", to: f.p2 + ":8080", udp: true, payload: "\x00\x00"}
	h := out.header()
	out.payload = string(h.payload[6:8]) // what is added to the sum makes it 0xffff
	if h := out.header(); h.payload[6] != 0xff || h.payload[7] != 0xff {
		t.Fatalf("checksum % x", h.payload[6:8])
	}
	in := out
	in.to = f.vip(1) + ":80"
	v, got := r.ingress(r.pod, in.packet())
	if v != pass || !bytes.Equal(got[14:], out.ipPacket()) {
		t.Errorf("verdict %d, packet\n% x, want\n% x", int32(v), got[14:], out.ipPacket())
	}
}
