package table

import (
	"slices"
	"strings"
)

// Routes returns all routes: by host, those without host last; in each host in the order in which they are tried:
// patterns as matching has them, else paths by text, Exact first.
func (t *Table) Routes() []*Route {
	var routes []*Route
	for _, h := range t.hosts() {
		routes = h.routes(routes)
	}
	return routes
}

// hosts returns the hosts that rules name, by name, and last the one without name.
func (t *Table) hosts() []*hostTable {
	var hosts []*hostTable
	take := func(_ string, v target) {
		if v.host != nil {
			hosts = append(hosts, v.host)
		}
	}
	t.names.all(take)
	t.wild.all(take)
	slices.SortFunc(hosts, func(a, b *hostTable) int { return strings.Compare(a.server.Name, b.server.Name) })
	return append(hosts, t.any)
}

func (h *hostTable) routes(routes []*Route) []*Route {
	for _, p := range h.ordered() {
		if !p.again {
			routes = append(routes, p.route)
		}
	}
	return routes
}

// candidate is a path of a host that requests may take.
type candidate struct {
	route  *Route
	rivals []Rival
	// pattern is nil in a host of plain paths. Again is set for the second pattern of a route.
	pattern *pattern
	again   bool
}

// ordered returns what a host has, in the order in which it is tried.
func (h *hostTable) ordered() []candidate {
	var all []candidate
	h.radix.all(func(_ string, p *place) {
		if p.exact != nil {
			all = append(all, candidate{route: p.exact, rivals: p.exactRivals})
		}
		if p.prefix != nil {
			all = append(all, candidate{route: p.prefix, rivals: p.prefixRivals})
		}
		for _, x := range p.patterns {
			all = append(all, candidate{route: x.route, rivals: x.rivals, pattern: x})
		}
	})
	if !h.server.Patterns {
		return all
	}
	slices.SortFunc(all, func(a, b candidate) int {
		if a.pattern.before(b.pattern) {
			return -1
		}
		return 1
	})
	seen := map[*Route]bool{}
	for i := range all {
		all[i].again = seen[all[i].route]
		seen[all[i].route] = true
	}
	return all
}
