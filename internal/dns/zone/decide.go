package zone

import (
	"net/netip"

	"github.com/miekg/dns"
)

// outcome is the kind of a decision.
type outcome uint8

const (
	// noName: the name does not exist (NXDOMAIN).
	noName outcome = iota
	// noData: the name exists, and has nothing of the type.
	noData
	// addresses: the name stands for addresses, of which at least one is of the type.
	addresses
	// services: SRV records.
	services
	// alias: the name is another one's (CNAME).
	alias
	// authority, nameServer and version are records of the zone itself.
	authority
	nameServer
	version
)

// decision is what a name of the zone answers, whatever form the answer takes. It is made without allocating; what it
// does not need for its outcome is left as it was.
type decision struct {
	addrs []netip.Addr
	addr  netip.Addr // the one address of a Pod's name, where addrs is nil
	svc   *service   // of SRV records and of an alias
	name  parsedName // which of its ports or hosts are asked for
}

// len and at are the addresses.
func (d *decision) len() int {
	if d.addrs == nil && d.addr.IsValid() {
		return 1
	}
	return len(d.addrs)
}

func (d *decision) at(i int) netip.Addr {
	if d.addrs == nil {
		return d.addr
	}
	return d.addrs[i]
}

// matches tells whether a port of the Service is asked for.
func (d *decision) matches(p port) bool {
	return d.name.kind != kindPort || p.matches(d.name.label, d.name.proto)
}

// decide decides what a snapshot answers for a name, rel before the zone's domain, and a type. The reasons go to t,
// unless it is nil.
func (d *decision) decide(s *Snapshot, qtype uint16, rel string, t *trace) outcome {
	p := parseName(rel)
	switch p.kind {
	case kindApex:
		switch {
		case matches(qtype, dns.TypeSOA):
			return authority
		case qtype == dns.TypeNS:
			return nameServer
		}
		return noData
	case kindVersion:
		if matches(qtype, dns.TypeTXT) {
			return version
		}
		return noData
	case kindNS:
		return d.ofAddresses(qtype, s.zone.nameServers)
	case kindNSParent, kindBranch:
		return noData
	case kindNamespace, kindPod:
		if _, exists := s.namespaces.get(foldKey(p.namespace)); !exists {
			if t != nil {
				t.dropped("Namespace "+p.namespace, "it does not exist")
			}
			return noName
		}
		if p.kind == kindNamespace {
			return noData
		}
		return d.decidePod(s, qtype, &p, t)
	case kindService, kindEndpoint, kindProtocol, kindPort:
		return d.decideService(s, qtype, &p, t)
	}
	if t != nil {
		t.dropped("name "+rel+s.zone.domain, "it has none of the forms <service>.<namespace>.svc, <host>.<service>.<namespace>.svc, _<port>._<protocol>.<service>.<namespace>.svc or <dashed-ip>.<namespace>.pod before %s", s.zone.domain)
	}
	return noName
}

// ofAddresses is an existing name that stands for addrs.
func (d *decision) ofAddresses(qtype uint16, addrs []netip.Addr) outcome {
	for _, a := range addrs {
		if fits(qtype, a) {
			d.addrs = addrs
			return addresses
		}
	}
	return noData
}

// fits tells whether an address is asked for by a type.
func fits(qtype uint16, a netip.Addr) bool {
	switch qtype {
	case dns.TypeA:
		return a.Is4()
	case dns.TypeAAAA:
		return a.Is6()
	}
	return qtype == dns.TypeANY
}

// matches tells whether records of a type are asked for.
func matches(qtype, rrtype uint16) bool { return qtype == rrtype || qtype == dns.TypeANY }

func (d *decision) decidePod(s *Snapshot, qtype uint16, p *parsedName, t *trace) outcome {
	addr, ok := podAddr(p.label)
	if why := s.podDenied(*p, addr, ok); why != "" {
		if t != nil {
			t.dropped("Pod name "+p.label, "%s", why)
		}
		return noName
	}
	if t != nil {
		why := "the address is in the name itself; whether such a Pod exists is not checked"
		if s.zone.pods == PodsVerified {
			why = "a Pod of the namespace has the address"
		}
		t.used("Pod name "+p.label, "%s", why)
	}
	if !fits(qtype, addr) {
		return noData
	}
	d.addrs, d.addr = nil, addr
	return addresses
}

func (d *decision) decideService(s *Snapshot, qtype uint16, p *parsedName, t *trace) outcome {
	svc, known := s.services.get(foldKey(p.service))
	switch {
	case !known:
		if t != nil {
			t.missing(s, *p)
		}
		return noName
	case !svc.exists():
		if t != nil {
			t.empty(svc)
		}
		return noName
	}
	switch p.kind {
	case kindEndpoint:
		addrs := svc.host(p.label)
		if t != nil {
			t.host(svc, p.label)
		}
		switch {
		case len(addrs) == 0:
			return noName
		case qtype == dns.TypeSRV:
			d.svc, d.name = svc, *p
			return services
		}
		return d.ofAddresses(qtype, addrs)
	case kindProtocol:
		if !svc.hasProto(p.proto) {
			return noName
		}
		return noData
	case kindPort:
		switch {
		case !svc.hasPort(p.label, p.proto):
			if t != nil {
				t.dropped(svc.String(), "it has no port named %q with protocol %q", p.label, p.proto)
			}
			return noName
		case matches(qtype, dns.TypeSRV):
			d.svc, d.name = svc, *p
			return services
		}
		return noData
	}
	if t != nil {
		t.service(svc)
	}
	switch {
	case svc.kind == external:
		d.svc = svc
		return alias
	case qtype == dns.TypeSRV:
		d.svc, d.name = svc, *p
		return services
	}
	return d.ofAddresses(qtype, svc.addrs())
}

// reverse is what a name outside the zone's domain answers.
type reverse struct {
	// foreign: the name is somebody else's to answer. The rest is for one that is not.
	foreign bool
	names   []string // that an address points back to; none is a negative answer
	exists  bool     // of a negative answer: the name does exist
	prefix  netip.Prefix
}

func (s *Snapshot) decideReverse(q Question, t *trace) reverse {
	addr, bits, in := reverseAddr(q.Name)
	if !in {
		return reverse{foreign: true}
	}
	var names []string
	full := bits == addr.BitLen()
	if full {
		p, _ := s.pointers.get(addrKey(addr))
		names = p.names()
	}
	if len(names) > 0 && matches(q.Type, dns.TypePTR) {
		if t != nil {
			t.used("address "+addr.String(), "%d names point back from it", len(names))
		}
		return reverse{names: names}
	}
	prefix, owned := s.zone.owner(addr, bits)
	if !owned {
		return reverse{foreign: true}
	}
	exists := !full || len(names) > 0
	if !exists && t != nil {
		t.dropped("address "+addr.String(), "it lies in the cluster's range %s but no Service or ready endpoint has it", prefix)
	}
	return reverse{exists: exists, prefix: prefix}
}
