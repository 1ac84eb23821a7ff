package zone

import (
	"net/netip"
	"strings"

	"github.com/miekg/dns"
)

// outcome is the kind of a decision.
type outcome uint8

const (
	// nxdomain: the name does not exist.
	nxdomain outcome = iota
	// nodata: the name exists and has no record of the type.
	nodata
	// addresses: A or AAAA records, or both; decision.at gives at least one address of the type.
	addresses
	// srv: SRV records; decision.targets gives at least one.
	srv
	// cname: the name of an ExternalName Service.
	cname
	// soa, ns and txt are records of the zone itself.
	soa
	ns
	txt
)

// decision is what a name of the zone answers. Lookup, Explain and AppendAnswer all make this one decision and differ
// only in the form that they give it. Making it allocates nothing: its fields point into the snapshot and into the
// question. Only the fields of the outcome are set.
type decision struct {
	addrs []netip.Addr // of addresses
	addr  netip.Addr   // of addresses, where addrs is nil: the address in a Pod's name
	svc   *service     // of srv and cname
	name  parsedName   // of srv: which ports or hosts of svc are asked for
}

// len is the number of addresses.
func (d *decision) len() int {
	if d.addrs == nil && d.addr.IsValid() {
		return 1
	}
	return len(d.addrs)
}

// at is the address number i.
func (d *decision) at(i int) netip.Addr {
	if d.addrs == nil {
		return d.addr
	}
	return d.addrs[i]
}

// targets calls fn with the host and the port number of each SRV record until fn returns false. The host is empty where
// the target is the Service's own name. A pair may come more than once: two endpoints can have one host name.
func (d *decision) targets(fn func(host string, number uint16) bool) {
	if d.name.kind != kindEndpoint && d.svc.kind == withClusterIP {
		d.portsOf("", d.svc.ports, fn)
		return
	}
	for _, e := range d.svc.ready {
		if d.name.kind == kindEndpoint && !equalFold(e.host, d.name.label) {
			continue
		}
		if !d.portsOf(e.host, e.ports, fn) {
			return
		}
	}
}

func (d *decision) portsOf(host string, ports []port, fn func(host string, number uint16) bool) bool {
	for _, p := range ports {
		if d.name.kind == kindPort && !p.matches(d.name.label, d.name.proto) {
			continue
		}
		if !fn(host, p.number) {
			return false
		}
	}
	return true
}

// decide decides what the snapshot answers to a question about the name rel, which stands left of the zone's domain.
// The reasons go to t, unless it is nil.
func (d *decision) decide(s *Snapshot, qtype uint16, rel string, t *trace) outcome {
	kind := d.ofName(s, qtype, rel, t)
	if t != nil {
		switch kind {
		case nodata:
			t.nodata(qtype)
		case soa, ns, txt:
			t.used("zone "+s.zone.domain, "the record is the zone's own")
		}
	}
	return kind
}

func (d *decision) ofName(s *Snapshot, qtype uint16, rel string, t *trace) outcome {
	p := parseName(rel)
	switch p.kind {
	case kindApex:
		switch {
		case matches(qtype, dns.TypeSOA):
			return soa
		case qtype == dns.TypeNS:
			return ns
		}
		return nodata
	case kindVersion:
		if matches(qtype, dns.TypeTXT) {
			return txt
		}
		return nodata
	case kindNS:
		if t != nil {
			t.used("name ns.dns."+s.zone.domain, "its addresses are those of the cluster DNS: %s", joinAddrs(s.zone.nameServers))
		}
		return d.ofAddresses(qtype, s.zone.nameServers)
	case kindNSParent, kindBranch:
		return nodata
	case kindNamespace, kindPod:
		if _, exists := s.namespaces.get(foldKey(p.namespace)); !exists {
			if t != nil {
				t.dropped("Namespace "+p.namespace, "it does not exist")
			}
			return nxdomain
		}
		if p.kind == kindNamespace {
			return nodata
		}
		return d.ofPod(s, qtype, &p, t)
	case kindService, kindEndpoint, kindProtocol, kindPort:
		return d.ofService(s, qtype, &p, t)
	}
	if t != nil {
		t.dropped("name "+rel+"."+s.zone.domain, "it has none of the forms <service>.<namespace>.svc, <host>.<service>.<namespace>.svc, _<port>._<protocol>.<service>.<namespace>.svc or <dashed-ip>.<namespace>.pod before %s", s.zone.domain)
	}
	return nxdomain
}

// ofAddresses decides for a name that exists and has the addresses addrs.
func (d *decision) ofAddresses(qtype uint16, addrs []netip.Addr) outcome {
	for _, a := range addrs {
		if fits(qtype, a) {
			d.addrs = addrs
			return addresses
		}
	}
	return nodata
}

