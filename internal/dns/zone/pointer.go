package zone

import (
	"net/netip"
	"slices"
	"strings"
)

// pointer holds the names that one address has. Only the first list that is not
// empty is answered: for a cluster IP its Service, for a Pod's address the names that
// its headless Services give it. Names as an endpoint of a ClusterIP Service come
// last, so that they never stand beside the name that a StatefulSet gives a Pod.
type pointer struct {
	lists [pointerRanks][]string // names left of ".svc.<zone>", sorted
}

type pointerRank uint8

const (
	ofClusterIP pointerRank = iota
	ofHeadless
	ofEndpoint
	pointerRanks
)

func (p pointer) names() []string {
	for _, l := range p.lists {
		if len(l) > 0 {
			return l
		}
	}
	return nil
}

// pointee is one entry of the reverse table.
type pointee struct {
	addr netip.Addr
	rank pointerRank
	name string
}

// pointees lists the entries of the reverse table that a Service makes.
func (s *service) pointees() []pointee {
	if s == nil || s.kind == external {
		return nil
	}
	rel := s.rel()
	rank := ofHeadless
	if s.kind == withClusterIP {
		rank = ofEndpoint
	}
	out := make([]pointee, 0, len(s.clusterIPs)+len(s.ready))
	for _, a := range s.clusterIPs {
		out = append(out, pointee{a, ofClusterIP, rel})
	}
	for _, e := range s.ready {
		out = append(out, pointee{e.addr, rank, e.host + "." + rel})
	}
	return out
}

type pointers = persistentMap[addrKey, pointer]

// repoint replaces the reverse names of one Service's old state by those of its
// new one, touching only addresses whose names change.
func repoint(m pointers, old, fresh *service) pointers {
	was, now := old.pointees(), fresh.pointees()
	if len(was) == 0 && len(now) == 0 {
		return m
	}
	keep := make(map[pointee]bool, len(was))
	for _, p := range was {
		keep[p] = false
	}
	for _, p := range now {
		if _, both := keep[p]; both {
			keep[p] = true
			continue
		}
		m = addPointee(m, p)
	}
	for p, kept := range keep {
		if !kept {
			m = removePointee(m, p)
		}
	}
	return m
}

func addPointee(m pointers, p pointee) pointers {
	e, _ := m.get(addrKey(p.addr))
	list := e.lists[p.rank]
	at, found := slices.BinarySearch(list, p.name)
	if found {
		return m
	}
	e.lists[p.rank] = slices.Insert(slices.Clip(list), at, p.name)
	return m.set(addrKey(p.addr), e)
}

func removePointee(m pointers, p pointee) pointers {
	e, _ := m.get(addrKey(p.addr))
	list := e.lists[p.rank]
	at, found := slices.BinarySearch(list, p.name)
	if !found {
		return m
	}
	e.lists[p.rank] = append(append([]string(nil), list[:at]...), list[at+1:]...)
	if e.names() == nil {
		return m.remove(addrKey(p.addr))
	}
	return m.set(addrKey(p.addr), e)
}

// reverseAddr reads the address in a reverse name. in says whether the name lies
// in a reverse tree at all; bits is how much of the address the name spells out.
func reverseAddr(name string) (addr netip.Addr, bits int, in bool) {
	if rel, ok := cutZone(name, "in-addr.arpa."); ok {
		addr, bits = reverse4(rel)
		return addr, bits, true
	}
	if rel, ok := cutZone(name, "ip6.arpa."); ok {
		addr, bits = reverse6(rel)
		return addr, bits, true
	}
	return netip.Addr{}, 0, false
}

func reverse4(rel string) (netip.Addr, int) {
	var b [4]byte
	n := 0
	for rel != "" {
		var last string
		rel, last = cutLast(rel)
		if n == len(b) || last == "" || len(last) > 3 || (len(last) > 1 && last[0] == '0') {
			return netip.Addr{}, 0
		}
		v := 0
		for i := 0; i < len(last); i++ {
			if last[i] < '0' || last[i] > '9' {
				return netip.Addr{}, 0
			}
			v = v*10 + int(last[i]-'0')
		}
		if v > 255 {
			return netip.Addr{}, 0
		}
		b[n] = byte(v)
		n++
	}
	return netip.AddrFrom4(b), 8 * n
}

func reverse6(rel string) (netip.Addr, int) {
	var b [16]byte
	n := 0
	for rel != "" {
		var last string
		rel, last = cutLast(rel)
		if n == 2*len(b) || len(last) != 1 {
			return netip.Addr{}, 0
		}
		v := strings.IndexByte("0123456789abcdef", lower(last[0]))
		if v < 0 {
			return netip.Addr{}, 0
		}
		b[n/2] |= byte(v) << (4 * (1 - n%2))
		n++
	}
	return netip.AddrFrom16(b), 4 * n
}

// reverseZone is the name of the reverse zone that holds addr and lies wholly
// inside p: whole octets for IPv4, whole digits for IPv6.
func reverseZone(p netip.Prefix, name string) string {
	step, tail := 8, len("in-addr.arpa.")
	if p.Addr().Is6() {
		step, tail = 4, len("ip6.arpa.")
	}
	labels := (p.Bits() + step - 1) / step
	at := len(name) - tail
	for ; labels > 0 && at > 0; labels-- {
		at = strings.LastIndexByte(name[:at-1], '.') + 1
	}
	return name[at:]
}
