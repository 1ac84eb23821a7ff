package main

import (
	"strings"

	"github.com/miekg/dns"
)

// intended are the differences from CoreDNS that are meant, by what the
// questions have in common.
var intended = []struct {
	why  string
	fits func(q dns.Question, coredns, minato *dns.Msg) bool
}{
	{"a port or protocol is matched with its underscore only, as the specification writes it", func(q dns.Question, c, m *dns.Msg) bool {
		return strings.HasPrefix(q.Name, "http.") || strings.Contains(q.Name, ".tcp.")
	}},
	{"_port without a protocol, and names with a wildcard, are no names of the specification", func(q dns.Question, c, m *dns.Msg) bool {
		return strings.Contains(q.Name, "*")
	}},
	{"dns.DOMAIN exists because ns.dns.DOMAIN does: no data rather than no name", func(q dns.Question, c, m *dns.Msg) bool {
		return strings.EqualFold(q.Name, "dns.cluster.local.")
	}},
	{"_PROTOCOL.SERVICE exists because _PORT._PROTOCOL.SERVICE does: no data rather than no name (RFC 8020)", func(q dns.Question, c, m *dns.Msg) bool {
		return strings.HasPrefix(q.Name, "_tcp.") && m.Rcode == dns.RcodeSuccess
	}},
	{"_PORT._PROTOCOL.SERVICE has the type SRV alone, not the Service's addresses as well", func(q dns.Question, c, m *dns.Msg) bool {
		return strings.HasPrefix(q.Name, "_") && q.Qtype != dns.TypeSRV
	}},
	{"the TXT record of dns-version is the name's only one: no data for other types rather than no name", func(q dns.Question, c, m *dns.Msg) bool {
		return strings.HasPrefix(q.Name, "dns-version.") && q.Qtype != dns.TypeTXT
	}},
	{"the NS and SOA records of the domain name the cluster DNS itself", func(q dns.Question, c, m *dns.Msg) bool {
		return strings.EqualFold(q.Name, "cluster.local.") && (q.Qtype == dns.TypeNS || q.Qtype == dns.TypeSOA) || strings.EqualFold(q.Name, "ns.dns.cluster.local.")
	}},
	{"a branch of the domain, such as svc or a namespace, exists for every type: no data rather than no name", func(q dns.Question, c, m *dns.Msg) bool {
		return q.Qtype == dns.TypeTXT && c.Rcode == dns.RcodeNameError && m.Rcode == dns.RcodeSuccess
	}},
	{"a name that does not exist does not exist for the type SOA either", func(q dns.Question, c, m *dns.Msg) bool {
		return q.Qtype == dns.TypeSOA && c.Rcode == dns.RcodeSuccess && m.Rcode == dns.RcodeNameError
	}},
	{"an alias is the answer for every type (RFC 1034 3.6.2), not for addresses only", func(q dns.Question, c, m *dns.Msg) bool {
		return len(m.Answer) > 0 && m.Answer[0].Header().Rrtype == dns.TypeCNAME && q.Qtype != dns.TypeA && q.Qtype != dns.TypeAAAA
	}},
	{"a Pod has no port 0 to publish in a SRV record", func(q dns.Question, c, m *dns.Msg) bool {
		return strings.HasSuffix(q.Name, ".pod.cluster.local.") && q.Qtype == dns.TypeSRV
	}},
	{"a reverse zone that the cluster does not own has somebody else's SOA record", func(q dns.Question, c, m *dns.Msg) bool {
		return strings.HasSuffix(q.Name, ".arpa.") && q.Qtype == dns.TypeSOA
	}},
	{"the reverse trees themselves are somebody else's, whatever lies in them", func(q dns.Question, c, m *dns.Msg) bool {
		return q.Name == "in-addr.arpa." || q.Name == "ip6.arpa."
	}},
}
