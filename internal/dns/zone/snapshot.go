package zone

import (
	"net/netip"

	"github.com/miekg/dns"
)

// maxAliases bounds a chain of ExternalName Services that lead to each other inside the zone.
const maxAliases = 8

// settings are what all answers of a snapshot have in common.
type settings struct {
	domain      string // absolute, lower case
	suffix      string // ".svc.<domain>"
	ttl         uint32
	nameServers []netip.Addr
	owned       []netip.Prefix
	pods        PodMode
	nsData      []byte // ns.dns.<domain> in the wire format: the first name in a SOA record's data
}

// Snapshot is the zone at one moment. It never changes and needs no lock.
type Snapshot struct {
	zone       *settings
	serial     uint32
	services   persistentMap[foldKey, *service]
	namespaces persistentMap[foldKey, struct{}]
	pointers   pointers
	pods       persistentMap[addrKey, []string] // namespaces of the Pods with an address
}

// Serial counts the snapshots of a Table; it is the serial number in SOA records.
func (s *Snapshot) Serial() uint32 { return s.serial }

// Services is the number of Services known.
func (s *Snapshot) Services() int { return s.services.size }

// Domain is the zone's absolute name.
func (s *Snapshot) Domain() string { return s.zone.domain }

// Owns reports whether only this zone may answer name: name lies in the domain, or
// it is the reverse name of an address in an owned range.
func (s *Snapshot) Owns(name string) bool {
	if _, in := cutZone(name, s.zone.domain); in {
		return true
	}
	addr, bits, in := reverseAddr(name)
	if !in {
		return false
	}
	_, owned := s.zone.owner(addr, bits)
	return owned
}

// Lookup answers q. It returns false when another server answers q: the name is
// neither in the domain nor a reverse name that the zone has or owns.
func (s *Snapshot) Lookup(q Question) (Answer, bool) {
	return s.lookup(q, nil)
}

// Explain is Lookup with Reasons.
func (s *Snapshot) Explain(q Question) (Answer, bool) {
	t := &trace{}
	a, ours := s.lookup(q, t)
	a.Reasons = t.reasons
	return a, ours
}

func (s *Snapshot) lookup(q Question, t *trace) (Answer, bool) {
	rel, in := cutZone(q.Name, s.zone.domain)
	if !in {
		return s.lookupReverse(q, t)
	}
	r := resolution{snap: s}
	r.resolve(q, rel, t)
	for n := 0; r.Target != ""; n++ {
		rel, in := cutZone(r.Target, s.zone.domain)
		if !in {
			if t != nil {
				t.used("alias", "%s is outside the zone and is resolved by the forwarder", r.Target)
			}
			break
		}
		if n == maxAliases {
			if t != nil {
				t.dropped("alias", "%s is the %dth alias in a row; ExternalName Services probably point at each other", r.Target, n+1)
			}
			return Answer{Rcode: dns.RcodeServerFailure}, true
		}
		next := Question{Name: r.Target, Type: q.Type}
		r.Target = ""
		r.resolve(next, rel, t)
	}
	return r.Answer, true
}

// podDenied returns why a Pod's name does not exist, or "" if it exists.
func (s *Snapshot) podDenied(p parsedName, addr netip.Addr, ok bool) string {
	switch {
	case !ok:
		return "the label is not an address with dashes"
	case s.zone.pods == PodsDisabled:
		return "Pod records are turned off"
	case s.zone.pods == PodsVerified && !s.podIn(addr, p.namespace):
		return "no Pod of the namespace has the address"
	}
	return ""
}

func (s *Snapshot) podIn(addr netip.Addr, namespace string) bool {
	namespaces, _ := s.pods.get(addrKey(addr))
	for _, ns := range namespaces {
		if equalFold(ns, namespace) {
			return true
		}
	}
	return false
}

// Namespaces lists the namespaces of the Pods with an address, one for each Pod.
func (s *Snapshot) Namespaces(addr netip.Addr) []string {
	namespaces, _ := s.pods.get(addrKey(addr))
	return namespaces
}

// owner finds the owned range that a reverse name lies in; bits is how much of addr the name spells out.
func (z *settings) owner(addr netip.Addr, bits int) (netip.Prefix, bool) {
	for _, p := range z.owned {
		if bits >= p.Bits() && bits > 0 && p.Contains(addr) {
			return p, true
		}
	}
	return netip.Prefix{}, false
}
