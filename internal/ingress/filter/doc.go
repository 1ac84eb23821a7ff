// Package filter does to requests and answers what annotations and settings ask for, at the hooks of package exchange,
// in the order in which ingress-nginx acts: block lists, redirects, CORS, rewriting, limits, addresses and credentials
// before the backend; canaries, the choice of an endpoint, mirrors, error pages, cookies and headers after that.
//
// Filters work on exchange.Exchange alone. They open no sockets, but for external authentication and mirrors, whose client
// and dialer are passed in. What decides about access never opens in doubt. A request whose location asks for nothing
// costs a few comparisons and no memory.
//
// The package may import the standard library, exchange, h1, table, regex, htpasswd, and libraries that hash and compress. It
// must not know the proxy.
package filter
