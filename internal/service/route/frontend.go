package route

import (
	"fmt"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Kind tells through which of a Service's addresses traffic comes in, or that it is for a Pod's hostPort.
type Kind string

const (
	ClusterIP    Kind = "ClusterIP"
	NodePort     Kind = "NodePort"
	ExternalIP   Kind = "ExternalIP"
	LoadBalancer Kind = "LoadBalancer"
	HostPortKind Kind = "HostPort"
)

// Class is where traffic comes from, as seen by the node that routes it.
type Class uint8

const (
	// FromPod is traffic of a pod with its own address on this node.
	FromPod Class = iota
	// FromHost is traffic of the node itself, its hostNetwork pods included.
	FromHost
	// FromOutside is traffic that reached the node over a wire.
	FromOutside
	// Classes is how many there are.
	Classes = 3
)

// Verdict is what happens to traffic.
type Verdict uint8

const (
	// Forward sends it to one endpoint of the decision's set.
	Forward Verdict = iota
	// Reject answers at once: TCP reset or ICMP port unreachable.
	Reject
	// Drop stays silent, so that an outside load balancer tries another node.
	Drop
)

func (v Verdict) String() string {
	switch v {
	case Forward:
		return "forward"
	case Reject:
		return "reject"
	case Drop:
		return "drop"
	}
	return fmt.Sprintf("verdict %d", uint8(v))
}

// Set names one of a frontend's two candidate sets.
type Set uint8

const (
	// ClusterSet holds the endpoints of traffic policy Cluster.
	ClusterSet Set = iota
	// LocalSet holds the endpoints of traffic policy Local.
	LocalSet
)

func (s Set) String() string {
	if s == LocalSet {
		return "local"
	}
	return "cluster"
}

// Decision is what happens to one class of traffic at one frontend.
type Decision struct {
	Verdict Verdict
	// Set is where a forwarded connection picks its endpoint.
	Set Set
	// Masquerade hides the client behind the node's address, so that the answer comes back through this node.
	Masquerade bool
	// Consistent picks by a hash of the connection in the set's MaglevTable, rather than at random.
	Consistent bool
}

// Backend is an endpoint as a data plane needs it.
type Backend struct {
	Addr netip.AddrPort
	// Local says that it runs on the deciding node.
	Local bool
}

// Frontend is one address, port and protocol at which a Service answers, or a Pod with a hostPort.
type Frontend struct {
	// Service names the Service, or the Pod by its PodKey.
	Service  types.NamespacedName
	PortName string
	Kind     Kind
	// Addr is where it answers; the zero address for a NodePort, which answers at every node address of its family.
	Addr     netip.Addr
	IPv6     bool
	Port     uint16
	Protocol corev1.Protocol

	Decisions [Classes]Decision

	// Cluster and Local are the candidate sets. All frontends of one Service port and family share them.
	Cluster []Backend
	Local   []Backend
	// Draining are endpoints in neither set that still serve the connections they have.
	Draining []Backend

	// Affinity keeps a client at its endpoint for this long after its last new connection; 0 is off.
	Affinity time.Duration
	// Restricted frontends take only clients within SourceRanges, which hold ranges of the frontend's family and
	// may be empty: a restriction that names only the other family admits nobody in this one.
	Restricted   bool
	SourceRanges []netip.Prefix
}

// Backends returns the set that a decision picks from.
func (f *Frontend) Backends(s Set) []Backend {
	if s == LocalSet {
		return f.Local
	}
	return f.Cluster
}

// String names the frontend the way people write it.
func (f *Frontend) String() string {
	addr := "node"
	switch {
	case f.Addr.IsValid() && f.Addr.Is6():
		addr = "[" + f.Addr.String() + "]"
	case f.Addr.IsValid():
		addr = f.Addr.String()
	case f.IPv6:
		addr = "node6"
	}
	return fmt.Sprintf("%s %s:%d/%s of %s", f.Kind, addr, f.Port, f.Protocol, f.Service)
}
