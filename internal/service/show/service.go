package show

import (
	"net/netip"

	"k8s.io/apimachinery/pkg/types"

	"minato/internal/service/dataplane"
	"minato/internal/service/route"
)

// Service is one Service as a node sees it, or a Pod of the node with hostPorts.
type Service struct {
	Namespace string `json:"namespace"`
	// Name is "pod/" and the name, for a Pod.
	Name string `json:"name"`
	Node string `json:"node"`
	// InStep says that all of its frontends are in the kernel.
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
}

// Frontend is an address at which the port is served, and what happens to its traffic.
type Frontend struct {
	Kind string `json:"kind"`
	// Address is empty for every address of the node.
	Address string `json:"address,omitempty"`
	Port    uint16 `json:"port"`
	// What happens to traffic of a Pod, of the node itself and from outside.
	Pod     string `json:"pod"`
	Host    string `json:"host"`
	Outside string `json:"outside"`

	AffinitySeconds int            `json:"affinitySeconds,omitempty"`
	Restricted      bool           `json:"restricted,omitempty"`
	SourceRanges    []netip.Prefix `json:"sourceRanges,omitempty"`

	// What came from Pods and the node itself, and from outside.
	CameInside  Visits `json:"cameFromInside"`
	CameOutside Visits `json:"cameFromOutside"`
}

// Visits counts what came to a frontend from one side.
type Visits struct {
	Connections uint64 `json:"connections"`
	Refused     uint64 `json:"refused"`
	Dropped     uint64 `json:"dropped"`
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

// Describe combines the decisions about one Service with what the data plane counted.
func Describe(service types.NamespacedName, node string, inStep bool, why []route.Explanation, traffic []dataplane.Traffic, visits []dataplane.Visits) Service {
	out := Service{Namespace: service.Namespace, Name: service.Name, Node: node, InStep: inStep, Ports: []Port{}}
	for _, e := range why {
		p := Port{Name: e.PortName, Protocol: string(e.Protocol), IPv6: e.IPv6, Topology: string(e.Topology), Endpoints: []Endpoint{}}
		name := dataplane.ServicePortName{Service: service, PortName: e.PortName, Protocol: p.Protocol, IPv6: e.IPv6}
		came := map[place]Visits{}
		for _, v := range visits {
			if v.ServicePortName == name {
				came[place{v.Addr, v.Port, v.From}] = Visits{Connections: v.Connections, Refused: v.Refused, Dropped: v.Dropped}
			}
		}
		for i := range e.Frontends {
			p.Frontends = append(p.Frontends, frontend(&e.Frontends[i], came))
		}
		counted := map[netip.AddrPort]dataplane.Traffic{}
		for _, t := range traffic {
			if t.ServicePortName == name {
				counted[t.Backend] = t
			}
		}
		for _, c := range e.Candidates {
			p.Endpoints = append(p.Endpoints, endpoint(c, counted[c.Addr]))
		}
		out.Ports = append(out.Ports, p)
	}
	return out
}

// place is where something came to, and from which side.
type place struct {
	addr netip.Addr
	port uint16
	from string
}

func frontend(f *route.Frontend, came map[place]Visits) Frontend {
	out := Frontend{
		Kind: string(f.Kind), Port: f.Port, AffinitySeconds: int(f.Affinity.Seconds()),
		Restricted: f.Restricted, SourceRanges: f.SourceRanges,
		Pod: words(f, route.FromPod), Host: words(f, route.FromHost), Outside: words(f, route.FromOutside),
		CameInside: came[place{f.Addr, f.Port, "inside"}], CameOutside: came[place{f.Addr, f.Port, "outside"}],
	}
	if f.Addr.IsValid() {
		out.Address = f.Addr.String()
	}
	return out
}

func words(f *route.Frontend, c route.Class) string {
	d := f.Decisions[c]
	if f.Addr.IsLoopback() && c != route.FromHost {
		return "not served"
	}
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
