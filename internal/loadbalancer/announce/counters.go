package announce

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/cilium/ebpf"
)

// Counters count what came for one address at this node since the address came here.
type Counters struct {
	Addr netip.Addr
	// Requests are ARP requests and neighbour solicitations, Replies the answers to them.
	Requests, Replies uint64
	// HandedOn are packets that another node got. Seconds are those of them that are of flows that this node should have
	// known.
	HandedOn, Seconds uint64
	// Gratuitous are the times that the address was announced unasked at an uplink, since this process started.
	Gratuitous uint64
}

// Counters reads the counters of all addresses of Services, sorted.
func (a *Announcer) Counters() ([]Counters, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.collection == nil {
		return nil, fmt.Errorf("read counters of node %s: %w", a.cfg.NodeName, errClosed)
	}
	by := make(map[netip.Addr]countsEntry, len(a.addrs))
	if err := a.eachCounts(func(k address, c countsEntry) { by[k.Addr()] = c }); err != nil {
		return nil, fmt.Errorf("node %s: %w", a.cfg.NodeName, err)
	}
	out := make([]Counters, 0, len(a.addrs))
	for addr, s := range a.addrs {
		c := by[addr]
		out = append(out, Counters{Addr: addr, Requests: c.Requests, Replies: c.Replies, HandedOn: c.HandedOn, Seconds: c.Seconds, Gratuitous: s.sent})
	}
	slices.SortFunc(out, func(x, y Counters) int { return x.Addr.Compare(y.Addr) })
	return out, nil
}

// eachCounts reads the counters of all addresses that had any traffic.
func (a *Announcer) eachCounts(fn func(address, countsEntry)) error {
	var (
		k      address
		perCPU []countsEntry
		it     = a.collection.Maps["counters"].Iterate()
	)
	for it.Next(&k, &perCPU) {
		var sum countsEntry
		for _, c := range perCPU {
			sum.Requests += c.Requests
			sum.Replies += c.Replies
			sum.HandedOn += c.HandedOn
			sum.Seconds += c.Seconds
		}
		fn(k, sum)
	}
	if err := it.Err(); err != nil && !errors.Is(err, ebpf.ErrIterationAborted) {
		return fmt.Errorf("read counters: %w", err)
	}
	return nil
}
