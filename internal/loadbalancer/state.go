package loadbalancer

import (
	"net/netip"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/types"

	"minato/internal/loadbalancer/config"
	"minato/internal/loadbalancer/pool"
)

// State is what a Controller has decided.
type State struct {
	// Services are sorted by namespace and name.
	Services []ServiceState `json:"services"`
	// Pools are in the order of the configuration, with the cluster's own one.
	Pools    []PoolState      `json:"pools"`
	Problems []config.Problem `json:"problems,omitempty"`
}

// ServiceState is what was decided about a Service.
type ServiceState struct {
	Namespace string        `json:"namespace"`
	Name      string        `json:"name"`
	Decision  pool.Decision `json:"decision"`
	// Published is what the Service's status lists.
	Published []netip.Addr `json:"published,omitempty"`
	// Waiting says what the write of the status waits for; empty if it is written.
	Waiting string `json:"waiting,omitempty"`
}

// PoolState is how much of a pool is used.
type PoolState struct {
	Name    string `json:"name"`
	Default bool   `json:"default,omitempty"`
	// Ranges are as in 192.0.2.1-192.0.2.9.
	Ranges []string       `json:"ranges"`
	Usage  pool.PoolUsage `json:"usage"`
}

// Snapshot returns what is decided now. It is empty before the first decision.
func (c *Controller) Snapshot() State {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out State
	if c.book == nil {
		return out
	}
	for _, e := range c.book.entries {
		if e.decided {
			out.Services = append(out.Services, c.book.state(e))
		}
	}
	slices.SortFunc(out.Services, func(a, b ServiceState) int {
		return compareKeys(types.NamespacedName{Namespace: a.Namespace, Name: a.Name}, types.NamespacedName{Namespace: b.Namespace, Name: b.Name})
	})
	for _, p := range c.book.config.Pools {
		s := PoolState{Name: p.Name, Default: p.Default, Usage: c.book.usage[p.Name]}
		for _, r := range p.Ranges {
			s.Ranges = append(s.Ranges, r.First.String()+"-"+r.Last.String())
		}
		out.Pools = append(out.Pools, s)
	}
	out.Problems = c.book.config.Problems
	return out
}

// state tells of one Service.
func (b *book) state(e *entry) ServiceState {
	s := ServiceState{Namespace: e.key.Namespace, Name: e.key.Name, Decision: e.decision, Published: e.published}
	_, contested := b.contested[e.key]
	switch {
	case contested:
		s.Waiting = "the status of " + strings.Join(b.holdersOf(e), ", ") + " lists an address that this Service gets, and is to lose it first"
	case e.retry.failures > 0:
		s.Waiting = "the API server has not taken the last write, which is tried again"
	case e.corrections.failures > freeCorrections && !e.is(b.target(e)):
		s.Waiting = "something else writes the same fields again and again"
	case e.running || e.queued:
		s.Waiting = "it is being written"
	}
	return s
}

// holdersOf are the other Services whose status lists addresses that a Service is to get.
func (b *book) holdersOf(e *entry) []string {
	var out []string
	for _, a := range e.decision.Addresses {
		for key := range b.holders[a] {
			if key != e.key {
				out = append(out, key.String())
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
