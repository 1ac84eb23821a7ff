package filter

import (
	"minato/internal/ingress/exchange"
	"minato/internal/ingress/table"
)

// standing is what one kind of check says of a request.
type standing uint8

const (
	unasked standing = iota // the location doesn't ask
	allowed
	refused
)

// address judges the client's address (denylist-source-range first, then allowlist-source-range). One that isn't known
// is on no list of those who may pass. A client that is on no list of those who may not is not allowed by that.
func (b *before) address(x *exchange.Exchange, loc *table.Location) standing {
	if len(loc.Deny) == 0 && loc.Allow == nil {
		return unasked
	}
	a := x.Client.Addr()
	switch {
	case !a.IsValid():
		return refused
	case len(loc.Deny) > 0 && b.prefixes.contains(loc.Deny, a):
		return refused
	case loc.Allow == nil:
		return unasked
	case b.prefixes.contains(loc.Allow, a):
		return allowed
	default:
		return refused
	}
}
