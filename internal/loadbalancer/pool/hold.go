package pool

import (
	"fmt"
	"net/netip"
	"slices"
)

// hold lets a Service keep of its current addresses what it may still have. Those who had an address first are asked
// first, so of two who may not share any longer the older one keeps it.
func (b *book) hold(c *claim) {
	if len(c.current) == 0 {
		return
	}
	kept := b.holdable(c)
	if c.lost != "" {
		c.because("It can't keep all that it has: " + c.lost + ".")
	}
	if len(kept) == 0 {
		return
	}
	for _, a := range kept {
		b.take(c, a)
		c.because("It has " + a.String() + " already, and pool " + quote(c.space) + " still admits it.")
	}
	if missing := c.missing(); missing != "" {
		// The primary family is the one that clients use: if it is lost, another pool that has it is better. A Service
		// that never had it, or that asks for what it has, stays where it is.
		primary := missing == c.wanted()[0] && of(c.current, missing).IsValid()
		c.move = c.requiresDual() || primary && len(c.Requested) == 0 && c.RequestedPool == ""
	}
}

// holdable are the current addresses that the Service may keep; the reason for the first other one is noted.
func (b *book) holdable(c *claim) []netip.Addr {
	if r := c.familyRefusal(); r != nil {
		c.lose(r.text)
		return nil
	}
	var kept []netip.Addr
	var in *space
	for _, f := range c.wanted() {
		a := of(c.current, f)
		if !a.IsValid() {
			continue
		}
		s, text := b.mayHold(c, a)
		switch {
		case text != "":
			c.lose(text)
		case in != nil && s != in:
			c.lose(fmt.Sprintf("%q is in pool %s, and %q in pool %s: both must be of one pool", kept[0], in.pool.Name, a, s.pool.Name))
		default:
			kept, in = append(kept, a), s
		}
	}
	if !subset(c.current, kept) {
		c.lose("the Service has no use for a second address of a family, or for one of a family that isn't its own")
	}
	switch {
	case len(kept) == 0:
		return nil
	case c.RequestedPool != "" && in.pool.Name != c.RequestedPool:
		c.lose(fmt.Sprintf("pool %s is requested, and %q is in pool %s", c.RequestedPool, kept, in.pool.Name))
		return nil
	case !subset(c.Requested, kept):
		c.lose(fmt.Sprintf("%q is requested", c.Requested))
		return nil
	}
	return kept
}

// mayHold is the space of an address that the Service may keep, or else says why it may not.
func (b *book) mayHold(c *claim, a netip.Addr) (*space, string) {
	s, _ := b.owner(a)
	if s == nil {
		return nil, notAllowed([]netip.Addr{a})
	}
	if _, ok := s.admits(c.Service); !ok {
		return nil, notCompatible(s)
	}
	if r := b.conflict(c, a); r != nil {
		return nil, r.text
	}
	return s, ""
}

// complete adds the other family to what a Service holds, if the same pool has an address of it.
func (b *book) complete(c *claim) bool {
	f := c.missing()
	a, ok := b.find(c, c.space, f)
	if !ok {
		if note := c.space.lacking(f); !slices.Contains(c.why, note) {
			c.because(note)
		}
		return false
	}
	b.give(c, a)
	return true
}

// completeOrRelease is for a Service that lacks the family that matters. If its pool can't complete what it holds, it
// gives that up and looks for another pool, like everyone who has nothing; but what will do is only given up for better.
func (b *book) completeOrRelease(c *claim) {
	if b.complete(c) || !c.requiresDual() && !b.better(c) {
		return
	}
	c.lose(nothingOf(c.space, c.missing()))
	c.because("So it gives up what it has, and looks for a pool that has what it needs.")
	b.release(c)
}

// better tells whether some pool would give the Service an address of the family that it lacks.
func (b *book) better(c *claim) bool {
	f := c.missing()
	for _, pools := range [][]*space{b.pinned, b.general} {
		for _, s := range pools {
			if _, ok := b.automatic(s, c.Service); !ok {
				continue
			}
			if _, ok := b.find(c, s, f); ok {
				return true
			}
		}
	}
	return false
}

func notAllowed(addrs []netip.Addr) string { return fmt.Sprintf("%q is not allowed in config", addrs) }

func notCompatible(s *space) string {
	return "pool " + s.pool.Name + " not compatible for ip assignment"
}

// familyRefusal says why the Service's families don't allow any address; nil if they do.
func (c *claim) familyRefusal() *refusal {
	switch {
	case len(c.Families) == 0:
		return &refusal{NoFamily, "the Service has no cluster IP", "Wait for its cluster IP, or create the Service again without clusterIP None."}
	case c.requiresDual() && len(c.Families) < 2:
		return &refusal{
			NoFamily, fmt.Sprintf("Service requires dual stack but not enough clusterips: it has only %s", c.Families[0]),
			"Set ipFamilyPolicy to SingleStack or PreferDualStack, or use a cluster with both families.",
		}
	}
	return nil
}
