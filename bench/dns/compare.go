package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
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
	{"a label of a Pod's name that is no address is no name, even where Pods are not verified", func(q dns.Question, c, m *dns.Msg) bool {
		return strings.HasSuffix(strings.ToLower(q.Name), ".pod.cluster.local.") && m.Rcode == dns.RcodeNameError
	}},
}

// compareWorld has one of every kind of object.
func compareWorld() objects {
	o := manyServices(5)
	o.namespaces = append(o.namespaces, corev1.Namespace{ObjectMeta: meta("", "empty")})
	add := func(name string, spec corev1.ServiceSpec) {
		o.services = append(o.services, corev1.Service{ObjectMeta: meta("ns-1", name), Spec: spec})
	}
	slice := func(service, name string, family discoveryv1.AddressType, endpoints ...discoveryv1.Endpoint) {
		s := discoveryv1.EndpointSlice{ObjectMeta: meta("ns-1", name), AddressType: family, Endpoints: endpoints}
		s.Labels = map[string]string{discoveryv1.LabelServiceName: service}
		port, portName, tcp := int32(8080), "http", corev1.ProtocolTCP
		s.Ports = []discoveryv1.EndpointPort{{Name: &portName, Port: &port, Protocol: &tcp}}
		o.slices = append(o.slices, s)
	}
	endpoint := func(addr, host string, ready bool) discoveryv1.Endpoint {
		e := discoveryv1.Endpoint{Addresses: []string{addr}, Conditions: discoveryv1.EndpointConditions{Ready: &ready, Serving: &ready}}
		if host != "" {
			e.Hostname = &host
		}
		return e
	}
	ports := []corev1.ServicePort{{Name: "http", Protocol: corev1.ProtocolTCP, Port: 80}}
	add("dual", corev1.ServiceSpec{ClusterIP: "10.96.200.1", ClusterIPs: []string{"10.96.200.1", "fd00:96::1"}, Ports: ports})
	add("headless", corev1.ServiceSpec{ClusterIP: "None", ClusterIPs: []string{"None"}, Ports: ports})
	slice("headless", "headless-4", discoveryv1.AddressTypeIPv4, endpoint("10.244.1.1", "db-0", true), endpoint("10.244.1.2", "db-1", true), endpoint("10.244.1.3", "", true), endpoint("10.244.1.4", "db-3", false))
	slice("headless", "headless-6", discoveryv1.AddressTypeIPv6, endpoint("fd00:244::1", "db-0", true))
	add("lonely", corev1.ServiceSpec{ClusterIP: "None", ClusterIPs: []string{"None"}, Ports: ports})
	add("external", corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "www.example.com"})
	add("inside", corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "dual.ns-1.svc.cluster.local"})
	return o
}

func compareQuestions() []dns.Question {
	const z = "cluster.local."
	names := []string{
		z, "svc." + z, "pod." + z, "dns-version." + z, "dns." + z, "ns.dns." + z, "nope." + z, "ns-1.svc." + z, "ns-1.pod." + z, "empty.svc." + z, "nowhere.svc." + z,
		"service-1.ns-1.svc." + z, "SERVICE-1.ns-1.SVC." + z, "service-1.ns-2.svc." + z, "_http._tcp.service-1.ns-1.svc." + z, "_http._udp.service-1.ns-1.svc." + z, "_nope._tcp.service-1.ns-1.svc." + z, "_tcp.service-1.ns-1.svc." + z,
		"http.tcp.service-1.ns-1.svc." + z, "*.ns-1.svc." + z, "x.service-1.ns-1.svc." + z, "a.b.c.service-1.ns-1.svc." + z,
		"dual.ns-1.svc." + z, "headless.ns-1.svc." + z, "db-0.headless.ns-1.svc." + z, "db-3.headless.ns-1.svc." + z, "10-244-1-3.headless.ns-1.svc." + z, "10-244-1-1.headless.ns-1.svc." + z,
		"_http._tcp.headless.ns-1.svc." + z, "lonely.ns-1.svc." + z, "external.ns-1.svc." + z, "inside.ns-1.svc." + z,
		"10-244-9-9.ns-1.pod." + z, "10-244-9-9.nowhere.pod." + z, "web-0.ns-1.pod." + z, "fd00--7.ns-1.pod." + z,
		"2.0.96.10.in-addr.arpa.", "1.200.96.10.in-addr.arpa.", "1.1.244.10.in-addr.arpa.", "3.1.244.10.in-addr.arpa.", "9.9.244.10.in-addr.arpa.",
		"1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.6.9.0.0.0.0.d.f.ip6.arpa.", "www.example.com.", "name.nowhere.", "www.example.com.ns-1.svc." + z,
	}
	var out []dns.Question
	for _, n := range names {
		for _, t := range []uint16{dns.TypeA, dns.TypeAAAA, dns.TypeSRV, dns.TypePTR, dns.TypeTXT, dns.TypeCNAME, dns.TypeSOA, dns.TypeNS, dns.TypeMX} {
			out = append(out, dns.Question{Name: n, Qtype: t, Qclass: dns.ClassINET})
		}
	}
	return out
}

