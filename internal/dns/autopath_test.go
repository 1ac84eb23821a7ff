package dns

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"minato/internal/dns/zone"
)

// autopathWorld has Services in a namespace that is not the Pod's, and an upstream
// that knows one name and fails for another.
func autopathWorld(t *testing.T) ServerConfig {
	t.Helper()
	tab, err := zone.New(zone.Config{Domain: "cluster.local"})
	if err != nil {
		t.Fatal(err)
	}
	for _, ns := range []string{"default", "other"} {
		tab.SetNamespace(ns)
	}
	service := func(name string, spec corev1.ServiceSpec) {
		tab.SetService(&corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "other", Name: name}, Spec: spec})
	}
	service("web", corev1.ServiceSpec{ClusterIP: "10.96.1.1"})
	service("alias", corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "www.example.com"})
	tab.SetPod("default", "a", []netip.Addr{netip.MustParseAddr("127.0.0.1")})
	up := startUpstream(t, func(_ string, q *dns.Msg) *dns.Msg {
		switch name := q.Question[0].Name; {
		case name == "www.example.com." && q.Question[0].Qtype == dns.TypeA:
			return answerA(q, "192.0.2.1")
		case name == "www.example.com.":
			return new(dns.Msg).SetReply(q)
		case name == "broken.example.":
			return new(dns.Msg).SetRcode(q, dns.RcodeServerFailure)
		}
		return new(dns.Msg).SetRcode(q, dns.RcodeNameError)
	})
	return ServerConfig{Source: fixedSource{tab.Commit()}, Upstreams: StaticUpstreams(up.addr), Search: func() []string { return []string{"node.example"} }}
}

// gistOf is the part of an answer that a program uses: the code and the addresses.
func gistOf(m *dns.Msg) (rcode string, addresses []string) {
	for _, rr := range m.Answer {
		switch rr := rr.(type) {
		case *dns.A:
			addresses = append(addresses, rr.A.String())
		case *dns.AAAA:
			addresses = append(addresses, rr.AAAA.String())
		}
	}
	return dns.RcodeToString[m.Rcode], addresses
}

// With autopath the first question has the answer that the Pod's resolver gets
// without it to the last of its questions.
func TestAutopath(t *testing.T) {
	cfg := autopathWorld(t)
	off := startServer(t, cfg)
	cfg.Settings = fixedSettings(t, "autopath: true")
	on := startServer(t, cfg)
	path := SearchPath{Domains: []string{"default.svc.cluster.local", "svc.cluster.local", "cluster.local", "node.example"}, Ndots: 5}
	for _, name := range []string{"www.example.com", "web.other", "web.other.svc", "nope.example", "nope.other", "kubernetes"} {
		for _, qtype := range []uint16{dns.TypeA, dns.TypeAAAA} {
			names := path.Names(name)
			var want *dns.Msg
			for _, n := range names {
				// A name that exists ends the search, whether or not it has the type.
				if want = query(t, "udp", off, question(n, qtype)); want.Rcode != dns.RcodeNameError {
					break
				}
			}
			got := query(t, "udp", on, question(names[0], qtype))
			wantCode, wantAddresses := gistOf(want)
			if code, addresses := gistOf(got); code != wantCode || !slices.Equal(addresses, wantAddresses) {
				t.Errorf("%s %s: %s %v, want %s %v", name, dns.TypeToString[qtype], code, addresses, wantCode, wantAddresses)
			}
			if len(got.Answer) > 0 && got.Answer[0].Header().Name != names[0] {
				t.Errorf("%s: the answer begins with %s, not with the name asked for", name, got.Answer[0])
			}
		}
	}
}

// Where a look-up on the way fails, autopath does nothing and the Pod walks its search path itself.
func TestAutopathLeavesTheRest(t *testing.T) {
	cfg := autopathWorld(t)
	cfg.Settings = fixedSettings(t, "autopath: true")
	on := startServer(t, cfg)
	for _, c := range []struct{ why, name string }{
		{"not the Pod's namespace", "www.example.com.other.svc.cluster.local."},
		{"an alias may lead anywhere", "alias.other.default.svc.cluster.local."},
		{"an upstream that fails has not said no", "broken.example.default.svc.cluster.local."},
		{"not the first of the search path", "www.example.com.svc.cluster.local."},
	} {
		if in := query(t, "udp", on, question(c.name, dns.TypeA)); in.Rcode != dns.RcodeNameError || len(in.Answer) != 0 {
			t.Errorf("%s: %v", c.why, in)
		}
	}
	if in := query(t, "udp", on, question("www.example.com.default.svc.cluster.local.", dns.TypeTXT)); in.Rcode != dns.RcodeNameError {
		t.Errorf("only addresses are looked up by a search path: %v", in)
	}
}
