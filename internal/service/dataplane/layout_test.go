package dataplane

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"unsafe"

	"github.com/cilium/ebpf"
)

func TestLayoutsAgree(t *testing.T) {
	spec, err := collectionSpec()
	if err != nil {
		t.Fatal(err)
	}
	for name, sizes := range map[string][2]uintptr{
		"config":        {4, unsafe.Sizeof(settings{})},
		"frontends":     {unsafe.Sizeof(frontendKey{}), unsafe.Sizeof(frontend{})},
		"slots":         {unsafe.Sizeof(slotKey{}), unsafe.Sizeof(slot{})},
		"maglev":        {unsafe.Sizeof(maglevKey{}), 4},
		"backends":      {4, unsafe.Sizeof(backend{})},
		"nodes":         {unsafe.Sizeof(address{}), unsafe.Sizeof(node{})},
		"clients":       {unsafe.Sizeof(clientKey{}), unsafe.Sizeof(lastBackend{})},
		"source_ranges": {unsafe.Sizeof(sourceRange{}), 4},
		"traffic":       {unsafe.Sizeof(trafficKey{}), unsafe.Sizeof(traffic{})},
		"visits":        {unsafe.Sizeof(frontendKey{}), unsafe.Sizeof(visits{})},
		"connections":   {8, unsafe.Sizeof(connection{})},
		"flows":         {unsafe.Sizeof(tuple{}), unsafe.Sizeof(flow{})},
		"turns":         {0, unsafe.Sizeof(tuple{})},
		"shortcut":      {4, unsafe.Sizeof(shortcut{})},
		"exits":         {4, 4},
		"seats":         {4, unsafe.Sizeof(seat{})},
	} {
		m := spec.Maps[name]
		if uintptr(m.KeySize) != sizes[0] || uintptr(m.ValueSize) != sizes[1] {
			t.Errorf("table %s: C has %d and %d bytes, Go %d and %d", name, m.KeySize, m.ValueSize, sizes[0], sizes[1])
		}
	}
	for name, size := range map[string]int{
		"settings": binary.Size(settings{}), "frontendKey": binary.Size(frontendKey{}), "flow": binary.Size(flow{}), "tuple": binary.Size(tuple{}),
	} {
		if size%4 != 0 {
			t.Errorf("%s has %d bytes", name, size)
		}
	}
	if got := spec.Maps["counters"].MaxEntries; int(got) != len(counterNames) {
		t.Errorf("%d counters, %d names", got, len(counterNames))
	}
	if p := spec.Programs["ingress"]; p == nil || p.Type != ebpf.SchedCLS {
		t.Errorf("program ingress: %v", p)
	}
}

func TestCIDROf(t *testing.T) {
	for _, c := range []struct{ prefix, in, out string }{
		{"10.96.0.0/16", "10.96.255.1", "10.97.0.1"},
		{"10.96.0.0/12", "10.111.0.1", "10.112.0.1"},
		{"10.96.128.0/17", "10.96.128.0", "10.96.127.255"},
		{"0.0.0.0/0", "1.2.3.4", "fd00::1"},
		{"192.0.2.1/32", "192.0.2.1", "192.0.2.2"},
		{"fd00:96::/108", "fd00:96::f:1", "fd00:96::10:1"},
	} {
		r := cidrOf(netip.MustParsePrefix(c.prefix))
		matches := func(a string) bool {
			ip := addressOf(netip.MustParseAddr(a))
			for i := range ip {
				if ip[i]&r.Mask[i] != r.Addr[i] {
					return false
				}
			}
			return true
		}
		if !matches(c.in) || matches(c.out) {
			t.Errorf("%s: contains %s %v, contains %s %v", c.prefix, c.in, matches(c.in), c.out, matches(c.out))
		}
	}
}

func FuzzFrontendKey(f *testing.F) {
	f.Add([]byte{10, 96, 0, 1}, uint16(80), uint8(6), uint8(1))
	f.Add(netip.MustParseAddr("fd00::1").AsSlice(), uint16(65535), uint8(17), uint8(0))
	f.Fuzz(func(t *testing.T, ip []byte, number uint16, p, s uint8) {
		addr, ok := netip.AddrFromSlice(ip)
		if !ok {
			return
		}
		k := frontendKey{Addr: addressOf(addr), Port: portOf(number), Proto: proto(p), Scope: scope(s)}
		if k.Addr.Addr() != addr.Unmap() || k.Port.Number() != number {
			t.Errorf("%s:%d became %s:%d", addr, number, k.Addr.Addr(), k.Port.Number())
		}
		// The kernel compares these bytes.
		raw := unsafe.Slice((*byte)(unsafe.Pointer(&k)), unsafe.Sizeof(k))
		if binary.BigEndian.Uint16(raw[16:]) != number || raw[18] != p || raw[19] != s || [4]byte(raw[20:24]) != [4]byte{} {
			t.Errorf("key bytes % x", raw)
		}
	})
}

// clientKey and lastBackend are the key and value of the table clients, which only the programs use.
type clientKey struct {
	Addr    address
	Service uint32
	Pad     uint32
}

type lastBackend struct {
	Backend uint32
	Seen    uint32
}
