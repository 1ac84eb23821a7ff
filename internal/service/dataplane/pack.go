package dataplane

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"minato/internal/service/route"
)

// A packed service is a sequence of variable-length numbers, most of which take a byte, and of addresses. It is kept in memory
// alone, so its format may change at any time.

// pack packs a settled Service, see service.
func (s *service) pack() string {
	var b packer
	b.count(len(s.ports))
	for pk, p := range s.ports.all() {
		b.port(pk, p)
	}
	b.count(len(s.entries))
	for k, e := range s.entries.all() {
		b.address(k.Addr, k.Scope == outside)
		b.number(uint32(k.Port.Number()))
		b.number(uint32(k.Proto))
		// The number and generation are those of a port, given by its index from 1; a marker has none.
		b.count(slices.IndexFunc(s.ports, func(p pair[portKey, *servicePort]) bool { return p.value.id == e.Service }) + 1)
		for _, n := range []uint32{uint32(e.Verdict), uint32(e.Set), uint32(e.Flags), e.Count, e.Affinity} {
			b.number(n)
		}
	}
	b.count(len(s.ranges))
	for r := range s.ranges {
		b.number(r.Prefix)
		b.number(r.Service)
		b.address(r.Addr, false)
	}
	return string(b)
}

// unpackService is the reverse of pack. An empty string is a Service without entries.
func unpackService(packed string) *service {
	s := &service{}
	if packed == "" {
		return s
	}
	b := unpacker(packed)
	s.ports = make(few[portKey, *servicePort], b.number())
	for i := range s.ports {
		s.ports[i].key, s.ports[i].value = b.port()
	}
	s.entries = make(few[frontendKey, frontend], b.number())
	for i := range s.entries {
		s.entries[i].key, s.entries[i].value = b.entry(s.ports)
	}
	for range b.number() {
		if s.ranges == nil {
			s.ranges = map[sourceRange]bool{}
		}
		r := sourceRange{Prefix: b.number(), Service: b.number()}
		r.Addr, _ = b.address()
		s.ranges[r] = true
	}
	return s
}

type packer []byte

func (b *packer) number(n uint32) { *b = binary.AppendUvarint(*b, uint64(n)) }

func (b *packer) count(n int) { b.number(uint32(n)) }

func (b *packer) flags(all ...bool) {
	bits := byte(0)
	for i, is := range all {
		if is {
			bits |= 1 << i
		}
	}
	*b = append(*b, bits)
}

// address appends an address and a flag, which share the byte that tells the family.
func (b *packer) address(a address, is bool) {
	ip := a.Addr()
	b.flags(ip.Is6(), is)
	*b = append(*b, ip.AsSlice()...)
}

func (b *packer) port(pk portKey, p *servicePort) {
	b.count(len(pk.Name))
	*b = append(*b, pk.Name...)
	b.number(uint32(pk.Proto))
	b.flags(pk.IPv6, p.sticky, p.consistent[route.ClusterSet], p.consistent[route.LocalSet])
	b.number(p.id)
	b.number(p.generation)
	for _, list := range p.lists() {
		b.count(len(list))
		for _, one := range list {
			b.address(addressOf(one.Addr.Addr()), one.Local)
			b.number(uint32(one.Addr.Port()))
		}
	}
}

type unpacker []byte

func (b *unpacker) number() uint32 {
	n, size := binary.Uvarint(*b)
	*b = (*b)[size:]
	return uint32(n)
}

func (b *unpacker) take(n uint32) []byte {
	out := (*b)[:n]
	*b = (*b)[n:]
	return out
}

func (b *unpacker) flags(all ...*bool) {
	bits := b.take(1)[0]
	for i, is := range all {
		*is = bits&(1<<i) != 0
	}
}

func (b *unpacker) address() (a address, is bool) {
	var is6 bool
	b.flags(&is6, &is)
	if is6 {
		return address(b.take(16)), is
	}
	return addressOf(netip.AddrFrom4([4]byte(b.take(4)))), is
}

func (b *unpacker) port() (portKey, *servicePort) {
	pk, p := portKey{Name: string(b.take(b.number()))}, &servicePort{}
	pk.Proto = proto(b.number())
	b.flags(&pk.IPv6, &p.sticky, &p.consistent[route.ClusterSet], &p.consistent[route.LocalSet])
	p.id, p.generation = b.number(), b.number()
	p.cluster, p.local, p.draining = b.backends(), b.backends(), b.backends()
	return pk, p
}

func (b *unpacker) backends() []route.Backend {
	n := b.number()
	if n == 0 {
		return nil
	}
	out := make([]route.Backend, n)
	for i := range out {
		a, local := b.address()
		out[i] = route.Backend{Addr: netip.AddrPortFrom(a.Addr(), uint16(b.number())), Local: local}
	}
	return out
}

func (b *unpacker) entry(ports few[portKey, *servicePort]) (k frontendKey, e frontend) {
	var outer bool
	if k.Addr, outer = b.address(); outer {
		k.Scope = outside
	}
	k.Port, k.Proto = portOf(uint16(b.number())), proto(b.number())
	if port := b.number(); port > 0 {
		e.Service, e.Generation = ports[port-1].value.id, ports[port-1].value.generation
	}
	e.Verdict, e.Set, e.Flags = uint8(b.number()), uint8(b.number()), uint16(b.number())
	e.Count, e.Affinity = b.number(), b.number()
	return k, e
}
