package zone

import (
	"net/netip"
	"strings"

	"github.com/miekg/dns"
)

// maxAliases bounds a chain of aliases inside the zone.
const maxAliases = 8

// settings are what never changes about a zone.
type settings struct {
	domain      string // absolute, lower case
	suffix      string // ".svc.<domain>"
	ttl         uint32
	nameServers []netip.Addr
	owned       []netip.Prefix
	pods        PodMode
	nsData      []byte // the start of a SOA record's data, names in full
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

// Owns reports whether name is for this zone alone to answer: it lies in the
// domain, or it is the reverse name of an address in an owned range.
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

// Lookup answers q. It returns false when q is somebody else's to answer.
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
	r := resolution{snap: s, trace: t}
	r.resolve(q, rel)
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
		r.resolve(next, rel)
	}
	return r.Answer, true
}

// resolution is an Answer in the making.
type resolution struct {
	Answer
	snap  *Snapshot
	trace *trace
}

// resolve appends what one name of the zone answers.
func (r *resolution) resolve(q Question, rel string) {
	z := r.snap.zone
	p := parseName(rel)
	switch p.kind {
	case kindApex:
		r.apex(q)
	case kindVersion:
		if wants(q, dns.TypeTXT) {
			r.add(versionRecord(q.Name))
			return
		}
		r.noData()
	case kindNS:
		r.addresses(q, z.nameServers)
	case kindNSParent, kindBranch:
		r.noData()
	case kindNamespace:
		if r.namespace(p.namespace) {
			r.noData()
		}
	case kindPod:
		if r.namespace(p.namespace) {
			r.pod(q, p)
		}
	case kindService, kindEndpoint, kindProtocol, kindPort:
		if svc := r.service(p); svc != nil {
			r.ofService(q, p, svc)
		}
	default:
		if r.trace != nil {
			r.trace.dropped("name "+q.Name, "it has none of the forms <service>.<namespace>.svc, <host>.<service>.<namespace>.svc, _<port>._<protocol>.<service>.<namespace>.svc or <dashed-ip>.<namespace>.pod before %s", z.domain)
		}
		r.noName()
	}
}

func (r *resolution) apex(q Question) {
	z := r.snap.zone
	switch {
	case wants(q, dns.TypeSOA):
		r.add(r.snap.soa(q.Name))
	case q.Type == dns.TypeNS:
		target := "ns.dns." + z.domain
		r.add(&dns.NS{Hdr: header(q.Name, dns.TypeNS, z.ttl), Ns: target})
		r.Extra = appendAddrs(r.Extra, target, z.ttl, dns.TypeANY, z.nameServers)
	default:
		r.noData()
	}
}

// namespace reports whether a namespace exists; if not, the name does not either.
func (r *resolution) namespace(name string) bool {
	_, exists := r.snap.namespaces.get(foldKey(name))
	if !exists {
		if r.trace != nil {
			r.trace.dropped("Namespace "+name, "it does not exist")
		}
		r.noName()
	}
	return exists
}

// service finds the Service of a name; nil after a negative answer.
func (r *resolution) service(p parsedName) *service {
	svc, known := r.snap.services.get(foldKey(p.service))
	switch {
	case !known:
		if r.trace != nil {
			r.traceMissing(p)
		}
	case !svc.exists():
		if r.trace != nil {
			r.traceEmpty(svc)
		}
	default:
		return svc
	}
	r.noName()
	return nil
}

func (r *resolution) pod(q Question, p parsedName) {
	addr, ok := podAddr(p.label)
	if why := r.snap.podDenied(p, addr, ok); why != "" {
		if r.trace != nil {
			r.trace.dropped("Pod name "+p.label, "%s", why)
		}
		r.noName()
		return
	}
	if r.trace != nil {
		why := "the address is in the name itself; whether such a Pod exists is not checked"
		if r.snap.zone.pods == PodsVerified {
			why = "a Pod of the namespace has the address"
		}
		r.trace.used("Pod name "+p.label, "%s", why)
	}
	r.addresses(q, []netip.Addr{addr})
}

