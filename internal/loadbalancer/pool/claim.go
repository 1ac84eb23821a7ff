package pool

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// claim is a Service on its way to a decision.
type claim struct {
	*Service
	key     shareKey
	current []netip.Addr // of the Service, without what isn't an address
	held    []netip.Addr
	space   *space // of what is held
	// move tells that what is held is only worth having together with an address of the other family.
	move bool
	// lost says why an address of current was taken back.
	lost    string
	refused *refusal
	why     []string
}

func newClaim(s *Service) *claim {
	c := &claim{Service: s}
	if s.SharingKey != "" {
		c.key.sharing = s.SharingKey
		if s.Local {
			// The prefix keeps a Service with policy Local and no selector apart from those with policy Cluster.
			c.key.backend = "local " + s.Selector.String()
		}
	}
	for _, a := range s.Current {
		if a = a.Unmap(); a.IsValid() && a.Zone() == "" && !slices.Contains(c.current, a) {
			c.current = append(c.current, a)
		}
	}
	return c
}

// missing is the family of the Service of which it has no address yet, the primary one first; empty for none.
func (c *claim) missing() corev1.IPFamily {
	for _, f := range c.wanted() {
		if !of(c.held, f).IsValid() {
			return f
		}
	}
	return ""
}

// because adds a sentence to the explanation.
func (c *claim) because(sentence string) { c.why = append(c.why, sentence) }

// lose notes why a current address is taken back; the first reason is the one that is told.
func (c *claim) lose(text string) {
	if c.lost == "" {
		c.lost = text
	}
}

// decision is the outcome for the Service.
func (c *claim) decision() Decision {
	d := Decision{Addresses: status(c.held), Why: c.why}
	if c.space != nil {
		d.Pool = c.space.pool.Name
	}
	if !subset(c.current, c.held) {
		d.Cleared = c.cleared()
	}
	switch added := without(c.held, c.current); {
	case len(c.held) == 0:
		d.Reason, d.Cause, d.Help = Failed, c.refused.cause, c.refused.help
		d.Message = "Failed to allocate IP for " + strconv.Quote(c.name()) + ": " + c.refused.text
		d.Why = append(d.Why, "It gets no address: "+c.refused.text+".")
		return d
	case c.Invalid != "":
		d.Reason, d.Cause, d.Help = Invalid, InvalidRequest, invalidHelp
		d.Message = "invalid requested loadbalancer IPs: " + c.Invalid
		d.Why = append(d.Why, "What it asks for can't be understood: "+c.Invalid+". It keeps what it has.")
	case len(added) == 0:
		d.Reason = Kept
	case len(added) < len(c.held) && d.Cleared == "":
		d.Reason, d.Message = Allocated, fmt.Sprintf("Assigned additional IP %q", added[0])
	default:
		d.Reason, d.Message = Allocated, assigned(c.held)
	}
	if d.PendingFamily = c.missing(); d.PendingFamily != "" {
		d.PendingMessage = "cannot assign additional IP in PreferDualStack: " + nothingOf(c.space, d.PendingFamily)
		d.Help = fmt.Sprintf("Add %s addresses to pool %q, or free one.", d.PendingFamily, d.Pool)
	}
	return d
}

// cleared is the text of the event that tells of an address taken back.
func (c *claim) cleared() string {
	return fmt.Sprintf("current IP for %q not allowed by config, will attempt for new IP assignment: %s", c.name(), c.lost)
}

// assigned is the text of the event IPAllocated.
func assigned(addrs []netip.Addr) string {
	var b strings.Builder
	b.WriteString("Assigned IP [")
	for i, a := range addrs {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteByte('"')
		b.WriteString(a.String())
		b.WriteByte('"')
	}
	b.WriteByte(']')
	return b.String()
}

// without returns the addresses of a that aren't in b.
func without(a, b []netip.Addr) []netip.Addr {
	var out []netip.Addr
	for _, x := range a {
		if !slices.Contains(b, x) {
			out = append(out, x)
		}
	}
	return out
}

// nothingOf says in MetalLB's words that a pool has no address of a family.
func nothingOf(s *space, f corev1.IPFamily) string {
	return "no available IPs in pool " + s.pool.Name + " for " + familyName([]corev1.IPFamily{f}) + " IPFamily"
}

// familyName is the name of the families of a Service in MetalLB's messages.
func familyName(families []corev1.IPFamily) string {
	if len(families) > 1 {
		return "dual"
	}
	return strings.ToLower(string(families[0]))
}
