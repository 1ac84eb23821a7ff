package dataplane

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/cilium/ebpf"
	"k8s.io/apimachinery/pkg/types"
)

// Traffic is what went through one Service port to one backend since either came to be.
type Traffic struct {
	Service  types.NamespacedName
	PortName string
	Protocol string
	IPv6     bool
	// Backend is not valid for what reached none: connections refused and packets dropped.
	Backend netip.AddrPort
	// Connections counts those that this node sent to the backend, at sockets and at packets.
	Connections uint64
	// Packets and Bytes count what was translated on the way, in both directions. A process of the node talks straight
	// to the backend, and nobody sees its packets.
	Packets, Bytes   uint64
	Refused, Dropped uint64
}

// Traffic reads the counters of all Services.
func (d *DataPlane) Traffic() ([]Traffic, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.collection == nil {
		return nil, fmt.Errorf("read counters of node %s: %w", d.cfg.NodeName, errClosed)
	}
	ports, backends := d.reconciler.names()
	var out []Traffic
	err := d.eachTraffic(func(k trafficKey, sum traffic) {
		t, ok := ports[k.Service]
		if !ok {
			return
		}
		if k.Backend != 0 {
			if t.Backend, ok = backends[k.Backend]; !ok {
				return
			}
		}
		t.Connections, t.Packets, t.Bytes, t.Refused, t.Dropped = sum.Connections, sum.Packets, sum.Bytes, sum.Refused, sum.Dropped
		out = append(out, t)
	})
	slices.SortFunc(out, func(a, b Traffic) int {
		return cmp.Or(cmp.Compare(a.Service.String(), b.Service.String()), cmp.Compare(a.PortName, b.PortName),
			cmp.Compare(a.Protocol, b.Protocol), a.Backend.Compare(b.Backend))
	})
	return out, err
}

func (d *DataPlane) eachTraffic(fn func(trafficKey, traffic)) error {
	var (
		k      trafficKey
		perCPU []traffic
	)
	it := d.collection.Maps["traffic"].Iterate()
	for it.Next(&k, &perCPU) {
		var sum traffic
		for _, t := range perCPU {
			sum.Connections += t.Connections
			sum.Packets += t.Packets
			sum.Bytes += t.Bytes
			sum.Refused += t.Refused
			sum.Dropped += t.Dropped
		}
		fn(k, sum)
	}
	if err := it.Err(); err != nil {
		return fmt.Errorf("read traffic counters: %w", err)
	}
	return nil
}

// pruneTraffic drops the counters of Services and backends that are gone.
func (d *DataPlane) pruneTraffic() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.collection == nil {
		return
	}
	ports, backends := d.reconciler.names()
	var gone []trafficKey
	err := d.eachTraffic(func(k trafficKey, _ traffic) {
		_, knownPort := ports[k.Service]
		if _, known := backends[k.Backend]; !knownPort || k.Backend != 0 && !known {
			gone = append(gone, k)
		}
	})
	for i := range gone {
		if e := d.collection.Maps["traffic"].Delete(&gone[i]); e != nil && !errors.Is(e, ebpf.ErrKeyNotExist) {
			err = errors.Join(err, e)
		}
	}
	if err != nil {
		d.log.Warn("Counters of Services that are gone could not be dropped", "error", err)
	}
}

// names tells what the numbers of Service ports and backends stand for.
func (r *reconciler) names() (ports map[uint32]Traffic, backends map[uint32]netip.AddrPort) {
	r.mu.Lock()
	defer r.mu.Unlock()
	ports, backends = map[uint32]Traffic{}, map[uint32]netip.AddrPort{}
	for key, s := range r.services {
		for pk, p := range s.ports {
			ports[p.id] = Traffic{Service: key, PortName: pk.Name, Protocol: pk.Proto.String(), IPv6: pk.IPv6}
		}
	}
	for key, known := range r.known {
		backends[known.entry.ID] = addrPort(key.Addr, key.Port)
	}
	return ports, backends
}
