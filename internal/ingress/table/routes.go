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

// Servers returns the Servers of all hosts that rules name, by name, and last the one of all other hosts.
func (t *Table) Servers() []*Server {
	var servers []*Server
	for _, h := range t.hosts() {
		servers = append(servers, h.server)
	}
	return servers
}

// hosts returns the hosts that rules name, by name, and last the one without name.
func (t *Table) hosts() []*target {
	var hosts []*target
	take := func(_ string, v *target) {
		if v.server != nil {
			hosts = append(hosts, v)
		}
	}
	t.names.all(take)
	t.wild.all(take)
	slices.SortFunc(hosts, func(a, b *target) int { return strings.Compare(a.server.Name, b.server.Name) })
	return append(hosts, t.any)
}

func (h *target) routes(routes []*Route) []*Route {
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
func (h *target) ordered() []candidate {
	if !h.server.Patterns {
		return h.paths.candidates()
	}
	var all []candidate
	h.radix.all(func(_ string, p *place) {
		for _, x := range p.patterns {
			all = append(all, candidate{route: x.route, rivals: x.rivals, pattern: x})
		}
	})
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
