package dataplane

import (
	"encoding/binary"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
)

// The structures of bpf/maps.h in Go. All padding is a named field: the kernel compares keys byte by byte, and padding that
// the compiler adds, or blank fields, may contain anything.

// address is an IPv6 address or an IPv4 one as ::ffff:a.b.c.d.
type address [16]byte

func addressOf(a netip.Addr) address { return a.As16() }

func (a address) Addr() netip.Addr { return netip.AddrFrom16(a).Unmap() }

// anyNode stands for every node address of a family.
func anyNode(ipv6 bool) address {
	if ipv6 {
		return address{}
	}
	return addressOf(netip.IPv4Unspecified())
}

// port is in network order.
type port [2]byte

func portOf(n uint16) (p port) {
	binary.BigEndian.PutUint16(p[:], n)
	return p
}

func (p port) Number() uint16 { return binary.BigEndian.Uint16(p[:]) }

type scope uint8

const (
	inside scope = iota
	outside
)

func (s scope) String() string {
	if s == outside {
		return "outside"
	}
	return "inside"
}

type proto uint8

const (
	protoICMP proto = 1
	protoTCP  proto = 6
	protoUDP  proto = 17
)

// protoOf returns false for protocols that the programs don't translate.
func protoOf(p corev1.Protocol) (proto, bool) {
	switch p {
	case corev1.ProtocolTCP:
		return protoTCP, true
	case corev1.ProtocolUDP:
		return protoUDP, true
	}
	return 0, false
}

func (p proto) String() string {
	switch p {
	case protoTCP:
		return "TCP"
	case protoUDP:
		return "UDP"
	case protoICMP:
		return "ICMP"
	}
	return "any"
}

const (
	flagMasquerade = 1
	flagRestricted = 2
	flagConsistent = 4
	flagHostPort   = 8
)

type frontendKey struct {
	Addr  address
	Port  port
	Proto proto
	Scope scope
	Pad   uint32
}

type frontend struct {
	Service    uint32
	Generation uint32
	Count      uint32
	Affinity   uint32
	Verdict    uint8
	Set        uint8
	Flags      uint16
}

// memberSlot is the bit of a slot's index that says that the rest of the index is the number of a backend.
const memberSlot = 1 << 30

type slotKey struct {
	Service    uint32
	Generation uint32
	Index      uint32
}

type slot struct {
	Backend uint32
	Service uint32
}

type maglevKey struct {
	Service    uint32
	Generation uint32
	Set        uint32
}

const backendLocal = 1

// sourceRange is a key of the table that admits clients to restricted frontends. The prefix counts the bits of the
// service too.
type sourceRange struct {
	Prefix  uint32
	Service uint32
	Addr    address
}

func sourceRangeOf(service uint32, p netip.Prefix) sourceRange {
	bits := p.Bits()
	if p.Addr().Is4() {
		bits += 96
	}
	return sourceRange{Prefix: uint32(32 + bits), Service: service, Addr: addressOf(p.Addr())}
}

// Range returns the range of client addresses.
func (r sourceRange) Range() netip.Prefix {
	addr, bits := r.Addr.Addr(), int(r.Prefix)-32
	if addr.Is4() {
		bits -= 96
	}
	return netip.PrefixFrom(addr, bits)
}

type backend struct {
	Addr  address
	Port  port
	Proto proto
	Flags uint8
	ID    uint32
}

const (
	nodeSelf   = 1
	nodeClosed = 2 // NodePorts are not served at this address
)

type node struct{ Flags uint32 }

type tuple struct {
	Saddr, Daddr address
	Sport, Dport port
	Proto        proto
	Pad          [3]uint8
}

const (
	flowReply = 1 << iota
	flowFin
	flowRst
)

type flow struct {
	Saddr, Daddr address
	Sport, Dport port
	Flags        uint32
	Service      uint32
	Backend      uint32
	Seen         uint32
	Hop          hop
	Pad          uint32
}

// hop is the next hop of a flow.
type hop struct {
	Index, Check uint32
	MTU          uint16
	MACs         [12]uint8
	Pad          uint16
}

const (
	maxRanges  = 4
	maxUplinks = 4
)

type cidr struct{ Addr, Mask address }

func cidrOf(p netip.Prefix) cidr {
	bits := p.Bits()
	if p.Addr().Is4() {
		bits += 96
	}
	c := cidr{Addr: addressOf(p.Masked().Addr())}
	for i := range c.Mask {
		n := min(max(bits-8*i, 0), 8)
		c.Mask[i] = byte(0xff << (8 - n))
	}
	return c
}

// noCIDR matches no address.
var noCIDR = cidr{Addr: address{0: 1}}

// routedSource makes masqueraded traffic take the source address of its route.
const routedSource = 1

type settings struct {
	Self, Self6     address
	Services        [maxRanges]cidr
	Uplinks         [maxUplinks]uint32
	Inject          uint32
	NodePortMin     uint16
	NodePortMax     uint16
	MasqueradeMin   uint16
	MasqueradeCount uint16
	MAC             [8]byte
	Flags           uint32
	Netns           uint64
}

type trafficKey struct{ Service, Backend uint32 }

type traffic struct{ Connections, Packets, Bytes uint64 }

// visits are counted for a frontendKey.
type visits struct{ Connections, Refused, Dropped uint64 }

// connection is what a UDP socket is connected to.
type connection struct {
	Backend address
	Port    port
	Pad     [6]uint8
}

// counterNames follow enum counter.
var counterNames = [...]string{
	"connections forwarded",
	"packets rejected",
	"packets dropped by traffic policy",
	"packets dropped for an unallocated address",
	"packets dropped for want of a source port",
	"packets dropped while tables changed",
	"fragments dropped",
	"packets dropped outside the source ranges",
	"packets dropped for want of room in the table of flows",
}
