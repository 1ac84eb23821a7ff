package pool

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
)

const invalidHelp = "Correct the annotation " + AnnotationAddresses + " or spec.loadBalancerIP, and use only one of them."

// rank orders those who have nothing: who asks for all of its addresses by number comes first, since nothing else will
// do; then who asks for one of the two that it requires; then the rest.
func (c *claim) rank() int {
	switch n := len(c.Requested); {
	case n == 0:
		return 2
	case n == 1 && c.requiresDual():
		return 1
	}
	return 0
}

// seek finds addresses for a Service that has none.
func (b *book) seek(c *claim) *refusal {
	if c.Invalid != "" {
		return &refusal{InvalidRequest, c.Invalid, invalidHelp}
	}
	if r := c.familyRefusal(); r != nil {
		return r
	}
	if err := c.checkFamilies(c.Requested); err != nil {
		return &refusal{InvalidRequest, err.Error(), invalidHelp}
	}
	switch {
	case len(c.Requested) > 0:
		return b.seekRequested(c)
	case c.RequestedPool != "":
		return b.seekInPool(c)
	}
	return b.seekAutomatic(c)
}

// seekRequested gives the addresses that are asked for.
func (b *book) seekRequested(c *claim) *refusal {
	var in *space
	for _, a := range c.Requested {
		s, _ := b.owner(a)
		switch {
		case s == nil:
			return &refusal{
				NotAllowed, notAllowed(c.Requested),
				fmt.Sprintf("No pool has %s, or its pool avoids it: add it to a pool, or ask for another address.", a),
			}
		case in != nil && s != in:
			return &refusal{NotAllowed, notAllowed(c.Requested), fmt.Sprintf(
				"Ask for two addresses of one pool: these are of the pools %q and %q.", in.pool.Name, s.pool.Name)}
		}
		in = s
	}
	if note, ok := in.admits(c.Service); !ok {
		c.because(note)
		return incompatible(in)
	}
	for _, a := range c.Requested {
		if r := b.conflict(c, a); r != nil {
			return r
		}
	}
	if c.RequestedPool != "" && in.pool.Name != c.RequestedPool {
		return &refusal{
			OtherPool, fmt.Sprintf("requested loadBalancer IP(s) %q is not compatible with requested address pool %s", c.Requested, c.RequestedPool),
			fmt.Sprintf("Remove the annotation %s, or ask for an address of that pool; this one is of pool %q.", AnnotationPool, in.pool.Name),
		}
	}
	return b.giveRequested(c, in)
}

// giveRequested gives what is asked for, and with it an address of the other family if the Service requires one.
func (b *book) giveRequested(c *claim, in *space) *refusal {
	var other netip.Addr
	if c.requiresDual() && len(c.Requested) == 1 {
		for _, f := range c.wanted() {
			if f == familyOf(c.Requested[0]) {
				continue
			}
			a, ok := b.find(c, in, f)
			if !ok {
				c.because(in.lacking(f))
				return b.full(c, in)
			}
			other = a
		}
	}
	for _, a := range c.Requested {
		b.give(c, a)
	}
	if other.IsValid() {
		b.give(c, other)
	}
	return nil
}

// seekInPool gives an address of the pool that is asked for.
func (b *book) seekInPool(c *claim) *refusal {
	s := b.byName[c.RequestedPool]
	if s == nil {
		return &refusal{
			UnknownPool, "unknown pool " + strconv.Quote(c.RequestedPool),
			"Create that pool, or correct or remove the annotation " + AnnotationPool + ".",
		}
	}
	if note, ok := s.admits(c.Service); !ok {
		c.because(note)
		return incompatible(s)
	}
	c.because(s.notes.requested)
	o := b.offer(c, s)
	if !o.enough(c) {
		return b.full(c, s)
	}
	b.accept(c, o)
	return nil
}

