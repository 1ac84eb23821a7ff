package pool

import (
	"net/netip"
	"slices"

	"k8s.io/apimachinery/pkg/types"

	"minato/internal/loadbalancer/config"
)

// Allocate decides which addresses each Service gets. The order of neither argument matters; Services have distinct keys.
//
// Who has an address that it may still have keeps it, whoever else wants it. Only then are addresses given: to Services
// that ask for one by number, then to the others, and last a second family to those that can do without. Among equals the
// older one is first. Nothing is freed once that has begun, so whoever goes away empty-handed would do so again:
// feeding the result back as what the Services have changes nothing.
func Allocate(pools []config.Pool, services []Service) map[types.NamespacedName]Decision {
	_, claims := allocate(pools, services)
	out := make(map[types.NamespacedName]Decision, len(claims))
	for _, c := range claims {
		out[c.Key] = c.decision()
	}
	return out
}

// allocate is Allocate with all that it knows in the end: who has which address, and what became of each Service.
func allocate(pools []config.Pool, services []Service) (*book, []*claim) {
	b := &book{spaces: newSpaces(pools), used: make(map[netip.Addr]*holding, len(services))}
	claims := make([]*claim, 0, len(services))
	for i := range services {
		claims = append(claims, newClaim(&services[i]))
	}
	slices.SortFunc(claims, func(x, y *claim) int { return older(x.Service, y.Service) })
	for _, c := range claims {
		b.hold(c)
	}
	for _, c := range claims {
		if c.move {
			b.completeOrRelease(c)
		}
	}
	b.seekAll(claims)
	return b, claims
}

// seekAll gives to those who have nothing, and then to those who lack something. The claims are sorted.
func (b *book) seekAll(claims []*claim) {
	for rank := range 3 {
		for _, c := range claims {
			if len(c.held) == 0 && c.refused == nil && c.rank() == rank {
				c.refused = b.seek(c)
			}
		}
	}
	for _, c := range claims {
		if len(c.held) > 0 && c.missing() != "" {
			b.complete(c)
		}
	}
}
