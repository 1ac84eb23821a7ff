package route

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// AnnotationTopologyKeys carries spec.topologyKeys of a Service (KEP-2004), which Kubernetes had from 1.17 to 1.21 and
// has no field for today: label keys, separated by commas, in the order in which they are tried.
const AnnotationTopologyKeys = "minato.local/topology-keys"

// AnyTopology is the topology key that every node matches, and that comes last.
const AnyTopology = "*"

// TopologyKeys returns the topology keys of a Service, none if it has none.
func TopologyKeys(svc *corev1.Service) []string {
	if svc == nil {
		return nil
	}
	var keys []string
	for key := range strings.SplitSeq(svc.Annotations[AnnotationTopologyKeys], ",") {
		if key = strings.TrimSpace(key); key != "" {
			keys = append(keys, key)
		}
	}
	return keys
}

// TopologyNone says that there are topology keys and none of them matches.
const TopologyNone Topology = "no topology key matches"

// byKeys narrows the endpoints by topology keys: the first key of which an endpoint's node has the same value as the
// deciding node decides, and no endpoint is left if there is none. Endpoints that are ready count; if none is ready,
// those do that still serve while they terminate.
func byKeys(eps []Endpoint, node Node, keys []string) (Topology, func(*Endpoint) Why) {
	for _, key := range keys {
		if key == AnyTopology {
			return TopologyAll, func(*Endpoint) Why { return Chosen }
		}
		value, ok := label(node.Labels[node.Name], key)
		if !ok {
			continue
		}
		matches := func(e *Endpoint) bool {
			v, ok := label(node.Labels[e.Node], key)
			return ok && v == value
		}
		if anyUsable(eps, matches) {
			return Topology("same " + key + ", " + value), func(e *Endpoint) Why {
				if matches(e) {
					return Chosen
				}
				return OtherTopology
			}
		}
	}
	return TopologyNone, func(*Endpoint) Why { return NoTopology }
}

// anyUsable tells whether there is an endpoint that matches among those that get traffic.
func anyUsable(eps []Endpoint, matches func(*Endpoint) bool) bool {
	ready, readyMatch, servingMatch := false, false, false
	for i := range eps {
		e := &eps[i]
		switch {
		case e.Ready:
			ready = true
			readyMatch = readyMatch || matches(e)
		case e.Serving && e.Terminating:
			servingMatch = servingMatch || matches(e)
		}
	}
	return readyMatch || !ready && servingMatch
}

// formerly are the names that Kubernetes had for labels of nodes before 1.17. Nodes had both when topology keys were
// there, so each stands for the other.
var formerly = map[string]string{
	corev1.LabelFailureDomainBetaZone:   corev1.LabelTopologyZone,
	corev1.LabelFailureDomainBetaRegion: corev1.LabelTopologyRegion,
	corev1.LabelTopologyZone:            corev1.LabelFailureDomainBetaZone,
	corev1.LabelTopologyRegion:          corev1.LabelFailureDomainBetaRegion,
}

// label returns the value of a node's label, by its other name if it has it under that alone.
func label(labels map[string]string, key string) (string, bool) {
	value, ok := labels[key]
	if other := formerly[key]; !ok && other != "" {
		value, ok = labels[other]
	}
	return value, ok
}
