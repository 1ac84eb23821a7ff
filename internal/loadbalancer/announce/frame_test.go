package announce

import (
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
	"testing"
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

func be16(n int) []byte { return binary.BigEndian.AppendUint16(nil, uint16(n)) }

// ether puts an Ethernet header before a packet.
func ether(to, from net.HardwareAddr, ethertype int, packet []byte) []byte {
	return slices.Concat(to, from, be16(ethertype), packet)
}

// etherIP does the same for an IP packet.
func etherIP(to, from net.HardwareAddr, packet []byte) []byte {
	if packet[0]>>4 == 6 {
		return ether(to, from, 0x86dd, packet)
	}
	return ether(to, from, 0x0800, packet)
}

// ipPacket is an IP packet without options. The TTL is 64 unless set.
type ipPacket struct {
	from, to netip.Addr
	proto    byte
	ttl      byte
	// offset is that of a fragment in bytes, more says that others follow, and id is what they have in common.
	offset  int
	more    bool
	id      int
	payload []byte
}

func (p ipPacket) pseudo() uint32 {
	return sum(uint32(p.proto)+uint32(len(p.payload)), slices.Concat(p.from.AsSlice(), p.to.AsSlice()))
}

// summed sets the transport's checksum, which is at that offset of the payload.
func (p ipPacket) summed(at int) ipPacket {
	p.payload = slices.Clone(p.payload)
	p.payload[at], p.payload[at+1] = 0, 0
	pseudo := p.pseudo()
	if p.proto == 1 {
		pseudo = 0
	}
	binary.BigEndian.PutUint16(p.payload[at:], ^uint16(sum(pseudo, p.payload)))
	return p
}

func (p ipPacket) bytes() []byte {
	if p.ttl == 0 {
		p.ttl = 64
	}
	more := 0
	if p.more {
		more = 1
	}
	if p.from.Is6() {
		proto, payload := p.proto, p.payload
		if p.offset > 0 || p.more {
			payload = slices.Concat([]byte{proto, 0}, be16(p.offset|more), be16(0), be16(p.id), payload)
			proto = 44
		}
		ip := slices.Concat([]byte{6 << 4, 0, 0, 0}, be16(len(payload)), []byte{proto, p.ttl}, p.from.AsSlice(), p.to.AsSlice())
		return append(ip, payload...)
	}
	ip := slices.Concat([]byte{0x45, 0}, be16(20+len(p.payload)), be16(p.id), be16(p.offset/8|more<<13), []byte{p.ttl, p.proto, 0, 0}, p.from.AsSlice(), p.to.AsSlice())
	binary.BigEndian.PutUint16(ip[10:], ^uint16(sum(0, ip)))
	return append(ip, p.payload...)
}

// parseIP reads an IP packet without options and checks its checksums.
func parseIP(t testing.TB, b []byte) (p ipPacket) {
	t.Helper()
	at := 6
	switch {
	case len(b) >= 40 && b[0]>>4 == 6:
		p = ipPacket{proto: b[6], ttl: b[7], payload: b[40:]}
		p.from, _ = netip.AddrFromSlice(b[8:24])
		p.to, _ = netip.AddrFromSlice(b[24:40])
		if int(binary.BigEndian.Uint16(b[4:])) != len(p.payload) {
			t.Errorf("IPv6 length field of % x", b)
		}
	case len(b) >= 20 && b[0] == 0x45:
		p = ipPacket{proto: b[9], ttl: b[8], payload: b[20:]}
		p.from, _ = netip.AddrFromSlice(b[12:16])
		p.to, _ = netip.AddrFromSlice(b[16:20])
		if sum(0, b[:20]) != 0xffff || int(binary.BigEndian.Uint16(b[2:])) != len(b) {
			t.Errorf("bad IP header % x", b[:20])
		}
		if b[6]&0x3f != 0 || b[7] != 0 {
			return p // a fragment
		}
	default:
		t.Fatalf("no IP packet: % x", b)
	}
	switch p.proto {
	case 6, 17, 58:
		if p.proto == 17 && p.payload[at] == 0 && p.payload[at+1] == 0 && p.from.Is4() {
			break
		}
		if sum(p.pseudo(), p.payload) != 0xffff {
			t.Errorf("bad checksum in % x", b)
		}
	}
	return p
}

const (
	fin = 1
	syn = 2
	ack = 16
)

// tcpPacket and udpPacket make packets of a flow.
func tcpPacket(from, to string, flags byte) ipPacket {
	f, t := netip.MustParseAddrPort(from), netip.MustParseAddrPort(to)
	l4 := slices.Concat(be16(int(f.Port())), be16(int(t.Port())), make([]byte, 8), []byte{5 << 4, flags}, be16(1000), make([]byte, 4), []byte("data"))
	return ipPacket{from: f.Addr(), to: t.Addr(), proto: 6, payload: l4}.summed(16)
}

func udpPacket(from, to string, payload []byte) ipPacket {
	f, t := netip.MustParseAddrPort(from), netip.MustParseAddrPort(to)
	l4 := slices.Concat(be16(int(f.Port())), be16(int(t.Port())), be16(8+len(payload)), be16(0), payload)
	return ipPacket{from: f.Addr(), to: t.Addr(), proto: 17, payload: l4}.summed(6)
}

// unreachable makes the ICMP error of a router about a packet.
func unreachable(router netip.Addr, about ipPacket) ipPacket {
	p := ipPacket{from: router, to: about.from, proto: 1, payload: slices.Concat([]byte{3, 4, 0, 0, 0, 0}, be16(1400), about.bytes())}
	if router.Is6() {
		p.proto = 58
		p.payload = slices.Concat([]byte{2, 0, 0, 0, 0, 0}, be16(1400), about.bytes())
	}
	return p.summed(2)
}

// arpFrame makes an ARP packet.
func arpFrame(to, from net.HardwareAddr, op int, senderMAC net.HardwareAddr, sender string, targetMAC net.HardwareAddr, target string) []byte {
	s, t := netip.MustParseAddr(sender), netip.MustParseAddr(target)
	return ether(to, from, 0x0806, slices.Concat(be16(1), be16(0x0800), []byte{6, 4}, be16(op), senderMAC, s.AsSlice(), targetMAC, t.AsSlice()))
}

func groupOf(target netip.Addr) (netip.Addr, net.HardwareAddr) {
	a := target.As16()
	g := netip.MustParseAddr("ff02::1:ff00:0").As16()
	copy(g[13:], a[13:])
	return netip.AddrFrom16(g), net.HardwareAddr{0x33, 0x33, 0xff, a[13], a[14], a[15]}
}

// solicitation makes a neighbour solicitation, with the source's hardware address or, from ::, without one.
func solicitation(from net.HardwareAddr, source, target string) []byte {
	s, t := netip.MustParseAddr(source), netip.MustParseAddr(target)
	group, to := groupOf(t)
	p := ipPacket{from: s, to: group, proto: 58, ttl: 255, payload: slices.Concat([]byte{135, 0, 0, 0, 0, 0, 0, 0}, t.AsSlice())}
	if !s.IsUnspecified() {
		p.payload = slices.Concat(p.payload, []byte{1, 1}, from)
	}
	return etherIP(to, from, p.summed(2).bytes())
}

// advertisement makes an unsolicited neighbour advertisement.
func advertisement(from net.HardwareAddr, target string) []byte {
	t := netip.MustParseAddr(target)
	p := ipPacket{
		from: t, to: netip.MustParseAddr("ff02::1"), proto: 58, ttl: 255,
		payload: slices.Concat([]byte{136, 0, 0, 0, 0x20, 0, 0, 0}, t.AsSlice(), []byte{2, 1}, from),
	}
	return etherIP(net.HardwareAddr{0x33, 0x33, 0, 0, 0, 1}, from, p.summed(2).bytes())
}