// podDenied says why a Pod's name does not exist, or "".
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

func (r *resolution) ofService(q Question, p parsedName, svc *service) {
	switch p.kind {
	case kindService:
		r.serviceName(q, svc)
	case kindEndpoint:
		addrs := svc.host(p.label)
		if r.trace != nil {
			r.traceHost(svc, p.label)
		}
		if len(addrs) == 0 {
			r.noName()
			return
		}
		if q.Type == dns.TypeSRV {
			r.srv(q, svc, strings.ToLower(p.label), func(port) bool { return true })
			return
		}
		r.addresses(q, addrs)
	case kindProtocol:
		if !svc.hasProto(p.proto) {
			r.noName()
			return
		}
		r.noData()
	case kindPort:
		if !svc.hasPort(p.label, p.proto) {
			if r.trace != nil {
				r.trace.dropped(svc.String(), "it has no port named %q with protocol %q", p.label, p.proto)
			}
			r.noName()
			return
		}
		if !wants(q, dns.TypeSRV) {
			r.noData()
			return
		}
		r.srv(q, svc, "", func(pt port) bool { return pt.matches(p.label, p.proto) })
	}
}

func (r *resolution) serviceName(q Question, svc *service) {
	if r.trace != nil {
		r.traceService(svc)
	}
	if svc.kind == external {
		r.add(&dns.CNAME{Hdr: header(q.Name, dns.TypeCNAME, r.snap.zone.ttl), Target: svc.external})
		if q.Type != dns.TypeCNAME && q.Type != dns.TypeANY {
			r.Target = svc.external
		}
		return
	}
	if q.Type == dns.TypeSRV {
		r.srv(q, svc, "", func(port) bool { return true })
		return
	}
	r.addresses(q, svc.addrs())
}

// addresses answers an existing name that stands for addrs.
func (r *resolution) addresses(q Question, addrs []netip.Addr) {
	before := len(r.Answer.Answer)
	r.Answer.Answer = appendAddrs(r.Answer.Answer, q.Name, r.snap.zone.ttl, q.Type, addrs)
	if len(r.Answer.Answer) == before {
		r.noData()
	}
}

func (r *resolution) add(rr dns.RR) { r.Answer.Answer = append(r.Answer.Answer, rr) }

func (r *resolution) noData() {
	r.Ns = append(r.Ns, r.snap.soa(r.snap.zone.domain))
}

func (r *resolution) noName() {
	r.Rcode = dns.RcodeNameError
	r.noData()
}

// lookupReverse answers a question outside the domain.
func (s *Snapshot) lookupReverse(q Question, t *trace) (Answer, bool) {
	addr, bits, in := reverseAddr(q.Name)
	if !in {
		return Answer{}, false
	}
	full := bits == addr.BitLen()
	if full && wants(q, dns.TypePTR) {
		if p, ok := s.pointers.get(addrKey(addr)); ok {
			if t != nil {
				t.used("address "+addr.String(), "%d names point back from it", len(p.names()))
			}
			return Answer{Answer: s.ptr(q.Name, p.names())}, true
		}
	}
	prefix, owned := s.zone.owner(addr, bits)
	if !owned {
		return Answer{}, false
	}
	a := Answer{Ns: []dns.RR{s.soa(reverseZone(prefix, q.Name))}}
	if _, exists := s.pointers.get(addrKey(addr)); full && !exists {
		a.Rcode = dns.RcodeNameError
		if t != nil {
			t.dropped("address "+addr.String(), "it lies in the cluster's range %s but no Service or ready endpoint has it", prefix)
		}
	}
	return a, true
}

// owner finds the owned range a reverse name lies in.
func (z *settings) owner(addr netip.Addr, bits int) (netip.Prefix, bool) {
	for _, p := range z.owned {
		if bits >= p.Bits() && bits > 0 && p.Contains(addr) {
			return p, true
		}
	}
	return netip.Prefix{}, false
}

func wants(q Question, rrtype uint16) bool {
	return q.Type == rrtype || q.Type == dns.TypeANY
}
