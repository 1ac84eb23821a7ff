package dataplane

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"minato/internal/host"
	"minato/internal/service/route"
)

// What a packet program can answer.
const (
	next     = 0xffffffff
	pass     = 0
	shot     = 2
	redirect = 7
)

// rig runs the packet programs on packets made here. Nothing is attached.
type rig struct {
	t          testing.TB
	ns         host.Netns
	collection *ebpf.Collection
	reconciler *reconciler
	settings   settings
	pod        uint32 // interfaces that stand for the places where packets are met
	uplink     uint32
	injectIn   uint32
}

func newRig(t testing.TB) *rig {
	t.Helper()
	requireRoot(t)
	spec, err := collectionSpec()
	if err != nil {
		t.Fatal(err)
	}
	c, err := ebpf.NewCollection(spec.Copy())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	r := &rig{t: t, ns: netnsFor(t, fmt.Sprintf("rig-%d-%d", os.Getpid(), c.Programs["ingress"].FD())), collection: c}
	h, err := r.ns.Handle()
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	for _, pair := range []struct {
		a, b string
		x, y *uint32
	}{{"pod", "up", &r.pod, &r.uplink}, {"in", "out", &r.injectIn, nil}} {
		if err := h.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: pair.a}, PeerName: pair.b}); err != nil {
			t.Fatal(err)
		}
		for name, index := range map[string]*uint32{pair.a: pair.x, pair.b: pair.y} {
			l, err := h.LinkByName(name)
			if err != nil {
				t.Fatal(err)
			}
			if index != nil {
				*index = uint32(l.Attrs().Index)
			}
		}
	}
	r.reconciler = newReconciler(discard(), kernelTable[frontendKey, frontend]{c.Maps["frontends"]},
		kernelTable[slotKey, slot]{c.Maps["slots"]}, kernelTable[uint32, backend]{c.Maps["backends"]},
		kernelTable[sourceRange, uint32]{c.Maps["source_ranges"]})
	r.settings = settings{
		Self: addressOf(netip.MustParseAddr(n1IP)), NodePortMin: nodePortMin, NodePortMax: nodePortMax,
		MasqueradeMin: masqueradeMin, MasqueradeCount: 1000,
		Services: [maxRanges]cidr{cidrOf(netip.MustParsePrefix("10.96.0.0/16")), noCIDR, noCIDR, noCIDR},
		Uplinks:  [maxUplinks]uint32{r.uplink},
		MAC:      [8]byte{2, 4, 6, 8, 10, 12},
	}
	r.configure()
	nodes := kernelTable[address, node]{c.Maps["nodes"]}
	err = nodes.put([]address{addressOf(netip.MustParseAddr(n1IP)), addressOf(netip.MustParseAddr(n2IP))}, []node{{Flags: nodeSelf}, {}})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *rig) configure() {
	r.t.Helper()
	if err := r.collection.Maps["config"].Put(uint32(0), &r.settings); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) apply(fs ...route.Frontend) {
	r.t.Helper()
	by := map[types.NamespacedName][]route.Frontend{}
	for _, f := range fs {
		by[f.Service] = append(by[f.Service], f)
	}
	if err := r.reconciler.apply(by); err != nil {
		r.t.Fatal(err)
	}
}

// skb is the part of struct __sk_buff that the programs look at.
type skb struct {
	Len, PktType, Mark, QueueMapping, Protocol, VlanPresent, VlanTCI, VlanProto, Priority uint32
	IngressIfindex, Ifindex                                                               uint32
	Rest                                                                                  [148]byte
}

// run sends a packet through a program at an interface.
func (r *rig) run(program string, ifindex uint32, in []byte) (uint32, []byte) {
	r.t.Helper()
	verdict, out, err := r.try(program, ifindex, in)
	if err != nil {
		r.t.Fatal(err)
	}
	return verdict, out
}

// try is run for packets that the kernel may not even let in.
func (r *rig) try(program string, ifindex uint32, in []byte) (verdict uint32, out []byte, err error) {
	opts := &ebpf.RunOptions{Data: in, DataOut: make([]byte, len(in)+256), Context: skb{Ifindex: ifindex}}
	err = r.ns.Do(func() (err error) {
		verdict, err = r.collection.Programs[program].Run(opts)
		return err
	})
	return verdict, opts.DataOut, err
}

