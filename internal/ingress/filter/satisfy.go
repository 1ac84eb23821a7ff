package filter

import (
	"context"

	"minato/internal/ingress/exchange"
	"minato/internal/ingress/h1"
	"minato/internal/ingress/table"
)

// may judges who asks: by address, by name and password, and by what another server says. With satisfy any, one of
// them is enough; else none may refuse.
func (b *before) may(ctx context.Context, x *exchange.Exchange, loc *table.Location) *exchange.Answer {
	basic, external := loc.Basic, loc.External
	if (basic != nil || external != nil) && below(x.Settings.NoAuth, x.Route.Path) {
		basic, external = nil, nil
	}
	if external != nil && x.Header.Count(h1.Authorization) > 1 {
		// That server could read another one than the backend.
		return x.Reply(400)
	}
	var ask authRequest
	if external != nil {
		ask.prepare(x)
	}
	b.removeClaims(x, loc)
	if basic != nil {
		x.Forward.Del(h1.Authorization)
	}
	if loc.Satisfy == table.SatisfyAny {
		return b.any(ctx, x, loc, basic, external, &ask)
	}
	if b.address(x, loc) == refused {
		return x.Reply(403)
	}
	if basic != nil {
		if a := b.credential(ctx, x, basic); a != nil {
			return a
		}
	}
	if external != nil {
		return b.external(ctx, x, loc, external, &ask)
	}
	return nil
}

// any looks for one check that lets the request pass, the cheapest first. As with nginx, 401 is answered rather than 403.
func (b *before) any(ctx context.Context, x *exchange.Exchange, loc *table.Location, basic *table.BasicAuth, external *table.ExternalAuth, ask *authRequest) *exchange.Answer {
	at := b.address(x, loc)
	if at == allowed {
		return nil
	}
	if basic == nil && external == nil {
		if at == refused {
			return x.Reply(403)
		}
		return nil
	}
	if basic != nil {
		a := b.credential(ctx, x, basic)
		if a == nil || external == nil {
			return a
		}
		if a.Status != 401 {
			return a
		}
	}
	if external == nil {
		return nil
	}
	a := b.external(ctx, x, loc, external, ask)
	if a != nil && a.Status == 403 && basic != nil {
		return challenge(x, basic, b.digests, false)
	}
	return a
}

// removeClaims removes from what goes to the backend the fields that only the server of external authentication may
// set. They are removed wherever a location has such authentication, also where it isn't asked.
func (b *before) removeClaims(x *exchange.Exchange, loc *table.Location) {
	if loc.External == nil {
		return
	}
	for _, name := range loc.External.ResponseHeaders {
		if framing(name) {
			continue
		}
		x.Forward.DelName(name)
	}
	if !x.Settings.Underscores && !x.Settings.KeepInvalidHeaders || len(loc.External.ResponseHeaders) == 0 {
		return
	}
	// To many backends an underscore, or whatever is no letter and no digit, is a hyphen.
	x.Forward.DelFunc(func(id h1.ID, name, _ []byte) bool {
		if id != h1.Unknown {
			return false
		}
		for _, n := range loc.External.ResponseHeaders {
			if sameVariable(name, n) {
				return true
			}
		}
		return false
	})
}

// sameVariable tells whether two names of fields are the same to who takes them as variables (CGI).
func sameVariable(a []byte, b string) bool {
	if len(a) != len(b) {
		return false
	}
	fold := func(c byte) byte {
		if 'A' <= c && c <= 'Z' {
			return c + 'a' - 'A'
		}
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return '-'
		}
		return c
	}
	for i := range a {
		if fold(a[i]) != fold(b[i]) {
			return false
		}
	}
	return true
}
