package dataplane

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"maps"
	"net/netip"
	"slices"

	"github.com/cilium/ebpf"
	"k8s.io/apimachinery/pkg/types"
)

// ServicePortName names one port of a Service in one family.
type ServicePortName struct {
	Service  types.NamespacedName
	PortName string
	Protocol string
	IPv6     bool
}

func (n ServicePortName) compare(o ServicePortName) int {
	return cmp.Or(cmp.Compare(n.Service.String(), o.Service.String()), cmp.Compare(n.PortName, o.PortName), cmp.Compare(n.Protocol, o.Protocol))
}

// Traffic is what went through one Service port to one backend, since the port or the backend was new.
type Traffic struct {
	ServicePortName
	Backend netip.AddrPort
	// Connections counts those that this node sent to the backend, at sockets and at packets.
	Connections uint64
	// Packets and Bytes count translated packets, in both directions. Those of a socket that a socket program connected to
	// the backend need no translation and are not counted.
	Packets, Bytes uint64
}

// Traffic reads the counters of all Services.
func (d *DataPlane) Traffic() ([]Traffic, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.collection == nil {
		return nil, fmt.Errorf("read counters of node %s: %w", d.cfg.NodeName, errClosed)
	}
	sums := map[trafficKey]traffic{}
	err := d.eachTraffic(func(k trafficKey, sum traffic) { sums[k] = sum })
	n := d.reconciler.names(maps.Keys(sums))
	var out []Traffic
	for k, sum := range sums {
		port, knownPort := n.ports[k.Service]
		backend, known := n.backends[k.Backend]
		if knownPort && known {
			out = append(out, Traffic{ServicePortName: port, Backend: backend, Connections: sum.Connections, Packets: sum.Packets, Bytes: sum.Bytes})
		}
	}
	slices.SortFunc(out, func(a, b Traffic) int { return cmp.Or(a.compare(b.ServicePortName), a.Backend.Compare(b.Backend)) })
	return out, err
}

// Visits counts what came to one frontend from inside or from outside, since the frontend was new.
type Visits struct {
	ServicePortName
	// Addr is the zero address for a NodePort, which is served at every address of the node.
	Addr netip.Addr
	Port uint16
	// From is outside for what came in at an uplink, and inside for what came from a Pod or the node itself.
	From string
	// Connections were forwarded to a backend, and Refused ones found none. Dropped packets were dropped by a traffic policy
	// or loadBalancerSourceRanges, or because no source port or conntrack entry was free.
	Connections, Refused, Dropped uint64
}

// Visits reads the counters of all frontends that had any traffic.
func (d *DataPlane) Visits() ([]Visits, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.collection == nil {
		return nil, fmt.Errorf("read counters of node %s: %w", d.cfg.NodeName, errClosed)
	}
	var out []Visits
	err := d.eachVisits(func(k frontendKey, sum visits) {
		port, known := d.reconciler.frontendName(k)
		if !known {
			return
		}
		v := Visits{
			ServicePortName: port, Addr: k.Addr.Addr(), Port: k.Port.Number(), From: k.Scope.String(),
			Connections: sum.Connections, Refused: sum.Refused, Dropped: sum.Dropped,
		}
		if v.Addr.IsUnspecified() {
			v.Addr = netip.Addr{}
		}
		out = append(out, v)
	})
	slices.SortFunc(out, func(a, b Visits) int {
		return cmp.Or(a.compare(b.ServicePortName), a.Addr.Compare(b.Addr), cmp.Compare(a.Port, b.Port), cmp.Compare(a.From, b.From))
	})
	return out, err
}

func (d *DataPlane) eachTraffic(fn func(trafficKey, traffic)) error {
	return eachSum(d.collection.Maps["traffic"], func(sum *traffic, t traffic) {
		sum.Connections += t.Connections
		sum.Packets += t.Packets
		sum.Bytes += t.Bytes
	}, fn)
}

func (d *DataPlane) eachVisits(fn func(frontendKey, visits)) error {
	return eachSum(d.collection.Maps["visits"], func(sum *visits, v visits) {
		sum.Connections += v.Connections
		sum.Refused += v.Refused
		sum.Dropped += v.Dropped
	}, fn)
}

// eachSum goes through a table of counters and adds up the values of all processors.
func eachSum[K, V any](m *ebpf.Map, add func(sum *V, v V), fn func(K, V)) error {
	var (
		k      K
		perCPU []V
	)
	it := m.Iterate()
	for it.Next(&k, &perCPU) {
		var sum V
		for _, v := range perCPU {
			add(&sum, v)
		}
		fn(k, sum)
	}
	if err := it.Err(); err != nil {
		return fmt.Errorf("read counters in table %s: %w", name(m), err)
	}
	return nil
}

// pruneCounters deletes the counters of Services, backends and frontends that are gone.
func (d *DataPlane) pruneCounters() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.collection == nil {
		return
	}
	var (
		traffics []trafficKey
		visitors []frontendKey
	)
	err := errors.Join(
		d.eachTraffic(func(k trafficKey, _ traffic) { traffics = append(traffics, k) }),
		d.eachVisits(func(k frontendKey, _ visits) {
			if _, known := d.reconciler.frontendName(k); !known {
				visitors = append(visitors, k)
			}
		}))
	n := d.reconciler.names(slices.Values(traffics))
	traffics = slices.DeleteFunc(traffics, func(k trafficKey) bool {
		_, knownPort := n.ports[k.Service]
		_, known := n.backends[k.Backend]
		return knownPort && known
	})
	err = errors.Join(err,
		kernelTable[trafficKey, traffic]{d.collection.Maps["traffic"]}.remove(traffics),
		kernelTable[frontendKey, visits]{d.collection.Maps["visits"]}.remove(visitors))
	if err != nil {
		d.log.Warn("Counters of removed Services could not be deleted; that is tried again in a minute", "error", err)
	}
}

// names are the Service ports and backends that the numbers in the tables stand for.
type names struct {
	ports    map[uint32]ServicePortName
	backends map[uint32]netip.AddrPort
}

// names finds the names of some keys, without going through all Services, of which there may be very many.
func (r *reconciler) names(keys iter.Seq[trafficKey]) names {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := names{ports: map[uint32]ServicePortName{}, backends: map[uint32]netip.AddrPort{}}
	asked := map[uint32]bool{}
	for k := range keys {
		asked[k.Backend] = true
		h := r.ids[k.Service]
		if _, done := n.ports[k.Service]; done || h == nil {
			continue
		}
		if name, ok := r.service(h.key).portName(h.key, k.Service); ok {
			n.ports[k.Service] = name
		}
	}
	for key, known := range r.known {
		if asked[known.id] {
			n.backends[known.id] = addrPort(key.Addr, key.Port)
		}
	}
	return n
}

// frontendName returns the Service port of a frontend's entry.
func (r *reconciler) frontendName(k frontendKey) (ServicePortName, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	h := r.owners[k.place()]
	if h == nil {
		return ServicePortName{}, false
	}
	s := r.service(h.key)
	e, ok := s.entries.get(k)
	if !ok {
		return ServicePortName{}, false
	}
	return s.portName(h.key, e.Service)
}

func (s *service) portName(key types.NamespacedName, id uint32) (ServicePortName, bool) {
	for pk, p := range s.ports.all() {
		if p.id == id {
			return ServicePortName{Service: key, PortName: pk.Name, Protocol: pk.Proto.String(), IPv6: pk.IPv6}, true
		}
	}
	return ServicePortName{}, false
}