// compareServers fails if an answer differs and nobody meant it to.
func compareServers(ctx context.Context, o options) error {
	dir, err := os.MkdirTemp("", "bench-dns-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	w, err := startWorld(ctx, dir, compareWorld())
	if err != nil {
		return err
	}
	defer w.close()
	var servers [2]*process
	for i, s := range []server{coreDNS(o.coredns), minatoDNS(o.minato)} {
		if servers[i], err = s.start(ctx, w); err != nil {
			return err
		}
		defer servers[i].stop()
	}
	questions := compareQuestions()
	meant, surprises := map[string]int{}, 0
	for _, q := range questions {
		var answers [2]*dns.Msg
		for i, p := range servers {
			if answers[i], err = p.ask(&dns.Msg{MsgHdr: dns.MsgHdr{Id: dns.Id(), RecursionDesired: true}, Question: []dns.Question{q}}); err != nil {
				return fmt.Errorf("%s %s: %w", q.Name, dns.TypeToString[q.Qtype], err)
			}
		}
		a, b := gist(answers[0]), gist(answers[1])
		if a == b {
			continue
		}
		why := ""
		for _, d := range intended {
			if d.fits(q, answers[0], answers[1]) {
				why = d.why
				break
			}
		}
		if why != "" {
			meant[why]++
			continue
		}
		surprises++
		fmt.Printf("%s %s\n  coredns: %s\n  minato:  %s\n", q.Name, dns.TypeToString[q.Qtype], a, b)
	}
	fmt.Printf("%d questions, %d unintended differences\n", len(questions), surprises)
	for why, n := range meant {
		fmt.Printf("%d intended: %s\n", n, why)
	}
	if surprises > 0 {
		return fmt.Errorf("%d answers differ from CoreDNS's", surprises)
	}
	return nil
}

// gist is what matters of an answer: its code, its records without order, and
// whether a negative one has its SOA record.
func gist(m *dns.Msg) string {
	var records []string
	for _, rr := range m.Answer {
		if srv, ok := rr.(*dns.SRV); ok {
			srv.Weight = 0 // a share, made differently
		}
		if soa, ok := rr.(*dns.SOA); ok {
			soa.Serial = 0
		}
		rr.Header().Ttl = min(rr.Header().Ttl, 30) // what an upstream gave may be kept for different times
		records = append(records, strings.ToLower(strings.Join(strings.Fields(rr.String()), " ")))
	}
	slices.Sort(records)
	records = slices.Compact(records)
	soa := 0
	for _, rr := range m.Ns {
		if rr.Header().Rrtype == dns.TypeSOA {
			soa++
		}
	}
	return fmt.Sprintf("%s aa=%t soa=%d %s", dns.RcodeToString[m.Rcode], m.Authoritative, soa, strings.Join(records, "; "))
}
