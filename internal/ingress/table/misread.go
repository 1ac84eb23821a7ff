package table

import "strings"

// Rewrites tells whether the backend gets another path than the one that was received. A target that is the rule's path does
// nothing.
func (r *Route) Rewrites() bool {
	if r.Location == nil || r.Location.Rewrite == nil {
		return false
	}
	p := r.Location.Rewrite.Target.Parts
	return len(p) > 1 || len(p) == 1 && (p[0].Var != VarNone || p[0].Literal != r.Path)
}

// Misread returns a route whose guards, be they addresses or credentials, a request would get past if its backend reads the
// path otherwise than Match has read it, nil if there is none: the answer to such a request is 400. raw is the path as the
// backend gets it, flags are those of NormalizePath, and m is the match. Two other readings are known: that of a server that
// resolves no elements of dots and takes no escaped slash for one, to which /closed/..%2Fopen is below /closed; and that of one
// that cuts parameters off elements, or takes backslashes for slashes, to which /closed;a and /open/..;/closed are /closed.
func (t *Table) Misread(host, raw string, flags PathFlags, m *Match) *Route {
	if m.Route == nil || m.Route.Rewrites() {
		return nil
	}
	var other Match
	differs := func(path string) bool {
		t.Match(host, path, &other)
		return other.Err != nil || other.Route != nil && guardsMore(other.Route, m.Route)
	}
	if flags&(PathDots|PathSlash) != 0 && differs(literalPath(raw)) {
		return other.Route
	}
	if strings.IndexByte(raw, ';') < 0 && strings.IndexByte(raw, '\\') < 0 && flags&PathSlash == 0 {
		return nil
	}
	path, _, err := NormalizePath(nil, plainElements(raw))
	if err == nil && differs(path) {
		return other.Route
	}
	return nil
}

// guardsMore tells whether a route asks for something of clients that another one doesn't.
func guardsMore(r, than *Route) bool {
	a, b := r.Location, than.Location
	if a == b || a == nil {
		return false
	}
	if r.Fault != "" && !r.Generated {
		return true // it is closed, whatever it would have asked for
	}
	if r.Backend == nil {
		return false
	}
	if len(a.Deny) == 0 && a.Allow == nil && a.Basic == nil && a.External == nil {
		return false
	}
	return b == nil || a.Satisfy != b.Satisfy || !same(a.Deny, b.Deny) || !same(a.Allow, b.Allow) || !same(a.Basic, b.Basic) || !same(a.External, b.External)
}

// literalPath decodes the escapes of a path but for those of slashes and backslashes, and changes nothing else.
func literalPath(raw string) string {
	var b strings.Builder
	for i := 0; i < len(raw); i++ {
		c := raw[i]
		if c == '%' && i+2 < len(raw) && unhex(raw[i+1]) <= 15 && unhex(raw[i+2]) <= 15 {
			d := unhex(raw[i+1])<<4 | unhex(raw[i+2])
			if d != '/' && d != '\\' {
				b.WriteByte(d)
				i += 2
				continue
			}
		}
		b.WriteByte(c)
	}
	return b.String()
}

// plainElements cuts the parameters off the elements of a path, and makes its backslashes slashes. Escapes stay.
func plainElements(raw string) string {
	raw = strings.NewReplacer(`\`, "/", "%5c", "/", "%5C", "/").Replace(raw)
	elements := strings.Split(raw, "/")
	for i, e := range elements {
		elements[i], _, _ = strings.Cut(e, ";")
	}
	return strings.Join(elements, "/")
}
