package filter

import (
	"strings"

	"minato/internal/ingress/exchange"
	"minato/internal/ingress/h1"
	"minato/internal/ingress/table"
)

// elsewhere answers with the location's own redirect (permanent-redirect, temporal-redirect). Nothing of the request is
// added to the target.
func elsewhere(x *exchange.Exchange, loc *table.Location) *exchange.Answer {
	r := loc.Redirect
	code := r.Code
	if code < 300 || code > 308 {
		code = 301
	}
	return found(x, code, absolute(x, loc, string(appendURL(nil, x, &r.Target))))
}

// absolute returns a target, a URL or a path, as Location has it: with scheme and host in front of a path, unless the
// location wants relative redirects.
func absolute(x *exchange.Exchange, loc *table.Location, target string) string {
	target = escaped(target, inLocation)
	if !strings.HasPrefix(target, "/") {
		return target
	}
	host, _ := h1.SplitHost([]byte(x.BestHost))
	if loc.RelativeRedirects || len(host) == 0 {
		// Two slashes would lead to another host.
		return "/" + strings.TrimLeft(target, "/")
	}
	buf := make([]byte, 0, len(target)+len(host)+16)
	buf = append(append(append(buf, x.Scheme...), "://"...), host...)
	if p := port(x); loc.UsePortInRedirects && p != "80" && p != "443" {
		buf = append(append(buf, ':'), p...)
	}
	return string(append(buf, target...))
}

// appendURL appends a URL with its variables' values. Those that are decoded texts are escaped: they can't become
// another part of the URL.
func appendURL(dst []byte, x *exchange.Exchange, t *table.Text) []byte {
	for i := range t.Parts {
		switch p := &t.Parts[i]; p.Var {
		case table.VarNone:
			dst = append(dst, p.Literal...)
		case table.VarCapture, table.VarURI:
			dst = appendEscaped(dst, x.Lookup(p.Var, p.Name), inArgument)
		default:
			dst = append(dst, x.Lookup(p.Var, p.Name)...)
		}
	}
	return dst
}
