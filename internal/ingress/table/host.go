package table

import (
	"cmp"
	"maps"
	"slices"
	"strings"
)

// host is a host as the Builder keeps it. It exists for requests when a member names it; "" always does.
type host struct {
	name string
	// members are the Ingresses that name the host, without canaries; of these, optioned set HostOptions, secured make it
	// a host with TLS, and defaults have a defaultBackend. All are sorted.
	members, optioned, secured, defaults []*entry
	claims                               map[pathKey]*claim
	wanting                              int // claims whose winner has the host matched as patterns
	server                               *Server
	said                                 map[string]*entry // by annotation: whose value holds for the host
	decided                              decided
	paths                                paths       // of a host of plain paths
	depths                               []int       // how many paths have so many elements
	radix                                radix       // of a host of patterns
	names                                []nameClaim // aliases and the name with or without www.
}

func (h *host) exists() bool { return h.name == "" || len(h.members) > 0 }

// deepen counts a path of so many elements in or out.
func (h *host) deepen(elements int, in bool) {
	for len(h.depths) <= elements {
		h.depths = append(h.depths, 0)
	}
	if in {
		h.depths[elements]++
	} else {
		h.depths[elements]--
	}
	h.paths.depth = len(h.depths) - 1
	for h.paths.depth > 0 && h.depths[h.paths.depth] == 0 {
		h.paths.depth--
	}
}

func (h *host) join(e *entry) {
	h.members = insert(h.members, e, older)
	if e.setsHost() {
		h.optioned = insert(h.optioned, e, older)
	}
	if e.secures(h.name) {
		h.secured = insert(h.secured, e, older)
	}
	if e.fallback.given {
		h.defaults = insert(h.defaults, e, older)
	}
}

func (h *host) leave(e *entry) {
	gone := func(o *entry) bool { return o == e }
	h.members = slices.DeleteFunc(h.members, gone)
	h.optioned = slices.DeleteFunc(h.optioned, gone)
	h.secured = slices.DeleteFunc(h.secured, gone)
	h.defaults = slices.DeleteFunc(h.defaults, gone)
}

// fallback returns the Ingress whose defaultBackend the host's catch-all leads to: the oldest that has a rule without
// paths for this host, or that is the host's oldest Ingress. It is nil if there is none.
func (h *host) fallback() *entry {
	for _, e := range h.defaults {
		if e == h.members[0] || e.catchesAll(h.name) {
			return e
		}
	}
	return nil
}

// hostField is one field of HostOptions: whether an Ingress says it, and how it gets from one to another.
type hostField struct {
	annotation string
	zero       func(o *HostOptions) bool
	copy       func(to, from *HostOptions)
}

func hostFields() []hostField {
	return []hostField{
		{"app-root", func(o *HostOptions) bool { return o.AppRoot == "" }, func(to, from *HostOptions) { to.AppRoot = from.AppRoot }},
		{aliasAnnotation, func(o *HostOptions) bool { return len(o.Aliases)+len(o.AliasPatterns) == 0 }, func(to, from *HostOptions) {
			to.Aliases, to.AliasPatterns = from.Aliases, from.AliasPatterns
		}},
		{"from-to-www-redirect", func(o *HostOptions) bool { return !o.FromToWWW }, func(to, from *HostOptions) { to.FromToWWW = from.FromToWWW }},
		{"auth-tls-secret", func(o *HostOptions) bool { return o.ClientTLS == nil }, func(to, from *HostOptions) { to.ClientTLS = from.ClientTLS }},
		{"ssl-passthrough", func(o *HostOptions) bool { return !o.Passthrough }, func(to, from *HostOptions) { to.Passthrough = from.Passthrough }},
		{"ssl-ciphers", func(o *HostOptions) bool { return o.Ciphers == nil }, func(to, from *HostOptions) { to.Ciphers = from.Ciphers }},
		{"ssl-prefer-server-ciphers", func(o *HostOptions) bool { return o.PreferCiphers == nil }, func(to, from *HostOptions) { to.PreferCiphers = from.PreferCiphers }},
	}
}

const aliasAnnotation = "server-alias"

// hostOptions are the ones that count: an Ingress that has only a defaultBackend has no app-root.
func (e *entry) hostOptions() *HostOptions {
	if e.noRules && e.ing.Options.Host.AppRoot != "" {
		o := e.ing.Options.Host
		o.AppRoot = ""
		return &o
	}
	return &e.ing.Options.Host
}

func (e *entry) setsHost() bool {
	o := e.hostOptions()
	return slices.ContainsFunc(hostFields(), func(f hostField) bool { return !f.zero(o) })
}

// serve makes the host's Server. Where it is another one than before, all routes of the host are made anew.
func (b *Builder) serve(h *host) {
	s := &Server{Name: h.name, Patterns: h.wanting > 0}
	said := map[string]*entry{}
	for _, f := range hostFields() {
		for _, e := range h.optioned {
			if o := e.hostOptions(); !f.zero(o) {
				f.copy(&s.Options, o)
				said[f.annotation] = e
				break
			}
		}
	}
	if len(h.members) > 0 {
		s.Class = h.members[0].ing.Class
	}
	if len(h.secured) > 0 {
		s.TLS = true
		s.Certificate, _ = h.secured[0].certificateFor(h.name)
	}
	b.touchTold(h, said)
	b.rename(h, s, said[aliasAnnotation])
	b.dirtyNames[h.name] = struct{}{}
	if same(*s, *h.server) {
		return
	}
	if s.Patterns != h.server.Patterns {
		h.radix, h.depths = radix{}, nil
		h.paths = paths{places: newPmap[pathPlace](b.seed)}
		for _, c := range h.claims {
			c.placed, c.patterns = false, nil
			for _, t := range c.takers {
				b.dirtyEntries[t.e.name] = struct{}{}
			}
		}
	}
	h.server = s
	for _, c := range h.claims {
		b.routes[c] = struct{}{}
	}
}

