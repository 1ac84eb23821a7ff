package zone

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// maxTraced bounds how many endpoints of a Service the reasons name.
const maxTraced = 50

// missing tells that a Service does not exist, and which namespaces have one of that name.
func (t *trace) missing(snap *Snapshot, p parsedName) {
	name := p.service[:len(p.service)-len(p.namespace)-1]
	if _, ok := snap.namespaces.get(foldKey(p.namespace)); !ok {
		t.dropped("Namespace "+p.namespace, "it does not exist")
	}
	t.dropped("Service "+p.namespace+"/"+name, "it does not exist")
	var elsewhere []string
	snap.services.each(func(_ foldKey, s *service) bool {
		if equalFold(s.name, name) {
			elsewhere = append(elsewhere, s.namespace)
		}
		return true
	})
	slices.Sort(elsewhere)
	for _, ns := range elsewhere {
		t.dropped("Service "+ns+"/"+name, "it has the name but is in another namespace; ask for %s.%s%s", name, ns, snap.zone.suffix)
	}
}

// empty tells why a Service that exists has no name in the zone.
func (t *trace) empty(svc *service) {
	if svc.kind == external {
		t.dropped(svc.String(), "its externalName %q is not a domain name; for an address use a Service without selector and an EndpointSlice", svc.externalName)
		return
	}
	t.endpoints(svc)
	t.dropped(svc.String(), "it is headless and has no ready endpoint")
}

// service tells what a Service's own name stands for.
func (t *trace) service(svc *service) {
	switch svc.kind {
	case external:
		t.used(svc.String(), "it is an alias of %s", svc.external)
	case headless:
		t.endpoints(svc)
		t.used(svc.String(), "it is headless: the answer is its %d ready endpoints", len(svc.ready))
	default:
		if len(svc.clusterIPs) == 0 {
			t.dropped(svc.String(), "it has no cluster IP yet")
			return
		}
		t.used(svc.String(), "it has the cluster IP %s", joinAddrs(svc.clusterIPs))
	}
}

// endpoints tells which endpoints of a headless Service are ready.
func (t *trace) endpoints(svc *service) {
	for i, e := range svc.ready {
		if i == maxTraced {
			t.used(svc.String(), "%d more endpoints are ready", len(svc.ready)-i)
			break
		}
		t.used("endpoint "+e.addr.String(), "it is ready, as %s", e.host)
	}
	for i, e := range svc.notReady {
		if i == maxTraced {
			t.dropped(svc.String(), "%d more endpoints are not ready", len(svc.notReady)-i)
			break
		}
		t.dropped("endpoint "+e.addr.String(), "it is not ready (%s)", e.host)
	}
}

// host tells which endpoints have a host name.
func (t *trace) host(svc *service, host string) {
	found := false
	for _, e := range svc.ready {
		if equalFold(e.host, host) {
			found = true
			t.used("endpoint "+e.addr.String(), "its host name is %s and it is ready", e.host)
		}
	}
	for _, e := range svc.notReady {
		if equalFold(e.host, host) {
			found = true
			t.dropped("endpoint "+e.addr.String(), "its host name is %s but it is not ready", e.host)
		}
	}
	if !found {
		t.dropped(svc.String(), "it has no endpoint with the host name %q; a Pod gets one from spec.hostname and spec.subdomain, or from a StatefulSet whose serviceName is %s", host, svc.name)
	}
}

// nodata tells that a name exists and has no record of a type.
func (t *trace) nodata(qtype uint16) {
	t.dropped("record type "+dns.Type(qtype).String(), "the name exists but has no record of this type")
}

func joinAddrs(addrs []netip.Addr) string {
	texts := make([]string, len(addrs))
	for i, a := range addrs {
		texts[i] = a.String()
	}
	return strings.Join(texts, " and ")
}
