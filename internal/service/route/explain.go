package route

import (
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// Candidate is an endpoint and its standing in both sets.
type Candidate struct {
	Endpoint
	Cluster Why
	Local   Why
}

// Explanation is one Service port in one family: its frontends and why each candidate is in a set or not.
type Explanation struct {
	PortName   string
	Protocol   corev1.Protocol
	IPv6       bool
	Topology   Topology
	Candidates []Candidate
	Frontends  []Frontend
}

// Explain runs the same decision as Compile and keeps its reasons.
func Explain(svc *corev1.Service, epSlices []*discoveryv1.EndpointSlice, node Node) []Explanation {
	var out []Explanation
	for _, p := range compilePorts(svc, epSlices, node) {
		e := Explanation{
			PortName:  p.port.Name,
			Protocol:  protocol(p.port),
			IPv6:      p.ipv6,
			Topology:  p.choice.topology,
			Frontends: p.frontends,
		}
		for i, ep := range p.choice.endpoints {
			e.Candidates = append(e.Candidates, Candidate{Endpoint: ep, Cluster: p.choice.cluster[i], Local: p.choice.local[i]})
		}
		out = append(out, e)
	}
	return out
}

// Endpoints returns the endpoints of one Service port in one family with their standing, for a proxy that connects to them
// itself instead of by an address of the Service, whose topology keys don't hold for it. headless has those of slices for headless Services as well.
func Endpoints(port corev1.ServicePort, epSlices []*discoveryv1.EndpointSlice, ipv6, headless bool, node Node) []Candidate {
	var all []Endpoint
	for _, slice := range epSlices {
		if slice == nil || !headless && !ServesSlice(slice) {
			continue
		}
		all = append(all, sliceEndpoints(port, slice, ipv6, node)...)
	}
	c := choose(deduplicate(all), node, nil)
	out := make([]Candidate, 0, len(c.endpoints))
	for i, ep := range c.endpoints {
		out = append(out, Candidate{Endpoint: ep, Cluster: c.cluster[i], Local: c.local[i]})
	}
	return out
}