// decided is what the findings about a host depend on besides its Server.
type decided struct {
	first, fallback, secured *entry
	rooted                   bool
}

// touchTold has the findings of those Ingresses looked at for which another one decides something now.
func (b *Builder) touchTold(h *host, said map[string]*entry) {
	var d decided
	if len(h.members) > 0 {
		d.first = h.members[0]
	}
	if h.exists() {
		d.fallback, d.rooted = h.fallback(), h.hasRootPrefix()
	}
	if len(h.secured) > 0 {
		d.secured = h.secured[0]
	}
	if d != h.decided {
		if d.secured != h.decided.secured {
			for _, e := range h.secured {
				b.dirtyEntries[e.name] = struct{}{}
			}
		}
		for _, e := range h.defaults {
			b.dirtyEntries[e.name] = struct{}{}
		}
	}
	if !maps.Equal(said, h.said) {
		for _, e := range h.optioned {
			b.dirtyEntries[e.name] = struct{}{}
		}
	}
	h.decided, h.said = d, said
}

// nameState is who asks for a name without naming it as a host.
type nameState struct{ claims []nameClaim }

// nameClaim is a host that asks for another name: as an alias, or to redirect from it.
type nameClaim struct {
	name string
	h    *host
	e    *entry // the Ingress that says so
	www  bool
}

func (c nameClaim) before(o nameClaim) int {
	if c.www != o.www {
		if o.www {
			return -1
		}
		return 1
	}
	return cmp.Or(older(c.e, o.e), strings.Compare(c.h.name, o.h.name))
}

// rename has a host ask for the names that its Server's options say.
func (b *Builder) rename(h *host, s *Server, aliased *entry) {
	var names []nameClaim
	patterned := false
	if h.exists() {
		has := func(name string) bool {
			return slices.ContainsFunc(names, func(n nameClaim) bool { return n.name == name })
		}
		for _, a := range s.Options.Aliases {
			if a = hostOf(a); a != "" && a != h.name && !has(a) {
				names = append(names, nameClaim{name: a, h: h, e: aliased})
			}
		}
		if s.Options.FromToWWW && h.name != "" && h.name[0] != '*' {
			other, had := strings.CutPrefix(h.name, "www.")
			if !had {
				other = "www." + h.name
			}
			if !has(other) {
				names = append(names, nameClaim{name: other, h: h, e: h.members[0], www: true})
			}
		}
		patterned = len(s.Options.AliasPatterns) > 0
	}
	if _, was := b.patterned[h]; was || patterned {
		b.dirtyAliases = true
		if patterned {
			b.patterned[h] = struct{}{}
		} else {
			delete(b.patterned, h)
		}
	}
	if slices.Equal(names, h.names) {
		return
	}
	for _, n := range h.names {
		st := b.names[n.name]
		b.touchName(n.name)
		st.claims = slices.DeleteFunc(st.claims, func(o nameClaim) bool { return o.h == h })
		if len(st.claims) == 0 {
			delete(b.names, n.name)
		}
	}
	for _, n := range names {
		st := b.names[n.name]
		if st == nil {
			st = &nameState{}
			b.names[n.name] = st
		}
		st.claims = insert(st.claims, n, nameClaim.before)
		b.touchName(n.name)
	}
	h.names = names
}

func (b *Builder) touchName(name string) {
	b.dirtyNames[name] = struct{}{}
	if st := b.names[name]; st != nil {
		for _, c := range st.claims {
			b.dirtyEntries[c.e.name] = struct{}{}
		}
	}
}

// publish writes the hosts and names that were touched into a table.
func (b *Builder) publish(t *Table) {
	for name := range b.dirtyNames {
		if st := b.names[name]; st != nil {
			for _, c := range st.claims {
				b.dirtyEntries[c.e.name] = struct{}{}
			}
		}
		var v *target
		if h := b.hosts[name]; h != nil && h.exists() {
			v = &target{server: h.server, paths: h.paths, radix: h.radix}
		} else if st := b.names[name]; st != nil {
			v = &target{to: st.claims[0].h.name, www: st.claims[0].www}
		}
		if name == "" {
			t.any = v
			continue
		}
		names := &t.names
		key := name
		if suffix, ok := strings.CutPrefix(name, "*."); ok {
			names, key = &t.wild, name[len(name)-len(suffix)-1:]
		}
		if v == nil {
			*names = names.del(b.gen, key)
		} else {
			*names = names.set(b.gen, key, v)
		}
	}
	if b.dirtyAliases {
		hosts := make([]*host, 0, len(b.patterned))
		for h := range b.patterned {
			hosts = append(hosts, h)
		}
		slices.SortFunc(hosts, func(a, b *host) int { return strings.Compare(a.name, b.name) })
		t.aliases = nil
		for _, h := range hosts {
			for _, re := range h.server.Options.AliasPatterns {
				t.aliases = append(t.aliases, aliasPattern{re: re, to: h.name})
			}
		}
	}
}
