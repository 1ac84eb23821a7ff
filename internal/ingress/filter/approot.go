package filter

import "minato/internal/ingress/exchange"

// appRoot sends a request for "/" to the path that the host has in its place (app-root), without its query.
func appRoot(x *exchange.Exchange, root string) *exchange.Answer {
	if x.BestHost == "" { // of HTTP/1.0
		return found(x, 302, escaped(root, inLocation))
	}
	buf := make([]byte, 0, len(x.Scheme)+len(x.BestHost)+len(root)+3)
	buf = append(append(append(buf, x.Scheme...), "://"...), x.BestHost...)
	return found(x, 302, string(appendEscaped(buf, root, inLocation)))
}

// found answers with a redirect.
func found(x *exchange.Exchange, status int, location string) *exchange.Answer {
	return x.Reply(status).With("Location", location)
}
