package announce

import (
	"errors"
	"fmt"
	"net/netip"
)

// hosts gives each node the number by which buckets name it. A node keeps its number as long as it is a peer or a bucket has
// it, in later processes too.
type hosts struct {
	self    string
	table   mirror[uint32, hostEntry]
	numbers map[string]uint32
	peers   map[string]bool // nil until they are set
	next    uint32          // where the search for a free number begins
}

func (h *hosts) adopt() error {
	if err := h.table.adopt(); err != nil {
		return err
	}
	h.numbers, h.peers, h.next = map[string]uint32{}, nil, selfNumber+1
	for n, e := range h.table.have {
		h.numbers[e.name()] = n
	}
	return nil
}

func (h *hosts) name(n uint32) string {
	if n == selfNumber {
		return h.self
	}
	e := h.table.have[n]
	return e.name()
}

// number returns the number of a node. A node that is not a peer has no address, and packets for it stay here.
func (h *hosts) number(name string) (uint32, error) {
	if name == h.self {
		return selfNumber, nil
	}
	if n, ok := h.numbers[name]; ok {
		return n, nil
	}
	return h.give(name, hostEntry{})
}

func (h *hosts) give(name string, e hostEntry) (uint32, error) {
	if name == "" || len(name) >= len(e.Name) {
		return 0, fmt.Errorf("%q is no name of a node", name)
	}
	for range nobody {
		n := h.next
		if h.next++; h.next >= nobody {
			h.next = selfNumber + 1
		}
		if _, taken := h.table.have[n]; taken {
			continue
		}
		copy(e.Name[:], name)
		if err := h.table.set(n, e); err != nil {
			return 0, err
		}
		h.numbers[name] = n
		return n, nil
	}
	return 0, fmt.Errorf("node %s has no number: more than %d nodes are not supported", name, nobody-1)
}

// setPeers sets the addresses of the other nodes. Those that are none any more, and that no bucket has, lose their number.
func (h *hosts) setPeers(peers []Peer, inBuckets map[uint32]bool) error {
	var errs []error
	h.peers = map[string]bool{}
	for _, p := range peers {
		h.peers[p.Name] = true
		e := hostEntry{Addr4: addressOf(first(p.Addresses, false)), Addr6: addressOf(first(p.Addresses, true))}
		n, known := h.numbers[p.Name]
		if !known {
			_, err := h.give(p.Name, e)
			errs = append(errs, err)
			continue
		}
		copy(e.Name[:], p.Name)
		errs = append(errs, h.table.set(n, e))
	}
	return errors.Join(append(errs, h.tidy(inBuckets))...)
}

// tidy removes nodes that are no peers.
func (h *hosts) tidy(inBuckets map[uint32]bool) error {
	var errs []error
	for name, n := range h.numbers {
		switch {
		case h.peers[name]:
		case inBuckets[n]:
			e := hostEntry{}
			copy(e.Name[:], name)
			errs = append(errs, h.table.set(n, e))
		default:
			if err := h.table.remove(n); err != nil {
				errs = append(errs, err)
				continue
			}
			delete(h.numbers, name)
		}
	}
	return errors.Join(errs...)
}

// first returns the first address of a family, or an invalid one.
func first(addrs []netip.Addr, ipv6 bool) netip.Addr {
	for _, a := range addrs {
		if a.Is6() == ipv6 {
			return a
		}
	}
	return netip.Addr{}
}
