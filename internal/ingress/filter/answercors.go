package filter

import (
	"minato/internal/ingress/exchange"
	"minato/internal/ingress/h1"
	"minato/internal/ingress/table"
)

// corsMask are the fields by which an answer is shared with other origins.
var corsMask = h1.Mask(h1.AccessControlAllowOrigin, h1.AccessControlAllowCredentials, h1.AccessControlAllowMethods,
	h1.AccessControlAllowHeaders, h1.AccessControlExposeHeaders, h1.AccessControlMaxAge)

// markOrigin shares the answer, whatever its status, with the request's origin if that is allowed (enable-cors). What the
// backend says of it is then replaced; for another origin nothing is added, and what the backend says stays. An answer that
// names an origin depends on it, which caches are told.
func markOrigin(x *exchange.Exchange, c *table.CORS) {
	h := x.Response
	origin, ok := corsOrigin(c, x.Header)
	if !ok {
		return
	}
	h.DelMask(corsMask)
	corsFields(c, origin, func(id h1.ID, value string) {
		_ = h.AddString(id, value) // the annotations' values were checked; an origin came as a field's value
	})
	if origin != "*" && !h.HasToken(h1.Vary, "Origin") && !h.HasToken(h1.Vary, "*") {
		_ = h.AddString(h1.Vary, "Origin")
	}
}
