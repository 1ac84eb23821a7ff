package dataplane

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
	"testing"
)

// segment describes a packet of either family.
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

// pseudoSum is what a transport's checksum covers besides it.
func pseudoSum(addresses []byte, proto byte, length int) uint32 {
	return sum(0, addresses) + uint32(proto) + uint32(length)
}

// header is an IP header.
type header struct {
	from, to netip.Addr
	proto    byte
	payload  []byte
}

func (h header) packet() []byte {
	if h.from.Is6() {
		ip := make([]byte, 40, 40+len(h.payload))
		ip[0], ip[6], ip[7] = 6<<4, h.proto, 63
		binary.BigEndian.PutUint16(ip[4:], uint16(len(h.payload)))
		copy(ip[8:], h.from.AsSlice())
		copy(ip[24:], h.to.AsSlice())
		return append(ip, h.payload...)
	}
	ip := make([]byte, 20, 20+len(h.payload))
	ip[0], ip[8], ip[9] = 0x45, 63, h.proto
	binary.BigEndian.PutUint16(ip[2:], uint16(20+len(h.payload)))
	binary.BigEndian.PutUint16(ip[4:], 4711)
	copy(ip[12:], h.from.AsSlice())
	copy(ip[16:], h.to.AsSlice())
	binary.BigEndian.PutUint16(ip[10:], ^uint16(sum(0, ip)))
	return append(ip, h.payload...)
}

// parseHeader reads an IP packet and checks what the header says about itself.
func parseHeader(t *testing.T, packet []byte) (h header) {
	t.Helper()
	if len(packet) >= 40 && packet[0]>>4 == 6 {
		h = header{from: netip.AddrFrom16([16]byte(packet[8:24])), to: netip.AddrFrom16([16]byte(packet[24:40])), proto: packet[6], payload: packet[40:]}
		if n := int(binary.BigEndian.Uint16(packet[4:])); n != len(h.payload) {
			t.Errorf("IPv6 payload length %d in a packet with %d bytes of it", n, len(h.payload))
		}
		return h
	}
	if len(packet) < 20 || packet[0] != 0x45 {
		t.Fatalf("no IP packet: % x", packet)
	}
	h = header{from: netip.AddrFrom4([4]byte(packet[12:16])), to: netip.AddrFrom4([4]byte(packet[16:20])), proto: packet[9], payload: packet[20:]}
	if sum(0, packet[:20]) != 0xffff {
		t.Errorf("bad IP checksum in % x", packet[:20])
	}
	if total := int(binary.BigEndian.Uint16(packet[2:])); total != len(packet) {
		t.Errorf("IP length %d in a packet of %d bytes", total, len(packet))
	}
	return h
}

// pseudo is the pseudo header's sum for the payload.
func (h header) pseudo() uint32 {
	return pseudoSum(append(h.from.AsSlice(), h.to.AsSlice()...), h.proto, len(h.payload))
}

// station is the hardware address that frames are sent to: that of the uplink.
var station = net.HardwareAddr{2, 0, 0, 0, 0, 1}

// frame puts an Ethernet header before an IP packet.
func frame(packet []byte) []byte {
	ethertype := []byte{8, 0}
	if packet[0]>>4 == 6 {
		ethertype = []byte{0x86, 0xdd}
	}
	return slices.Concat(station, []byte{2, 0, 0, 0, 0, 2}, ethertype, packet)
}

func isIPv6(frame []byte) bool { return frame[12] == 0x86 && frame[13] == 0xdd }

// header makes the IP header of a segment and what follows.
func (s segment) header() header {
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
	h := header{from: from.Addr(), to: to.Addr(), proto: p, payload: append(l4, s.payload...)}
	if !s.noCsum {
		check := ^uint16(sum(h.pseudo(), h.payload))
		if s.udp && check == 0 {
			check = 0xffff // 0 would mean that there is none
		}
		binary.BigEndian.PutUint16(h.payload[at:], check)
	}
	return h
}

// ipPacket makes the IP packet of a segment.
func (s segment) ipPacket() []byte { return s.header().packet() }

func (s segment) packet() []byte { return frame(s.ipPacket()) }

// parse reads a packet and checks its checksums.
func parse(t *testing.T, frame []byte) segment {
	t.Helper()
	h := parseHeader(t, frame[14:])
	l4 := h.payload
	s := segment{udp: h.proto == byte(protoUDP)}
	s.from = netip.AddrPortFrom(h.from, binary.BigEndian.Uint16(l4)).String()
	s.to = netip.AddrPortFrom(h.to, binary.BigEndian.Uint16(l4[2:])).String()
	if s.udp && l4[6] == 0 && l4[7] == 0 {
		s.noCsum = true
	} else if sum(h.pseudo(), l4) != 0xffff {
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

// icmp is an ICMP message of either family.
type icmp struct {
	from, to   netip.Addr
	kind, code byte
	rest       uint32 // of the header
	payload    []byte
}

func (m icmp) packet() []byte {
	h := header{from: m.from, to: m.to, proto: byte(protoICMP), payload: append([]byte{m.kind, m.code, 0, 0, 0, 0, 0, 0}, m.payload...)}
	acc := uint32(0)
	if m.from.Is6() {
		h.proto = protoICMPv6
		acc = h.pseudo()
	}
	binary.BigEndian.PutUint32(h.payload[4:], m.rest)
	binary.BigEndian.PutUint16(h.payload[2:], ^uint16(sum(acc, h.payload)))
	return frame(h.packet())
}

const protoICMPv6 = 58

// parseICMP reads a message and checks its checksum.
func parseICMP(t *testing.T, frame []byte) icmp {
	t.Helper()
	h := parseHeader(t, frame[14:])
	acc, proto := uint32(0), byte(protoICMP)
	if h.from.Is6() {
		acc, proto = h.pseudo(), protoICMPv6
	}
	if h.proto != proto || len(h.payload) < 8 {
		t.Fatalf("no ICMP message: % x", frame)
	}
	if sum(acc, h.payload) != 0xffff {
		t.Errorf("bad ICMP checksum in % x", h.payload)
	}
	return icmp{
		from: h.from, to: h.to, kind: h.payload[0], code: h.payload[1], rest: binary.BigEndian.Uint32(h.payload[4:]),
		payload: bytes.Clone(h.payload[8:]),
	}
}

// tooBig is the error of a router whose next link takes smaller packets only.
func tooBig(from, to string, quoted []byte) icmp {
	m := icmp{from: ip(from), to: ip(to), kind: 3, code: 4, rest: 1280, payload: quoted}
	if m.from.Is6() {
		m.kind, m.code = 2, 0
	}
	return m
}