func (r *rig) ingress(ifindex uint32, in []byte) (uint32, []byte) {
	r.t.Helper()
	return r.run("ingress", ifindex, in)
}

// segment describes a packet.
type segment struct {
	from, to string // address:port
	flags    byte   // TCP's
	seq, ack uint32
	udp      bool
	noCsum   bool
	payload  string
}

const (
	fin = 1
	syn = 2
	rst = 4
	ack = 16
)

// sum is the ones' complement sum of data on top of acc.
func sum(acc uint32, data []byte) uint32 {
	for i := 0; i+1 < len(data); i += 2 {
		acc += uint32(data[i])<<8 | uint32(data[i+1])
	}
	if len(data)%2 == 1 {
		acc += uint32(data[len(data)-1]) << 8
	}
	for acc > 0xffff {
		acc = acc&0xffff + acc>>16
	}
	return acc
}

func pseudoSum(ip []byte, length int) uint32 {
	acc := sum(0, ip[12:20])
	return acc + uint32(ip[9]) + uint32(length)
}

func ipHeader(proto byte, from, to netip.Addr, length int) []byte {
	ip := make([]byte, 20)
	ip[0], ip[8], ip[9] = 0x45, 63, proto
	binary.BigEndian.PutUint16(ip[2:], uint16(20+length))
	binary.BigEndian.PutUint16(ip[4:], 4711)
	copy(ip[12:], from.AsSlice())
	copy(ip[16:], to.AsSlice())
	binary.BigEndian.PutUint16(ip[10:], ^uint16(sum(0, ip)))
	return ip
}

var ethernet = []byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0}

// ipPacket makes the IP packet of a segment.
func (s segment) ipPacket() []byte {
	from, to := netip.MustParseAddrPort(s.from), netip.MustParseAddrPort(s.to)
	var l4 []byte
	at, p := 16, byte(protoTCP)
	if s.udp {
		l4, at, p = make([]byte, 8), 6, byte(protoUDP)
		binary.BigEndian.PutUint16(l4[4:], uint16(8+len(s.payload)))
	} else {
		l4 = make([]byte, 20)
		binary.BigEndian.PutUint32(l4[4:], s.seq)
		binary.BigEndian.PutUint32(l4[8:], s.ack)
		l4[12], l4[13] = 5<<4, s.flags
	}
	binary.BigEndian.PutUint16(l4, from.Port())
	binary.BigEndian.PutUint16(l4[2:], to.Port())
	l4 = append(l4, s.payload...)
	ip := ipHeader(p, from.Addr(), to.Addr(), len(l4))
	if !s.noCsum {
		binary.BigEndian.PutUint16(l4[at:], ^uint16(sum(pseudoSum(ip, len(l4)), l4)))
	}
	return append(ip, l4...)
}

func (s segment) packet() []byte { return append(bytes.Clone(ethernet), s.ipPacket()...) }

// parse reads a packet and checks its checksums.
func parse(t *testing.T, frame []byte) segment {
	t.Helper()
	if len(frame) < 34 {
		t.Fatalf("packet of %d bytes", len(frame))
	}
	ip := frame[14:]
	if sum(0, ip[:20]) != 0xffff {
		t.Errorf("bad IP checksum in % x", ip[:20])
	}
	total := int(binary.BigEndian.Uint16(ip[2:]))
	if total != len(ip) {
		t.Errorf("IP length %d in a packet of %d bytes", total, len(ip))
	}
	l4 := ip[20:]
	a := netip.AddrFrom4([4]byte(ip[12:16]))
	b := netip.AddrFrom4([4]byte(ip[16:20]))
	s := segment{udp: ip[9] == byte(protoUDP)}
	s.from = netip.AddrPortFrom(a, binary.BigEndian.Uint16(l4)).String()
	s.to = netip.AddrPortFrom(b, binary.BigEndian.Uint16(l4[2:])).String()
	if s.udp && l4[6] == 0 && l4[7] == 0 {
		s.noCsum = true
	} else if sum(pseudoSum(ip, len(l4)), l4) != 0xffff {
		t.Errorf("bad transport checksum in % x", l4)
	}
	if s.udp {
		s.payload = string(l4[8:])
		return s
	}
	s.seq, s.ack = binary.BigEndian.Uint32(l4[4:]), binary.BigEndian.Uint32(l4[8:])
	s.flags, s.payload = l4[13], string(l4[20:])
	return s
}