// ofPorts decides for a name that exists and has an SRV record for each of its ports, of which it may have none.
func (d *decision) ofPorts(svc *service, p *parsedName) outcome {
	d.svc, d.name = svc, *p
	kind := nodata
	d.targets(func(string, uint16) bool {
		kind = srv
		return false
	})
	return kind
}

// fits reports whether a question of a type asks for an address of this family.
func fits(qtype uint16, a netip.Addr) bool {
	switch qtype {
	case dns.TypeA:
		return a.Is4()
	case dns.TypeAAAA:
		return a.Is6()
	}
	return qtype == dns.TypeANY
}

// matches reports whether a question of type qtype asks for records of type rrtype.
func matches(qtype, rrtype uint16) bool { return qtype == rrtype || qtype == dns.TypeANY }

func (d *decision) ofPod(s *Snapshot, qtype uint16, p *parsedName, t *trace) outcome {
	addr, ok := podAddr(p.label)
	if why := s.podDenied(*p, addr, ok); why != "" {
		if t != nil {
			t.dropped("Pod name "+p.label, "%s", why)
		}
		return nxdomain
	}
	if t != nil {
		why := "the address is in the name itself; whether such a Pod exists is not checked"
		if s.zone.pods == PodsVerified {
			why = "a Pod of the namespace has the address"
		}
		t.used("Pod name "+p.label, "%s", why)
	}
	if !fits(qtype, addr) {
		return nodata
	}
	d.addrs, d.addr = nil, addr
	return addresses
}

// ofService decides for the names of a Service, of its ports and of its endpoints.
func (d *decision) ofService(s *Snapshot, qtype uint16, p *parsedName, t *trace) outcome {
	svc, known := s.services.get(foldKey(p.service))
	switch {
	case !known:
		if t != nil {
			t.missing(s, *p)
		}
		return nxdomain
	case !svc.exists():
		if t != nil {
			t.empty(svc)
		}
		return nxdomain
	}
	switch p.kind {
	case kindEndpoint:
		addrs := svc.host(p.label)
		if t != nil {
			t.host(svc, p.label)
		}
		switch {
		case len(addrs) == 0:
			return nxdomain
		case qtype == dns.TypeSRV:
			return d.ofPorts(svc, p)
		}
		return d.ofAddresses(qtype, addrs)
	case kindProtocol, kindPort:
		return d.ofPortName(svc, qtype, p, t)
	}
	if t != nil {
		t.service(svc)
	}
	switch {
	case svc.kind == external:
		d.svc = svc
		return cname
	case qtype == dns.TypeSRV:
		return d.ofPorts(svc, p)
	}
	return d.ofAddresses(qtype, svc.addrs())
}

// ofPortName decides for _<port>._<protocol> before a Service's name, and for _<protocol>, which has no record but
// exists because the longer names do (RFC 8020).
func (d *decision) ofPortName(svc *service, qtype uint16, p *parsedName, t *trace) outcome {
	switch {
	case p.kind == kindProtocol && !svc.hasProto(p.proto):
		if t != nil {
			t.dropped(svc.String(), "it has no named port with protocol %q", p.proto)
		}
		return nxdomain
	case p.kind == kindPort && !svc.hasPort(p.label, p.proto):
		if t != nil {
			t.dropped(svc.String(), "it has no port named %q with protocol %q", p.label, p.proto)
		}
		return nxdomain
	}
	if t != nil {
		t.service(svc)
	}
	if p.kind == kindPort && matches(qtype, dns.TypeSRV) {
		return d.ofPorts(svc, p)
	}
	return nodata
}

// reverse is what a name outside the zone's domain answers. Only the fields of the answer are set.
type reverse struct {
	// names are those of the PTR records, left of ".svc.<domain>"; without any, the answer is negative.
	names []string
	// Of a negative answer: whether the name exists, and the cluster's range that it lies in.
	exists bool
	prefix netip.Prefix
}

// decide returns false if another server answers the question. The reasons go to t, unless it is nil.
func (d *reverse) decide(s *Snapshot, q Question, t *trace) (ours bool) {
	addr, bits, in := reverseAddr(q.Name)
	if !in {
		return false
	}
	full := bits > 0 && bits == addr.BitLen()
	if full {
		if p, known := s.pointers.get(addrKey(addr)); known {
			d.exists = true
			if matches(q.Type, dns.TypePTR) {
				d.names = p.names()
				if t != nil {
					t.used("address "+addr.String(), "it belongs to %s", strings.Join(d.names, " and "))
				}
				return true
			}
		}
	}
	prefix, owned := s.zone.owner(addr, bits)
	if !owned {
		return false
	}
	d.prefix = prefix
	d.exists = d.exists || !full
	if t != nil {
		if d.exists {
			t.nodata(q.Type)
		} else {
			t.dropped("address "+addr.String(), "it lies in the cluster's range %s but no Service or ready endpoint has it", prefix)
		}
	}
	return true
}
