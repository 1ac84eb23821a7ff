package filter

import (
	"cmp"
	"strings"

	"minato/internal/ingress/exchange"
	"minato/internal/ingress/h1"
	"minato/internal/ingress/table"
)

// toHTTPS redirects a request without TLS (ssl-redirect, force-ssl-redirect): the host without its port, and the target
// less one trailing slash, be it the query's.
func toHTTPS(x *exchange.Exchange, loc *table.Location) *exchange.Answer {
	if below(x.Settings.NoTLSRedirect, x.Route.Path) {
		return nil
	}
	host, _ := h1.SplitHost([]byte(cmp.Or(x.BestHost, x.Host)))
	if len(host) == 0 {
		// Of HTTP/1.0: there is no name that could be gone to.
		return x.Reply(400)
	}
	uri := uriOf(x)
	if !loc.PreserveTrailingSlash {
		uri = strings.TrimSuffix(uri, "/")
	}
	buf := make([]byte, 0, len(host)+len(uri)+16)
	buf = append(append(buf, "https://"...), host...)
	if loc.UsePortInRedirects {
		buf = append(buf, ":443"...)
	}
	return found(x, cmp.Or(x.Settings.RedirectCode, 308), string(appendEscaped(buf, uri, inLocation)))
}

// below tells whether a rule's path begins with one of the prefixes. It is the rule that counts, as with ingress-nginx,
// not what a client asks for.
func below(prefixes []string, path string) bool {
	for _, p := range prefixes {
		if p != "" && strings.HasPrefix(path, p) {
			return true
		}
	}
	return false
}
