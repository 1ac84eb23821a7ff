package announce

import (
	"fmt"
	"net/netip"
)

// Answered returns the addresses that are answered here, in no order. Right after Open these are the ones that an earlier
// process announced.
func (a *Announcer) Answered() ([]netip.Addr, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.collection == nil {
		return nil, fmt.Errorf("addresses of node %s: %w", a.cfg.NodeName, errClosed)
	}
	var out []netip.Addr
	for k, e := range a.addresses.have {
		if e.Flags&addressAnswer != 0 {
			out = append(out, k.Addr())
		}
	}
	return out, nil
}
