package table

import (
	"strings"

	"minato/internal/ingress/regex"
)

// Table says where requests go. It is immutable and may be used by any number of goroutines.
type Table struct {
	settings *Settings
	names    pmap[target]
	// wild has the wildcard hosts by what follows the star: ".example.com".
	wild    pmap[target]
	aliases []aliasPattern
	any     *target
	told    pmap[told] // by namespace/name of the Ingress
}

// target is what a name leads to: a host of its own, or another host, as an alias or by a redirect.
type target struct {
	server *Server // nil without a host of its own
	paths  paths   // of a host of plain paths
	radix  radix   // of a host of patterns
	to     string
	www    bool
}

type aliasPattern struct {
	re *regex.Regexp
	to string
}

// how is the way in which a host was found.
type how uint8

const (
	byName how = iota
	byAlias
	byWWW
	byWildcard
	byPattern
	byDefault
)

// Match is the answer of Table.Match. Its zero value is ready; it may be used again, which saves allocations.
type Match struct {
	// Route is never nil, but for a redirect to RedirectHost.
	Route *Route
	// Server is that of the host that was found; it is never nil.
	Server *Server
	// RedirectHost is the host to which all requests of this one are redirected, with www. or without
	// (from-to-www-redirect); "" if they aren't.
	RedirectHost string
	// Captures are pairs of offsets in the path: the whole match, then the groups; -1 where a group took no part. In a
	// host without patterns they are empty.
	Captures []int
	// TLS is whether the host is one with TLS, as Table.TLS has it. It is only set where the route's ssl-redirect asks.
	TLS bool
	// Err is set where a pattern took too many steps: whether it matches isn't known, and Route is the pattern's. The
	// answer must be 500, as trying others could skip what guards the path.
	Err error
}

// Settings returns the settings that the table was made with.
func (t *Table) Settings() *Settings { return t.settings }

// Match finds the route of a request. The host is that of the Host header, with or without a port; the path is decoded
// and clean, as NormalizePath makes it. A host that exists never falls back to a wildcard or to paths without host.
// Where no rule matches, the route is a generated one.
func (t *Table) Match(host, path string, m *Match) {
	m.Route, m.Server, m.RedirectHost, m.Captures, m.TLS, m.Err = nil, nil, "", m.Captures[:0], false, nil
	name := normalHost(host)
	h, how, to := t.find(name)
	m.Server = h.server
	if how == byWWW {
		m.RedirectHost = to
		return
	}
	if path == "" || path[0] != '/' {
		// An asterisk (OPTIONS *) is asked of the host as a whole.
		path = "/"
	}
	if h.server.Patterns {
		h.radix.firstPattern(path, m)
	} else {
		m.Route = h.paths.find(path)
	}
	m.TLS = m.Route.Location.SSLRedirect && t.secure(name, h, how)
}

// find returns the host that a name in lower case belongs to: exact names and aliases first, then wildcards, then
// patterns, then the rules without host. For a redirect, to is the host redirected to.
func (t *Table) find(name string) (h *target, by how, to string) {
	if v := t.names.get(name); v != nil {
		if v.server != nil {
			return v, byName, ""
		}
		by := byAlias
		if v.www {
			by = byWWW
		}
		if h := t.named(v.to); h != nil {
			return h, by, v.to
		}
	}
	if w := t.wildcard(name); w != nil {
		return w, byWildcard, ""
	}
	for i := range t.aliases {
		a := &t.aliases[i]
		// A pattern that takes too many steps doesn't match: the name then has no host, which opens nothing.
		if ok, err := a.re.Match(name); ok && err == nil {
			if h := t.named(a.to); h != nil {
				return h, byPattern, a.to
			}
		}
	}
	return t.any, byDefault, ""
}

// named returns the host that rules name so.
func (t *Table) named(name string) *target {
	if name == "" {
		return t.any
	}
	v := t.names.get(name)
	if name[0] == '*' {
		v = t.wild.get(name[1:])
	}
	if v == nil || v.server == nil {
		return nil
	}
	return v
}

// wildcard returns the wildcard host of a name, or nil. The star is one label of letters, digits, "_" and "-".
func (t *Table) wildcard(name string) *target {
	if t.wild.len == 0 {
		return nil
	}
	i := strings.IndexByte(name, '.')
	if i <= 0 || !wordLabel(name[:i]) {
		return nil
	}
	v := t.wild.get(name[i:])
	if v != nil && v.server == nil {
		return t.named(v.to)
	}
	return v
}

func wordLabel(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '_' || c == '-') {
			return false
		}
	}
	return true
}

// normalHost returns a host without its port and trailing dot, in lower case. It allocates only for capitals.
func normalHost(h string) string {
	if i := strings.LastIndexByte(h, ':'); i >= 0 && strings.IndexByte(h[i:], ']') < 0 {
		// What has several colons and no brackets is an address of IPv6, not a host with a port.
		if h[0] == '[' || strings.IndexByte(h[:i], ':') < 0 {
			h = h[:i]
		}
	}
	return lowerASCII(strings.TrimSuffix(h, "."))
}
