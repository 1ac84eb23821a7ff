package filter

import (
	"slices"
	"strconv"

	"minato/internal/ingress/exchange"
	"minato/internal/ingress/h1"
	"minato/internal/ingress/table"
)

// replace returns the backend whose answer is given in place of one of an endpoint, or in place of the proxy's where there is
// no endpoint or none has answered (custom-http-errors, default-backend). What answers is asked for the path "/" with the
// request's method and body, and its status is the client's; for a backend without endpoints, default-backend is asked
// for the path that was asked for. A refusal (401, 403, 413, the 503 of a limit) is replaced too, after it was made: what
// another server says about a request never passes here (CVE-2026-24513).
func (a *after) replace(x *exchange.Exchange, status int) *table.BackendRef {
	loc := x.Location()
	if loc == nil {
		return nil
	}
	nobody := !x.FromBackend && !x.Refused && len(x.Attempts) == 0
	ref := loc.ErrorsBackend
	switch {
	case nobody && ref != nil:
		// The path is kept.
	case !slices.Contains(loc.CustomErrors, status), x.FromBackend && loc.KeepErrors:
		return nil
	default:
		if ref == nil {
			ref = x.Settings.DefaultBackend
		}
		if ref == nil {
			return nil
		}
		x.RewrittenTarget = "/"
	}
	explain(x, status)
	a.state(x).replaced = true
	return ref
}

// explain tells the backend of error pages what it answers for. A client's own fields of these names are replaced.
func explain(x *exchange.Exchange, status int) {
	h := &x.Forward
	var digits [20]byte
	set := func(name, value string) {
		if h.SetName(name, value) != nil {
			h.DelName(name)
		}
	}
	_ = h.SetName("X-Code", view(strconv.AppendInt(digits[:0], int64(status), 10)))
	set("X-Format", view(x.Header.Get(h1.Accept)))
	set("X-Original-URI", x.Target)
	set("X-Namespace", x.Lookup(table.VarNamespace, ""))
	set("X-Ingress-Name", x.Lookup(table.VarIngressName, ""))
	set("X-Service-Name", x.Lookup(table.VarServiceName, ""))
	set("X-Service-Port", x.Lookup(table.VarServicePort, ""))
	set("X-Request-ID", x.RequestID)
}
