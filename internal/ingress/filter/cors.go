package filter

import (
	"strconv"
	"strings"

	"minato/internal/ingress/exchange"
	"minato/internal/ingress/h1"
	"minato/internal/ingress/table"
)

// preflight answers what browsers ask before they send a request to another origin (cors-*), whoever asks: they send no
// credentials with it. Other requests of OPTIONS go on to the backend.
func preflight(x *exchange.Exchange, c *table.CORS) *exchange.Answer {
	if x.Method != "OPTIONS" {
		return nil
	}
	origin, ok := corsOrigin(c, x.Header)
	if !ok {
		return nil
	}
	a := x.Reply(204)
	corsFields(c, origin, func(id h1.ID, value string) { a.With(id.String(), value) })
	return a
}

// corsOrigin returns the value of Access-Control-Allow-Origin for a request, and whether its origin is allowed. With "*"
// among the origins all are, also none. The value is a view of the header.
func corsOrigin(c *table.CORS, h *h1.Header) (string, bool) {
	for _, p := range c.Origins {
		if p == "*" {
			return "*", true
		}
	}
	// Two origins are no origin: a backend could read the other one.
	if h.Count(h1.Origin) != 1 {
		return "", false
	}
	origin := view(h.Get(h1.Origin))
	for _, p := range c.Origins {
		if sameOrigin(p, origin) {
			return origin, true
		}
	}
	return "", false
}

// sameOrigin tells whether an origin is that of a pattern, in any case; a star in it is one label. ingress-nginx ties
// patterns to the end of the origin alone; what could stand before one is no origin that a browser sends.
func sameOrigin(pattern, origin string) bool {
	before, after, star := strings.Cut(pattern, "*")
	if !star {
		return strings.EqualFold(pattern, origin)
	}
	if len(origin) <= len(before)+len(after) || !strings.EqualFold(origin[:len(before)], before) ||
		!strings.EqualFold(origin[len(origin)-len(after):], after) {
		return false
	}
	for _, c := range []byte(origin[len(before) : len(origin)-len(after)]) {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}

// corsFields gives the fields that go with an allowed origin, to preflights and to other answers alike.
func corsFields(c *table.CORS, origin string, set func(id h1.ID, value string)) {
	set(h1.AccessControlAllowOrigin, origin)
	if c.Credentials {
		set(h1.AccessControlAllowCredentials, "true")
	}
	set(h1.AccessControlAllowMethods, c.Methods)
	set(h1.AccessControlAllowHeaders, c.Headers)
	if c.ExposeHeaders != "" {
		set(h1.AccessControlExposeHeaders, c.ExposeHeaders)
	}
	set(h1.AccessControlMaxAge, strconv.Itoa(c.MaxAge))
}