const (
	client = lanIP + ":40000"
	vip    = "10.96.1.1:80"
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

func TestPacketToAndFro(t *testing.T) {
	for _, udp := range []bool{false, true} {
		for _, noCsum := range []bool{false, true} {
			if noCsum && !udp {
				continue
			}
			p := corev1.ProtocolTCP
			flags := byte(syn)
			if udp {
				p, flags = corev1.ProtocolUDP, 0
			}
			r := newRig(t)
			r.apply(clusterIP("a", "10.96.1.1", 80, p, back(p2IP+":8080")))
			in := segment{from: q1IP + ":40000", to: vip, udp: udp, noCsum: noCsum, flags: flags, payload: "hi"}
			v, out := r.ingress(r.pod, in.packet())
			wanted := in
			wanted.to = p2IP + ":8080"
			want(t, "from pod", v, pass, parse(t, out), wanted)
			reply := segment{from: p2IP + ":8080", to: q1IP + ":40000", udp: udp, noCsum: noCsum, flags: flags | ack&(flags<<3), payload: "ho"}
			v, out = r.ingress(r.uplink, reply.packet())
			wanted = reply
			wanted.from = vip
			want(t, "reply", v, pass, parse(t, out), wanted)
		}
	}
}

func TestPacketMasquerade(t *testing.T) {
	r := newRig(t)
	r.apply(nodePort("a", 30001, corev1.ProtocolTCP, back(p2IP+":8080")))
	in := segment{from: client, to: n1IP + ":30001", flags: syn}
	v, out := r.ingress(r.uplink, in.packet())
	first := parse(t, out)
	source := netip.MustParseAddrPort(first.from)
	if source.Addr().String() != n1IP || source.Port() < masqueradeMin || source.Port() >= masqueradeMin+1000 {
		t.Errorf("masqueraded as %s", source)
	}
	wanted := in
	wanted.from, wanted.to = first.from, p2IP+":8080"
	want(t, "SYN", v, pass, first, wanted)
	v, out = r.ingress(r.uplink, in.packet())
	want(t, "repeated SYN", v, pass, parse(t, out), wanted)
	in.flags, wanted.flags = ack, ack
	v, out = r.ingress(r.uplink, in.packet())
	want(t, "ACK", v, pass, parse(t, out), wanted)
	reply := segment{from: p2IP + ":8080", to: first.from, flags: syn | ack}
	v, out = r.ingress(r.uplink, reply.packet())
	want(t, "reply", v, pass, parse(t, out), segment{from: n1IP + ":30001", to: client, flags: syn | ack})

	other := in
	other.from, other.flags = lanIP+":40001", syn
	_, out = r.ingress(r.uplink, other.packet())
	if again := parse(t, out); again.from == first.from {
		t.Errorf("two connections share the source %s", again.from)
	}
	if v, out := r.ingress(r.uplink, segment{from: client, to: n2IP + ":30001", flags: syn}.packet()); v != next {
		t.Errorf("a NodePort of another node from outside: verdict %d, %+v", int32(v), parse(t, out))
	}
}

func TestPacketHalfOfAConnectionIsRebuilt(t *testing.T) {
	r := newRig(t)
	r.apply(nodePort("a", 30001, corev1.ProtocolTCP, back(p2IP+":8080")))
	in := segment{from: client, to: n1IP + ":30001", flags: syn}
	_, out := r.ingress(r.uplink, in.packet())
	first := parse(t, out)
	reply := segment{from: p2IP + ":8080", to: first.from, flags: syn | ack}
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
		want(t, "forward", v, pass, parse(t, out), segment{from: first.from, to: p2IP + ":8080", flags: ack})
		v, out = r.ingress(r.uplink, reply.packet())
		want(t, "reply", v, pass, parse(t, out), segment{from: n1IP + ":30001", to: client, flags: syn | ack})
	}
}

