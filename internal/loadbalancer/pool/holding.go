package pool

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// holding is who has an address.
type holding struct {
	users []*claim
	ports map[Port]*claim // only if it may be shared
}

// taken is the first of the ports that is in use, or nil.
func (h *holding) taken(ports []Port) *Port {
	for i := range ports {
		if h.ports[ports[i]] != nil {
			return &ports[i]
		}
	}
	return nil
}

// book is who has which address.
type book struct {
	*spaces
	used map[netip.Addr]*holding
}

// conflict says why the Service can't have an address besides those who have it already; nil if it can.
func (b *book) conflict(c *claim, a netip.Addr) *refusal {
	h := b.used[a]
	if h == nil {
		return nil
	}
	if c.SharingKey == "" || c.key != h.users[0].key {
		return &refusal{
			InUse, fmt.Sprintf("can't change sharing key for %q, address also in use by %s", c.name(), h.names(c)),
			"Ask for another address; or let all of them share it: the same non-empty annotation " + AnnotationSharing +
				", no port in common, and externalTrafficPolicy Cluster, or Local with equal selectors.",
		}
	}
	if p := h.taken(c.Ports); p != nil {
		return &refusal{
			PortInUse, fmt.Sprintf("port %s is already in use on %q", p, a),
			fmt.Sprintf("Use another port or address: %s has this one.", h.ports[*p].name()),
		}
	}
	return nil
}

// namesAtMost keeps messages readable, and events below their largest size, when very many share an address.
const namesAtMost = 8

// names lists who has an address besides one Service, in order.
func (h *holding) names(without *claim) string {
	names := make([]string, 0, namesAtMost)
	others := 0
	for _, u := range h.users {
		switch {
		case u == without:
		case len(names) < namesAtMost:
			names = append(names, u.name())
		default:
			others++
		}
	}
	slices.Sort(names)
	list := strings.Join(names, ",")
	if others > 0 {
		list += fmt.Sprintf(" and %d others", others)
	}
	return list
}

// take gives an address to a Service. The caller has looked for conflicts.
func (b *book) take(c *claim, a netip.Addr) {
	s, at := b.owner(a)
	if len(c.held) == 0 {
		s.services++
	}
	c.space, c.held = s, append(c.held, a)
	h := b.used[a]
	if h == nil {
		h = &holding{}
		b.used[a] = h
		s.shelf(familyOf(a)).used++
		if c.SharingKey != "" {
			s.shelf(familyOf(a)).join(place{at, a}, c.key, c.Ports)
		}
	}
	h.users = append(h.users, c)
	if c.SharingKey == "" {
		return
	}
	if h.ports == nil {
		h.ports = make(map[Port]*claim, len(c.Ports))
	}
	for _, p := range c.Ports {
		h.ports[p] = c
	}
}

// release takes back all that a Service has.
func (b *book) release(c *claim) {
	if len(c.held) > 0 {
		c.space.services--
	}
	for _, a := range c.held {
		_, at := b.owner(a)
		shelf, p, h := c.space.shelf(familyOf(a)), place{at, a}, b.used[a]
		h.users = slices.DeleteFunc(h.users, func(u *claim) bool { return u == c })
		for _, port := range c.Ports {
			delete(h.ports, port)
		}
		if len(h.users) == 0 {
			delete(b.used, a)
			shelf.used--
			shelf.released(p, c.key)
		} else if g := shelf.groups[c.key]; g != nil {
			g.lower(p, nil)
		}
	}
	c.held, c.space = nil, nil
}

// find is the first address of a family in a space that the Service can have: a free one, or one to share, whichever
// comes first. What the Service gave up in the hope of something better comes before all others.
func (b *book) find(c *claim, s *space, f corev1.IPFamily) (netip.Addr, bool) {
	if a := of(c.current, f); a.IsValid() {
		if owner, _ := b.owner(a); owner == s && b.conflict(c, a) == nil {
			return a, true
		}
	}
	shelf := s.shelf(f)
	p, ok := shelf.free(b.used)
	if c.SharingKey != "" {
		if shared, can := shelf.shared(c.key, c.Ports, b.used); can && (!ok || shared.compare(p) < 0) {
			return shared.addr, true
		}
	}
	return p.addr, ok
}
