package filter

import (
	"cmp"
	"strings"

	"minato/internal/ingress/exchange"
)

// www redirects to the host's name with www. or without (from-to-www-redirect). As ingress-nginx has it, the port is
// always there and one trailing slash is cut.
func www(x *exchange.Exchange) *exchange.Answer {
	uri := strings.TrimSuffix(uriOf(x), "/")
	buf := make([]byte, 0, len(x.Match.RedirectHost)+len(uri)+16)
	buf = append(append(append(buf, x.Scheme...), "://"...), x.Match.RedirectHost...)
	buf = append(append(buf, ':'), port(x)...)
	return found(x, cmp.Or(x.Settings.RedirectCode, 308), string(appendEscaped(buf, uri, inLocation)))
}

// uriOf is the target as it was received; that of a request for the server as a whole ("*") is "/".
func uriOf(x *exchange.Exchange) string {
	if strings.HasPrefix(x.Target, "/") {
		return x.Target
	}
	return "/"
}

// port is the port that the client connected to. Where a balancer before this one says that it spoke TLS, but not at
// which port, that is the usual one.
func port(x *exchange.Exchange) string {
	switch {
	case x.Scheme == "https" && (x.ForwardedPort == "80" || x.ForwardedPort == ""):
		return "443"
	case x.Scheme == "http" && (x.ForwardedPort == "443" || x.ForwardedPort == ""):
		return "80"
	}
	return x.ForwardedPort
}