func TestPacketNewConnectionFromAnOldPort(t *testing.T) {
	r := newRig(t)
	np := func(b string) route.Frontend { return nodePort("a", 30001, corev1.ProtocolTCP, back(b)) }
	r.apply(np(p2IP + ":8080"))
	send := func(flags byte) segment {
		_, out := r.ingress(r.uplink, segment{from: client, to: n1IP + ":30001", flags: flags}.packet())
		return parse(t, out)
	}
	first := send(syn)
	r.apply(np(p1IP + ":8080"))
	if got := send(ack); got.to != first.to {
		t.Errorf("an open connection moved from %s to %s", first.to, got.to)
	}
	if got := send(syn); got.to != p1IP+":8080" {
		t.Errorf("a SYN went to %s, whose backend is gone", got.to)
	}
	r.apply(np(p1IP + ":8081"))
	r.apply(func() route.Frontend { f := np(p1IP + ":8081"); f.Draining = back(p1IP + ":8080"); return f }())
	send(rst)
	if got := send(syn); got.to != p1IP+":8081" {
		t.Errorf("a SYN after RST went to %s", got.to)
	}
}

func TestPacketReject(t *testing.T) {
	r := newRig(t)
	r.apply(clusterIP("a", "10.96.1.1", 80, corev1.ProtocolTCP, nil), clusterIP("b", "10.96.1.2", 80, corev1.ProtocolUDP, nil))
	for what, c := range map[string]struct{ in, out segment }{
		"SYN": {segment{from: client, to: vip, flags: syn, seq: 99},
			segment{from: vip, to: client, flags: rst | ack, ack: 100}},
		"SYN with data": {segment{from: client, to: vip, flags: syn, seq: 0xffffffff, payload: "early"},
			segment{from: vip, to: client, flags: rst | ack, ack: 5}},
		"ACK": {segment{from: client, to: vip, flags: ack, seq: 1, ack: 77, payload: "x"},
			segment{from: vip, to: client, flags: rst, seq: 77}},
		"wrong port": {segment{from: client, to: "10.96.1.1:81", flags: syn, seq: 1},
			segment{from: "10.96.1.1:81", to: client, flags: rst | ack, ack: 2}},
	} {
		v, out := r.ingress(r.uplink, c.in.packet())
		want(t, what, v, pass, parse(t, out), c.out)
	}
	if v, _ := r.ingress(r.uplink, segment{from: client, to: vip, flags: rst}.packet()); v != shot {
		t.Errorf("RST to nobody: verdict %d", int32(v))
	}
	if v, _ := r.ingress(r.pod, segment{from: q1IP + ":1", to: "10.96.7.7:80", flags: syn}.packet()); v != shot {
		t.Errorf("unallocated address: verdict %d", int32(v))
	}
}

func TestPacketUnreachable(t *testing.T) {
	r := newRig(t)
	r.apply(clusterIP("b", "10.96.1.2", 80, corev1.ProtocolUDP, nil))
	for _, payload := range []string{"", "x", strings.Repeat("long", 300)} {
		in := segment{from: client, to: "10.96.1.2:80", udp: true, payload: payload}
		v, out := r.ingress(r.uplink, in.packet())
		ip, icmp := out[14:34], out[34:]
		if v != pass || len(out) != 14+20+8+28 || sum(0, ip) != 0xffff || sum(0, icmp) != 0xffff {
			t.Fatalf("verdict %d, packet % x", int32(v), out)
		}
		if ip[9] != byte(protoICMP) || icmp[0] != 3 || icmp[1] != 3 || !bytes.Equal(ip[12:16], []byte{10, 96, 1, 2}) {
			t.Errorf("no port unreachable from the Service: % x", out)
		}
		if !bytes.Equal(icmp[8:], in.ipPacket()[:28]) {
			t.Errorf("quotes % x, want % x", icmp[8:], in.ipPacket()[:28])
		}
	}
}

// icmpError makes an error about a packet.
func icmpError(from, to string, quoted []byte) []byte {
	icmp := append([]byte{3, 4, 0, 0, 0, 0, 5, 0}, quoted...)
	binary.BigEndian.PutUint16(icmp[2:], ^uint16(sum(0, icmp)))
	ip := ipHeader(byte(protoICMP), netip.MustParseAddr(from), netip.MustParseAddr(to), len(icmp))
	return append(append(bytes.Clone(ethernet), ip...), icmp...)
}

