package filter

import (
	"minato/internal/ingress/exchange"
	"minato/internal/ingress/h1"
	"minato/internal/ingress/table"
)

// response changes the answer's header: what the backend says of itself is rewritten (proxy-redirect-*, proxy-cookie-*), the
// session cookie is set, custom headers replace the backend's (custom-headers), and CORS marks the answer. Settings'
// add-headers, hide-headers and hsts are the proxy's, and so is limit-rate.
func (a *after) response(x *exchange.Exchange) {
	if loc := x.Location(); loc != nil && answersDiffer(loc) {
		answer(x, loc)
	}
	if s, ok := x.Slots[slotAfter].(*afterState); ok && s.session.option != nil {
		s.setSession(x, a.cfg.Now())
	}
}

func answer(x *exchange.Exchange, loc *table.Location) {
	h := x.Response
	if x.FromBackend {
		if acts(loc.ProxyRedirect) {
			rewriteRedirects(x, loc.ProxyRedirect)
		}
		if h.Has(h1.SetCookie) && (acts(loc.CookieDomain) || acts(loc.CookiePath)) {
			rewriteCookies(x, loc)
		}
	}
	for i := range loc.ResponseHeaders {
		// Name and value were checked when the ConfigMap was read; what cannot be a field is left out.
		h.Replace(loc.ResponseHeaders[i].Name, loc.ResponseHeaders[i].Value)
	}
	if loc.CORS != nil {
		markOrigin(x, loc.CORS)
	}
}

// answersDiffer tells whether a location asks for anything of answers.
func answersDiffer(loc *table.Location) bool {
	return loc.CORS != nil || loc.ProxyRedirect != nil || loc.CookieDomain != nil || loc.CookiePath != nil || len(loc.ResponseHeaders) > 0
}

// acts tells whether a Replacement does something. nginx's "default" would replace the address that the backend was asked at
// by the location's path; here no backend knows itself by such an address.
func acts(r *table.Replacement) bool { return r != nil && !r.Off && !r.Default }