// seekAutomatic gives an address of the first pool that has one: of those whose serviceAllocation admits the Service,
// then of those without one.
func (b *book) seekAutomatic(c *claim) *refusal {
	suitable := false
	for _, pools := range [][]*space{b.pinned, b.general} {
		var best *offer
		for _, s := range pools {
			if note, ok := b.automatic(s, c.Service); !ok {
				c.because(note)
				continue
			}
			o := b.offer(c, s)
			suitable = suitable || s.serves(c)
			if len(o.addrs) == len(c.wanted()) {
				best = &o
				break
			}
			if o.enough(c) && (best == nil || !best.primary && o.primary) {
				best = &o
			}
		}
		if best != nil {
			b.accept(c, *best)
			return nil
		}
	}
	return b.nothing(c, suitable)
}

// offer is what a space could give to a Service.
type offer struct {
	space   *space
	addrs   []netip.Addr
	primary bool // has an address of the Service's primary family
}

// offer looks for an address of each family, and notes what the space lacks.
func (b *book) offer(c *claim, s *space) offer {
	o := offer{space: s}
	for i, f := range c.wanted() {
		a, ok := b.find(c, s, f)
		if !ok {
			c.because(s.lacking(f))
			continue
		}
		o.addrs = append(o.addrs, a)
		o.primary = o.primary || i == 0
	}
	return o
}

// enough tells whether the Service can live with the offer: with PreferDualStack one family will do for a start.
func (o offer) enough(c *claim) bool {
	return len(o.addrs) == len(c.wanted()) || len(o.addrs) > 0 && c.prefersDual()
}

// serves tells whether the space has ranges of all families that the Service can't do without.
func (s *space) serves(c *claim) bool {
	n := 0
	for _, f := range c.wanted() {
		if len(s.shelf(f).ranges) > 0 {
			n++
		}
	}
	return n == len(c.wanted()) || n > 0 && c.prefersDual()
}

func (b *book) accept(c *claim, o offer) {
	if o.space.pool.Allocation != nil {
		c.because(o.space.notes.admitted)
	}
	for _, a := range o.addrs {
		b.give(c, a)
	}
}

// give takes an address that was found, and says why it is this one.
func (b *book) give(c *claim, a netip.Addr) {
	h := b.used[a]
	b.take(c, a)
	switch {
	case slices.Contains(c.Requested, a):
		c.because(a.String() + " of pool " + quote(c.space) + " is asked for.")
	case slices.Contains(c.current, a):
		c.because(a.String() + " of pool " + quote(c.space) + " is what it had before.")
	case h == nil:
		c.because(a.String() + " is the first free address of pool " + quote(c.space) + ".")
	}
	if h == nil {
		return
	}
	c.because(a.String() + " of pool " + quote(c.space) + " is shared with " + h.names(c) + ": the same sharing key " +
		strconv.Quote(c.SharingKey) + " and no port in common.")
}

func quote(s *space) string { return strconv.Quote(s.pool.Name) }

func incompatible(s *space) *refusal {
	return &refusal{
		NotCompatible, notCompatible(s),
		fmt.Sprintf("Use another pool, or let the serviceAllocation of pool %q admit the Service's namespace and labels.", s.pool.Name),
	}
}

// full says that a pool that was asked for has too little left.
func (b *book) full(c *claim, s *space) *refusal {
	text := "no available IPs in pool " + s.pool.Name
	if !s.serves(c) || len(c.wanted()) > 1 {
		text += " for " + familyName(c.wanted()) + " IPFamily"
	}
	return &refusal{NoAvailableIPs, text, fmt.Sprintf("Add addresses to pool %q, free some, or use another pool.", s.pool.Name)}
}

// nothing says that no pool has an address that the Service could get by itself.
func (b *book) nothing(c *claim, suitable bool) *refusal {
	switch {
	case len(b.byName) == 0:
		return &refusal{NoPool, "no available IPs", "There is no pool: create an IPAddressPool in namespace metallb-system."}
	case !suitable:
		return &refusal{
			NoSuitablePool, "no suitable pool for " + familyName(c.wanted()) + " IPFamily",
			"Create a pool with addresses of that family and autoAssign true that admits the Service, or ask for a pool by the annotation " +
				AnnotationPool + ".",
		}
	}
	return &refusal{NoAvailableIPs, "no available IPs", "Add addresses to a pool that admits the Service, or delete a Service that isn't needed."}
}