func TestPacketICMPErrors(t *testing.T) {
	for _, udp := range []bool{false, true} {
		r := newRig(t)
		p := corev1.ProtocolTCP
		if udp {
			p = corev1.ProtocolUDP
		}
		r.apply(nodePort("a", 30001, p, back(p2IP+":8080")))
		flags := byte(syn)
		if udp {
			flags = 0
		}
		_, out := r.ingress(r.uplink, segment{from: client, to: n1IP + ":30001", flags: flags, udp: udp}.packet())
		source := parse(t, out).from
		check := func(what string, frame []byte, from, to string, quoted segment) {
			t.Helper()
			v, out := r.ingress(r.uplink, frame)
			ip, icmp := out[14:34], out[34:]
			got := netip.AddrFrom4([4]byte(ip[12:16])).String() + " " + netip.AddrFrom4([4]byte(ip[16:20])).String()
			if v != pass || sum(0, ip) != 0xffff || sum(0, icmp) != 0xffff || sum(0, icmp[8:28]) != 0xffff || got != from+" "+to {
				t.Errorf("%s: verdict %d, from and to %s, packet % x", what, int32(v), got, out)
			}
			inner := netip.AddrPortFrom(netip.AddrFrom4([4]byte(icmp[20:24])), binary.BigEndian.Uint16(icmp[28:])).String() + " " +
				netip.AddrPortFrom(netip.AddrFrom4([4]byte(icmp[24:28])), binary.BigEndian.Uint16(icmp[30:])).String()
			if inner != quoted.from+" "+quoted.to {
				t.Errorf("%s: quotes %s, want %s %s", what, inner, quoted.from, quoted.to)
			}
		}
		sent := segment{from: source, to: p2IP + ":8080", flags: flags, udp: udp}
		asked := segment{from: client, to: n1IP + ":30001", flags: flags, udp: udp}
		check("from the backend", icmpError(p2IP, n1IP, sent.ipPacket()[:28]), n1IP, lanIP, asked)
		check("from a router", icmpError("172.30.9.9", n1IP, sent.ipPacket()), "172.30.9.9", lanIP, asked)
		answered := segment{from: n1IP + ":30001", to: client, flags: flags, udp: udp}
		translated := segment{from: p2IP + ":8080", to: source, flags: flags, udp: udp}
		check("from the client", icmpError(lanIP, n1IP, answered.ipPacket()), n1IP, p2IP, translated)
		check("from a router near the client", icmpError("172.30.9.9", n1IP, answered.ipPacket()), "172.30.9.9", p2IP, translated)
		stranger := icmpError(p2IP, n1IP, segment{from: n1IP + ":1", to: p2IP + ":2"}.ipPacket())
		v, out := r.ingress(r.uplink, stranger)
		wantUntouched(t, "about a stranger", v, stranger, out)
	}
}

func TestPacketOthersAreUntouched(t *testing.T) {
	r := newRig(t)
	r.apply(clusterIP("a", "10.96.1.1", 80, corev1.ProtocolTCP, back(p2IP+":8080")), nodePort("a", 30001, corev1.ProtocolTCP, back(p2IP+":8080")))
	arp := append(bytes.Clone(ethernet[:12]), 8, 6, 0, 1, 8, 0, 6, 4, 0, 1)
	arp = append(arp, make([]byte, 32)...)
	ping := append(append(bytes.Clone(ethernet), ipHeader(1, netip.MustParseAddr(lanIP), netip.MustParseAddr(n1IP), 8)...), 8, 0, 0xf7, 0xff, 0, 0, 0, 0)
	gre := append(append(bytes.Clone(ethernet), ipHeader(47, netip.MustParseAddr(lanIP), netip.MustParseAddr(n1IP), 8)...), make([]byte, 8)...)
	for what, in := range map[string][]byte{
		"TCP":         segment{from: client, to: p1IP + ":80", flags: syn}.packet(),
		"other port":  segment{from: client, to: n1IP + ":30002", flags: syn}.packet(),
		"UDP":         segment{from: client, to: n1IP + ":30001", udp: true}.packet(),
		"foreign":     segment{from: client, to: "192.0.2.1:30001", flags: syn}.packet(),
		"ARP":         arp,
		"ping":        ping,
		"GRE":         gre,
		"cut short":   segment{from: client, to: vip, flags: syn}.packet()[:14+20+10],
		"loopback IP": segment{from: "127.0.0.1:1", to: "127.0.0.1:30001", flags: syn}.packet(),
	} {
		for _, ifindex := range []uint32{r.pod, r.uplink, loopbackIndex} {
			v, out := r.ingress(ifindex, in)
			wantUntouched(t, what, v, in, out)
		}
		v, out := r.run("egress", r.uplink, in)
		wantUntouched(t, what+" going out", v, in, out)
	}
}

