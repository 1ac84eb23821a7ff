package route

import (
	"fmt"
	"slices"
)

// Why says why an endpoint is in a candidate set or not.
type Why uint8

const (
	// Chosen: ready, and nothing else speaks against it.
	Chosen Why = iota
	// ChosenFallback: terminating but still serving, and no endpoint is ready.
	ChosenFallback
	// NotReady: neither ready nor serving while terminating.
	NotReady
	// ReadyPreferred: terminating while others are ready.
	ReadyPreferred
	// OtherNodeHinted: hints keep this node's traffic on endpoints hinted for this node.
	OtherNodeHinted
	// OtherZoneHinted: hints keep this node's traffic on endpoints hinted for its zone.
	OtherZoneHinted
	// NotLocal: it runs on another node.
	NotLocal
	// NotHeard: its node answers nothing at present, and there are endpoints on others.
	NotHeard
	// OtherTopology: its node has another value of the topology key that decides.
	OtherTopology
	// NoTopology: no topology key of the Service matches.
	NoTopology
	// HostPortPod: it is the Pod that asked for the hostPort, ready or not.
	HostPortPod
)

var whyText = [...]string{
	Chosen:          "chosen",
	ChosenFallback:  "chosen: terminating but serving, and no endpoint is ready",
	NotReady:        "not ready",
	ReadyPreferred:  "terminating, and ready endpoints exist",
	OtherNodeHinted: "hinted for another node",
	OtherZoneHinted: "hinted for another zone",
	NotLocal:        "on another node",
	NotHeard:        "its node isn't heard",
	OtherTopology:   "its node has another value of the topology key",
	NoTopology:      "no topology key matches",
	HostPortPod:     "chosen: the Pod with this hostPort",
}

func (w Why) String() string {
	if int(w) < len(whyText) {
		return whyText[w]
	}
	return fmt.Sprintf("why %d", uint8(w))
}

// In tells whether the endpoint is in the set.
func (w Why) In() bool { return w == Chosen || w == ChosenFallback || w == HostPortPod }

// Topology is how hints or topology keys narrow the cluster set.
type Topology string

const (
	TopologyAll  Topology = "all"
	TopologyNode Topology = "same node"
	TopologyZone Topology = "same zone"
)

// choice is the outcome for one Service port and family: for each endpoint, its place in both sets.
type choice struct {
	endpoints []Endpoint
	topology  Topology
	cluster   []Why
	local     []Why
	// anywhere says that some node could serve the port, so a node that can't must drop and not reject.
	anywhere bool
}

// choose decides for one port. Topology keys go before hints, which there were not yet when there were topology keys.
func choose(eps []Endpoint, node Node, keys []string) choice {
	c := choice{endpoints: eps}
	filter := func(e *Endpoint) Why { return hinted(e, c.topology, node) }
	if len(keys) > 0 {
		c.topology, filter = byKeys(eps, node, keys)
	} else {
		c.topology = topology(eps, node)
	}
	c.cluster = classify(eps, filter)
	leaveSilent(c.cluster, eps, node)
	c.local = classify(eps, func(e *Endpoint) Why {
		if e.Local {
			return Chosen
		}
		return NotLocal
	})
	c.anywhere = slices.ContainsFunc(eps, func(e Endpoint) bool { return e.Ready || e.Serving && e.Terminating })
	return c
}

// topology looks at all ready endpoints. One that has no hint switches hints off, because the writer of the slices is
// then between two states; so does a set of hints that would leave this node without any endpoint.
func topology(eps []Endpoint, node Node) Topology {
	ready, allNode, forNode, allZone, forZone := false, true, false, true, false
	for i := range eps {
		if !eps[i].Ready {
			continue
		}
		ready = true
		allNode = allNode && len(eps[i].NodeHints) > 0
		forNode = forNode || slices.Contains(eps[i].NodeHints, node.Name)
		allZone = allZone && len(eps[i].ZoneHints) > 0
		forZone = forZone || slices.Contains(eps[i].ZoneHints, node.Zone)
	}
	switch {
	case ready && allNode && forNode:
		return TopologyNode
	case ready && allZone && forZone:
		return TopologyZone
	}
	return TopologyAll
}

// hinted has no say about endpoints that are not ready: the fallback to terminating ones ignores topology.
func hinted(e *Endpoint, t Topology, node Node) Why {
	switch {
	case !e.Ready:
	case t == TopologyNode && !slices.Contains(e.NodeHints, node.Name):
		return OtherNodeHinted
	case t == TopologyZone && !slices.Contains(e.ZoneHints, node.Zone):
		return OtherZoneHinted
	}
	return Chosen
}

// classify takes the ready endpoints that pass the filter. If there are none it falls back to the terminating ones
// that still serve and pass it too.
func classify(eps []Endpoint, filter func(*Endpoint) Why) []Why {
	why := make([]Why, len(eps))
	found := false
	for i := range eps {
		e := &eps[i]
		why[i] = filter(e)
		switch {
		case why[i] != Chosen:
		case e.Ready:
			found = true
		case e.Serving && e.Terminating:
			why[i] = ReadyPreferred
		default:
			why[i] = NotReady
		}
	}
	if found {
		return why
	}
	for i := range why {
		if why[i] == ReadyPreferred {
			why[i] = ChosenFallback
		}
	}
	return why
}

// leaveSilent takes endpoints on silent nodes out of a set in which there are others. They are not gone, so what they have goes
// on if their node is back in time.
func leaveSilent(why []Why, eps []Endpoint, node Node) {
	if len(node.Silent) == 0 {
		return
	}
	heard := false
	for i := range eps {
		heard = heard || why[i].In() && !node.Silent[eps[i].Node]
	}
	if !heard {
		return
	}
	for i := range eps {
		if why[i].In() && node.Silent[eps[i].Node] {
			why[i] = NotHeard
		}
	}
}

// backends turns one set into what the data plane needs.
func (c *choice) backends(why []Why) []Backend {
	var out []Backend
	for i := range c.endpoints {
		if why[i].In() {
			out = append(out, c.endpoints[i].backend())
		}
	}
	return out
}

// draining lists endpoints that get nothing new but may finish what they have.
func (c *choice) draining() []Backend {
	var out []Backend
	for i := range c.endpoints {
		e := &c.endpoints[i]
		if !c.cluster[i].In() && !c.local[i].In() && (e.Ready || e.Serving) {
			out = append(out, e.backend())
		}
	}
	return out
}

func (e *Endpoint) backend() Backend { return Backend{Addr: e.Addr, Local: e.Local} }
