package zone

import (
	"net/netip"
	"slices"

	"github.com/miekg/dns"
)

// schemaVersion is the version of the Kubernetes DNS schema implemented here.
const schemaVersion = "1.1.0"

// versionTTL is the TTL of the schema's version: eight hours.
const versionTTL = 28800

// The timers of the SOA record are for secondary servers, of which there are none.
const (
	soaRefresh = 7200
	soaRetry   = 1800
	soaExpire  = 86400
)

func header(name string, rrtype uint16, ttl uint32) dns.RR_Header {
	return dns.RR_Header{Name: name, Rrtype: rrtype, Class: dns.ClassINET, Ttl: ttl}
}

func versionRecord(owner string) dns.RR {
	return &dns.TXT{Hdr: header(owner, dns.TypeTXT, versionTTL), Txt: []string{schemaVersion}}
}

// soa makes the SOA record. Its minimum TTL, for negative answers, is the records'
// own TTL: a client asks again for a name that did not exist as soon as for one
// that did.
func (s *Snapshot) soa(owner string) dns.RR {
	return &dns.SOA{
		Hdr:     header(owner, dns.TypeSOA, s.zone.ttl),
		Ns:      "ns.dns." + s.zone.domain,
		Mbox:    "hostmaster." + s.zone.domain,
		Serial:  s.serial,
		Refresh: soaRefresh,
		Retry:   soaRetry,
		Expire:  soaExpire,
		Minttl:  s.zone.ttl,
	}
}

// appendAddrs appends the A records of addrs, the AAAA records, or both,
// as rrtype says. However many there are, it makes four allocations at most
// for each kind.
func appendAddrs(rrs []dns.RR, owner string, ttl uint32, rrtype uint16, addrs []netip.Addr) []dns.RR {
	n4 := 0
	for _, a := range addrs {
		if a.Is4() {
			n4++
		}
	}
	n6 := len(addrs) - n4
	if rrtype != dns.TypeA && rrtype != dns.TypeANY {
		n4 = 0
	}
	if rrtype != dns.TypeAAAA && rrtype != dns.TypeANY {
		n6 = 0
	}
	if n4+n6 == 0 {
		return rrs
	}
	rrs = slices.Grow(rrs, n4+n6)
	raw := make([]byte, 0, 4*n4+16*n6)
	if n4 > 0 {
		records := make([]dns.A, 0, n4)
		for _, a := range addrs {
			if !a.Is4() {
				continue
			}
			b := a.As4()
			raw = append(raw, b[:]...)
			records = append(records, dns.A{Hdr: header(owner, dns.TypeA, ttl), A: raw[len(raw)-4 : len(raw) : len(raw)]})
			rrs = append(rrs, &records[len(records)-1])
		}
	}
	if n6 > 0 {
		records := make([]dns.AAAA, 0, n6)
		for _, a := range addrs {
			if a.Is4() {
				continue
			}
			b := a.As16()
			raw = append(raw, b[:]...)
			records = append(records, dns.AAAA{Hdr: header(owner, dns.TypeAAAA, ttl), AAAA: raw[len(raw)-16 : len(raw) : len(raw)]})
			rrs = append(rrs, &records[len(records)-1])
		}
	}
	return rrs
}

func (s *Snapshot) ptr(owner string, names []string) []dns.RR {
	records := make([]dns.PTR, len(names))
	out := make([]dns.RR, len(names))
	for i, name := range names {
		records[i] = dns.PTR{Hdr: header(owner, dns.TypePTR, s.zone.ttl), Ptr: name + s.zone.suffix}
		out[i] = &records[i]
	}
	return out
}

func appendLower(dst []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		dst = append(dst, lower(s[i]))
	}
	return dst
}