func TestPacketEgressRestoresTheFrontend(t *testing.T) {
	r := newRig(t)
	f := nodePort("a", 30001, corev1.ProtocolUDP, nil)
	f.Local = back(n1IP + ":8080")
	f.Decisions[route.FromOutside] = route.Decision{Set: route.LocalSet}
	r.apply(f)
	v, out := r.ingress(r.uplink, segment{from: client, to: n1IP + ":30001", udp: true, payload: "hi"}.packet())
	want(t, "in", v, pass, parse(t, out), segment{from: client, to: n1IP + ":8080", udp: true, payload: "hi"})
	v, out = r.run("egress", r.uplink, segment{from: n1IP + ":8080", to: client, udp: true, payload: "ho"}.packet())
	want(t, "out", v, next, parse(t, out), segment{from: n1IP + ":30001", to: client, udp: true, payload: "ho"})
}

func TestPacketInjection(t *testing.T) {
	r := newRig(t)
	r.settings.Inject = r.injectIn
	r.configure()
	r.apply(clusterIP("a", "10.96.1.1", 80, corev1.ProtocolTCP, back(p2IP+":8080")))
	in := segment{from: q1IP + ":40000", to: vip, flags: syn}
	v, out := r.ingress(r.pod, in.packet())
	if v != redirect || !bytes.Equal(out[:6], r.settings.MAC[:6]) {
		t.Errorf("verdict %d, to %x", int32(v), out[:6])
	}
	v, again := r.ingress(r.injectIn, out)
	wantUntouched(t, "at the injection interface", v, out, again)
	// The node's own packets come in there too, and are not ours yet.
	v, out = r.ingress(r.injectIn, segment{from: n1IP + ":40000", to: vip, flags: syn}.packet())
	got := parse(t, out)
	if v != pass || got.to != p2IP+":8080" || !strings.HasPrefix(got.from, n1IP+":61") {
		t.Errorf("of the node: verdict %d, %+v", int32(v), got)
	}
}

// TestPacketSameBackendTwice uses one client port for two frontends with one backend.
func TestPacketSameBackendTwice(t *testing.T) {
	r := newRig(t)
	r.apply(clusterIP("a", "10.96.1.1", 80, corev1.ProtocolTCP, back(p2IP+":8080")), clusterIP("b", "10.96.1.2", 80, corev1.ProtocolTCP, back(p2IP+":8080")))
	_, a := r.ingress(r.pod, segment{from: q1IP + ":40000", to: "10.96.1.1:80", flags: syn}.packet())
	_, b := r.ingress(r.pod, segment{from: q1IP + ":40000", to: "10.96.1.2:80", flags: syn}.packet())
	if x, y := parse(t, a), parse(t, b); x.from == y.from {
		t.Errorf("both connections look like %s", x.from)
	} else {
		v, out := r.ingress(r.uplink, segment{from: y.to, to: y.from, flags: syn | ack}.packet())
		want(t, "second reply", v, pass, parse(t, out), segment{from: "10.96.1.2:80", to: q1IP + ":40000", flags: syn | ack})
		v, out = r.ingress(r.uplink, segment{from: x.to, to: x.from, flags: syn | ack}.packet())
		want(t, "first reply", v, pass, parse(t, out), segment{from: "10.96.1.1:80", to: q1IP + ":40000", flags: syn | ack})
	}
}

// FuzzPacket feeds anything to the programs: whatever it is, they must come to an end and not touch packets that have
// nothing to do with a Service.
func FuzzPacket(f *testing.F) {
	f.Add(segment{from: client, to: vip, flags: syn}.packet())
	f.Add(segment{from: client, to: n1IP + ":30001", udp: true, payload: "x"}.packet())
	f.Add(icmpError(p2IP, n1IP, segment{from: n1IP + ":61000", to: p2IP + ":8080"}.ipPacket()))
	r := newRig(f)
	r.apply(clusterIP("a", "10.96.1.1", 80, corev1.ProtocolTCP, back(p2IP+":8080")))
	f.Fuzz(func(t *testing.T, in []byte) {
		if len(in) < 14 || len(in) > 1500 {
			return
		}
		v, out, err := r.try("ingress", r.uplink, in)
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
		case pass, shot:
		default:
			t.Errorf("verdict %d", int32(v))
		}
	})
}
