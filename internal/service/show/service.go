package show

import (
	"net/netip"

	"k8s.io/apimachinery/pkg/types"

	"minato/internal/service/dataplane"
	"minato/internal/service/route"
)

// Service is one Service as a node sees it.
type Service struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Node      string `json:"node"`
	// InStep says that the kernel has been given all of it.
	InStep bool   `json:"inStep"`
	Ports  []Port `json:"ports"`
}

// Port is one port of a Service in one family.
type Port struct {
	Name      string     `json:"name,omitempty"`
	Protocol  string     `json:"protocol"`
	IPv6      bool       `json:"ipv6,omitempty"`
	Topology  string     `json:"topology"`
	Frontends []Frontend `json:"frontends"`
	Endpoints []Endpoint `json:"endpoints"`
	// Refused and Dropped count what reached no endpoint.
	Refused uint64 `json:"refused"`
	Dropped uint64 `json:"dropped"`
}

// Frontend is an address at which the port answers, and what becomes of those who come.
type Frontend struct {
	Kind string `json:"kind"`
	// Address is empty for every address of the node.
	Address string `json:"address,omitempty"`
	Port    uint16 `json:"port"`
	// What is done with traffic of a Pod, of the node itself and from outside.
	Pod     string `json:"pod"`
	Host    string `json:"host"`
	Outside string `json:"outside"`

	AffinitySeconds int            `json:"affinitySeconds,omitempty"`
	Restricted      bool           `json:"restricted,omitempty"`
	SourceRanges    []netip.Prefix `json:"sourceRanges,omitempty"`
}

// Endpoint is a candidate, with the reasons for its place in both sets.
type Endpoint struct {
	Address    string `json:"address"`
	Node       string `json:"node,omitempty"`
	Zone       string `json:"zone,omitempty"`
	Pod        string `json:"pod,omitempty"`
	ClusterSet string `json:"clusterSet"`
	LocalSet   string `json:"localSet"`
	InCluster  bool   `json:"inClusterSet"`
	InLocal    bool   `json:"inLocalSet"`

	Connections uint64 `json:"connections"`
	Packets     uint64 `json:"packets"`
	Bytes       uint64 `json:"bytes"`
}

// Describe puts together what the node knows of one Service.
func Describe(service types.NamespacedName, node string, inStep bool, why []route.Explanation, traffic []dataplane.Traffic) Service {
	out := Service{Namespace: service.Namespace, Name: service.Name, Node: node, InStep: inStep, Ports: []Port{}}
	for _, e := range why {
		p := Port{Name: e.PortName, Protocol: string(e.Protocol), IPv6: e.IPv6, Topology: string(e.Topology), Endpoints: []Endpoint{}}
		for i := range e.Frontends {
			p.Frontends = append(p.Frontends, frontend(&e.Frontends[i]))
		}
		counted := map[netip.AddrPort]dataplane.Traffic{}
		for _, t := range traffic {
			if t.Service == service && t.PortName == e.PortName && t.Protocol == p.Protocol && t.IPv6 == e.IPv6 {
				counted[t.Backend] = t
			}
		}
		none := counted[netip.AddrPort{}]
		p.Refused, p.Dropped = none.Refused, none.Dropped
		for _, c := range e.Candidates {
			p.Endpoints = append(p.Endpoints, endpoint(c, counted[c.Addr]))
		}
		out.Ports = append(out.Ports, p)
	}
	return out
}

func frontend(f *route.Frontend) Frontend {
	out := Frontend{
		Kind: string(f.Kind), Port: f.Port, AffinitySeconds: int(f.Affinity.Seconds()),
		Restricted: f.Restricted, SourceRanges: f.SourceRanges,
		Pod: words(f, route.FromPod), Host: words(f, route.FromHost), Outside: words(f, route.FromOutside),
	}
	if f.Addr.IsValid() {
		out.Address = f.Addr.String()
	}
	return out
}

func words(f *route.Frontend, c route.Class) string {
	d := f.Decisions[c]
	if d.Verdict != route.Forward {
		return d.Verdict.String()
	}
	s := d.Set.String() + " set"
	if d.Masquerade {
		s += ", masquerade"
	}
	return s
}

func endpoint(c route.Candidate, t dataplane.Traffic) Endpoint {
	return Endpoint{
		Address: c.Addr.String(), Node: c.Node, Zone: c.Zone, Pod: c.Pod,
		ClusterSet: c.Cluster.String(), LocalSet: c.Local.String(), InCluster: c.Cluster.In(), InLocal: c.Local.In(),
		Connections: t.Connections, Packets: t.Packets, Bytes: t.Bytes,
	}
}
