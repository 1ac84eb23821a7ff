package zone

import (
	"net/netip"

	"github.com/miekg/dns"
)

// resolution is an Answer to which records are still added.
type resolution struct {
	Answer
	snap *Snapshot
}

// resolve decides for one name of the zone and adds the records.
func (r *resolution) resolve(q Question, rel string, t *trace) {
	z := r.snap.zone
	var d decision
	switch d.decide(r.snap, q.Type, rel, t) {
	case addresses:
		addrs := d.addrs
		if addrs == nil {
			addrs = []netip.Addr{d.addr}
		}
		r.Answer.Answer = appendAddrs(r.Answer.Answer, q.Name, z.ttl, q.Type, addrs)
	case srv:
		r.srv(q, &d)
	case cname:
		r.add(&dns.CNAME{Hdr: header(q.Name, dns.TypeCNAME, z.ttl), Target: d.svc.external})
		if !matches(q.Type, dns.TypeCNAME) {
			r.Target = d.svc.external
		}
	case soa:
		r.add(r.snap.soa(q.Name))
	case ns:
		target := "ns.dns." + z.domain
		r.add(&dns.NS{Hdr: header(q.Name, dns.TypeNS, z.ttl), Ns: target})
		r.Extra = appendAddrs(r.Extra, target, z.ttl, dns.TypeANY, z.nameServers)
	case txt:
		r.add(versionRecord(q.Name))
	case nodata:
		r.addSOA()
	default:
		r.Rcode = dns.RcodeNameError
		r.addSOA()
	}
}

func (r *resolution) add(rr dns.RR) { r.Answer.Answer = append(r.Answer.Answer, rr) }

// addSOA makes the answer a negative one (RFC 2308).
func (r *resolution) addSOA() {
	r.Ns = append(r.Ns, r.snap.soa(r.snap.zone.domain))
}

// srv answers with a record for each target, and with the targets' addresses in the additional section.
func (r *resolution) srv(q Question, d *decision) {
	type target struct {
		host   string
		number uint16
	}
	var all []target
	seen := map[target]bool{}
	d.targets(func(host string, number uint16) bool {
		if k := (target{host, number}); !seen[k] {
			seen[k] = true
			all = append(all, k)
		}
		return true
	})
	z, svc := r.snap.zone, d.svc
	weight := uint16(max(1, 100/len(all)))
	done := map[string]bool{}
	for _, t := range all {
		name, addrs := svc.rel()+z.suffix, svc.clusterIPs
		if t.host != "" {
			name, addrs = t.host+"."+name, svc.host(t.host)
		}
		r.add(&dns.SRV{Hdr: header(q.Name, dns.TypeSRV, z.ttl), Weight: weight, Port: t.number, Target: name})
		if !done[t.host] {
			done[t.host] = true
			r.Extra = appendAddrs(r.Extra, name, z.ttl, dns.TypeANY, addrs)
		}
	}
}

// lookupReverse answers a question about a name outside the zone's domain.
func (s *Snapshot) lookupReverse(q Question, t *trace) (Answer, bool) {
	var d reverse
	switch {
	case !d.decide(s, q, t):
		return Answer{}, false
	case len(d.names) > 0:
		return Answer{Answer: s.ptr(q.Name, d.names)}, true
	}
	a := Answer{Ns: []dns.RR{s.soa(reverseZone(d.prefix, q.Name))}}
	if !d.exists {
		a.Rcode = dns.RcodeNameError
	}
	return a, true
}
