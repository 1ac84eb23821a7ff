package ingress

import (
	"net/netip"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"minato/internal/ingress/table"
)

// Facts are what a Node has to know besides the objects of the cluster. The JSON form goes to a node's proxy.
type Facts struct {
	// Node is the name of the node, and Zone that of its zone, which may be empty.
	Node string `json:"node"`
	Zone string `json:"zone,omitempty"`
	// IPv6First is whether the cluster prefers IPv6.
	IPv6First bool `json:"ipv6First,omitempty"`
	// DNS are the servers at which the names of Services of type ExternalName are looked up; without any, the machine's.
	DNS []netip.Addr `json:"dns,omitempty"`
	// Domain is the cluster's.
	Domain string `json:"domain,omitempty"`
	// Namespace and Pod are labels of the metrics: where the proxy runs, as ingress-nginx tells it.
	Namespace      string  `json:"namespace,omitempty"`
	Pod            string  `json:"pod,omitempty"`
	MetricsPerHost bool    `json:"metricsPerHost,omitempty"`
	Options        Options `json:"options"`
}

// State is what a node's proxy is like at one time.
type State struct {
	// Ready is whether it serves everything that was there when it began, and has looked at every certificate.
	Ready bool `json:"ready"`
	// Streams are the ports of TCP and UDP that the settings ask for.
	Streams []StreamPort `json:"streams,omitempty"`
}

// StreamPort is a port that is passed to a Service as it is.
type StreamPort struct {
	Port uint16 `json:"port"`
	UDP  bool   `json:"udp,omitempty"`
	// Bound is where it is served at each of the node's addresses; the Process knows.
	Bound map[netip.Addr]uint16 `json:"-"`
}

// Findings are what a node's proxy has found about one Ingress, in place of what it found before, or about a ConfigMap with
// settings if Kind is KindConfigMap.
type Findings struct {
	Kind    Kind                 `json:"kind,omitempty"`
	Ingress types.NamespacedName `json:"ingress"`
	UID     types.UID            `json:"uid,omitempty"`
	List    []table.Finding      `json:"list,omitempty"`
}

// subject is what Findings are about.
type subject struct {
	kind Kind // as in Findings
	name types.NamespacedName
}

func (f *Findings) subject() subject { return subject{f.Kind, f.Ingress} }

// drain is the content of frameDrain.
type drain struct {
	// After is when to drain at the latest: another process takes over, and its first words may be before that.
	After time.Duration `json:"after"`
}
