package proxy

import (
	"context"
	"slices"

	"minato/internal/ingress/exchange"
	"minato/internal/ingress/h1"
	"minato/internal/ingress/table"
)

// errorPage has a default backend's answer given in place of one by which the proxy has refused a request (custom-http-errors):
// of a limit, of a list of addresses, for want of a credential, or of a body that is too large. The default backend gets the
// request without its body, which nobody has asked for, and without Authorization. It returns nil if the answer was given.
func (f *flow) errorPage(ctx context.Context, h *exchange.Hooks, loc *table.Location, a *exchange.Answer) *exchange.Answer {
	x := &f.x
	if !slices.Contains(loc.CustomErrors, a.Status) || h.Replace == nil || len(x.Attempts) > 0 {
		return a
	}
	if x.Upstream == nil {
		x.Upstream = x.Route.Backend
	}
	x.Refused = true
	f.body.close(f.srv)
	f.body.here, f.body.none = true, true
	if x.Forward.Len() == 0 {
		f.forward(loc)
	}
	x.Forward.Del(h1.Authorization)
	if !f.replacement(h, a.Status, false) {
		return a
	}
	f.refusal = a
	f.askSubstitute()
	return f.attempts(ctx, h, loc, f.substitute)
}

// refused completes a default backend's answer in resp by what the one that it is given in place of has said: how to log in,
// and that nobody was let in, where the page says that all is well.
func (f *flow) refused(r *exchange.Answer) {
	p := &f.resp
	for i := range r.Headers {
		if !p.Header.HasName(r.Headers[i].Name) {
			_ = p.Header.AddName(r.Headers[i].Name, r.Headers[i].Value)
		}
	}
	if p.Status < 300 && (r.Status == 401 || r.Status == 403) {
		p.Status, p.Phrase = r.Status, nil
	}
}
