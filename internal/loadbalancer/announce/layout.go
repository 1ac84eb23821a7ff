package announce

import (
	"encoding/binary"
	"net"
	"net/netip"
	"strings"
)

// The structures of bpf/maps.h in Go. All padding is a named field: the kernel compares keys byte by byte, and padding that
// the compiler adds, or blank fields, may contain anything.

// address is an IPv6 address or an IPv4 one as ::ffff:a.b.c.d.
type address [16]byte

// addressOf returns zeros for an invalid address.
func addressOf(a netip.Addr) address {
	if !a.IsValid() {
		return address{}
	}
	return a.As16()
}

func (a address) Addr() netip.Addr {
	if a == (address{}) {
		return netip.Addr{}
	}
	return netip.AddrFrom16(a).Unmap()
}

const (
	addressSelf = 1 << iota
	addressOwned
	addressAnswer
	addressSpread
	addressGateway
)

type addressEntry struct {
	Flags uint32
	Links uint32
	Told  uint64
}

// mac is a hardware address with its padding.
type mac [8]byte

func macOf(a net.HardwareAddr) (m mac) {
	copy(m[:6], a)
	return m
}

func (m mac) Addr() net.HardwareAddr { return net.HardwareAddr(m[:6:6]) }

type linkEntry struct {
	MAC    mac
	Number uint32
}

// maxLinks is the number of interfaces that an address's bits can tell apart.
const maxLinks = 32

const (
	selfNumber = 0
	nobody     = 0xfff
)

type hostEntry struct {
	Addr4, Addr6 address
	Name         [256]byte
}

func (h *hostEntry) name() string {
	name, _, _ := strings.Cut(string(h.Name[:]), "\x00")
	return name
}

type peerEntry struct {
	Host uint32
	Pad  uint32
	MAC  mac
}

const spreadByClient = 1

type spreadKey struct {
	Addr  address
	Port  [2]byte // in network order
	Proto uint8
	Pad   [5]byte
}

func spreadKeyOf(addr netip.Addr, port uint16, p Protocol) spreadKey {
	k := spreadKey{Addr: addressOf(addr), Proto: uint8(p)}
	binary.BigEndian.PutUint16(k.Port[:], port)
	return k
}

func (k spreadKey) port() uint16 { return binary.BigEndian.Uint16(k.Port[:]) }

// check is what the programs compare with the key of the entry that they looked for.
func (k spreadKey) check() uint32 {
	return binary.LittleEndian.Uint32(k.Addr[12:]) ^ uint32(binary.LittleEndian.Uint16(k.Port[:]))<<8 ^ uint32(k.Proto)
}

type spreadEntry struct {
	Table uint32
	Flags uint32
	Check uint32
}

type tableEntry struct {
	ID, Count uint32
	Buckets   [MaxBuckets][3]byte
	Pad       uint8
}

func (t *tableEntry) set(i int, owner, second uint32) {
	pair := owner | second<<12
	t.Buckets[i] = [3]byte{byte(pair), byte(pair >> 8), byte(pair >> 16)}
}

func (t *tableEntry) get(i int) (owner, second uint32) {
	b := t.Buckets[i]
	pair := uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16
	return pair & nobody, pair >> 12
}

type countsEntry struct{ Requests, Replies, HandedOn, Seconds uint64 }

const (
	configSilent = 1
	configFlows  = 2
)

type settings struct {
	Flags     uint32
	ProbePort [2]byte // in network order
	Pad       uint16
	Expires   uint64
}

// event is what the programs tell of: somebody says to have an address.
type event struct {
	Addr  address
	MAC   mac
	Index uint32
	Host  uint32
}
