package zone

import (
	"net/netip"
	"strings"

	"github.com/miekg/dns"
)

// resolution is an Answer in the making.
type resolution struct {
	Answer
	snap *Snapshot
}

// resolve appends the records of what is decided for one name of the zone.
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
	case services:
		r.srv(q, &d)
	case alias:
		r.add(&dns.CNAME{Hdr: header(q.Name, dns.TypeCNAME, z.ttl), Target: d.svc.external})
		if !matches(q.Type, dns.TypeCNAME) {
			r.Target = d.svc.external
		}
	case authority:
		r.add(r.snap.soa(q.Name))
	case nameServer:
		target := "ns.dns." + z.domain
		r.add(&dns.NS{Hdr: header(q.Name, dns.TypeNS, z.ttl), Ns: target})
		r.Extra = appendAddrs(r.Extra, target, z.ttl, dns.TypeANY, z.nameServers)
	case version:
		r.add(versionRecord(q.Name))
	case noData:
		r.noData()
	default:
		r.Rcode = dns.RcodeNameError
		r.noData()
	}
}

func (r *resolution) add(rr dns.RR) { r.Answer.Answer = append(r.Answer.Answer, rr) }

func (r *resolution) noData() {
	r.Ns = append(r.Ns, r.snap.soa(r.snap.zone.domain))
}

// srv answers with a record for each port that is asked for: of the Service itself, or of each host behind a headless
// one, or of one host where the name names one. The targets' addresses go along.
func (r *resolution) srv(q Question, d *decision) {
	z, svc := r.snap.zone, d.svc
	only := ""
	if d.name.kind == kindEndpoint {
		only = strings.ToLower(d.name.label)
	}
	type pair struct {
		host   string
		number uint16
	}
	var pairs []pair
	seen := map[pair]bool{}
	collect := func(host string, ports []port) {
		for _, p := range ports {
			if k := (pair{host, p.number}); d.matches(p) && !seen[k] {
				seen[k] = true
				pairs = append(pairs, k)
			}
		}
	}
	target := svc.rel() + z.suffix
	if svc.kind == headless || only != "" {
		for _, e := range svc.ready {
			if only == "" || e.host == only {
				collect(e.host, e.ports)
			}
		}
	} else {
		collect("", svc.ports)
	}
	if len(pairs) == 0 {
		r.noData()
		return
	}
	weight := uint16(max(1, 100/len(pairs)))
	done := map[string]bool{}
	for _, p := range pairs {
		name, addrs := target, svc.clusterIPs
		if p.host != "" {
			name, addrs = p.host+"."+target, svc.host(p.host)
		}
		r.add(&dns.SRV{Hdr: header(q.Name, dns.TypeSRV, z.ttl), Weight: weight, Port: p.number, Target: name})
		if !done[p.host] {
			done[p.host] = true
			r.Extra = appendAddrs(r.Extra, name, z.ttl, dns.TypeANY, addrs)
		}
	}
}

// lookupReverse answers a question outside the domain.
func (s *Snapshot) lookupReverse(q Question, t *trace) (Answer, bool) {
	d := s.decideReverse(q, t)
	switch {
	case d.foreign:
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
