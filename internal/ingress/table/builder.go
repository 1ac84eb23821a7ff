package table

import (
	"cmp"
	"hash/maphash"
	"reflect"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/types"

	"minato/internal/ingress/regex"
)

// Builder keeps the Ingresses and makes Tables of them. Only what an edit touches is made anew: the hosts, paths and
// Services that it names. What a Table says depends on the Ingresses and the settings alone, not on the order in which
// they came. A Builder is for one goroutine; its Tables are for all.
type Builder struct {
	gen       uint64
	seed      maphash.Seed
	settings  *Settings
	entries   map[string]*entry
	hosts     map[string]*host
	upstreams map[BackendRef]*upstream
	names     map[string]*nameState
	patterned map[*host]struct{} // hosts with alias patterns
	table     *Table
	unasked   *Location // that of requests that nobody asks for

	// What has been touched since the last Table.
	claims       map[*claim]struct{} // to be elected
	routes       map[*claim]struct{} // to be routed
	dirtyHosts   map[*host]struct{}
	dirtyUps     map[*upstream]struct{}
	dirtyNames   map[string]struct{}
	dirtyEntries map[string]struct{} // whose findings may have changed
	dirtyAliases bool
}

// taker is one path of one Ingress that asks for a claim.
type taker struct {
	e *entry
	p *part
}

func (t taker) before(o taker) int {
	if c := older(t.e, o.e); c != 0 {
		return c
	}
	return cmp.Compare(t.p.index, o.p.index)
}

// claim is a path of a host that Ingresses ask for, or the catch-all of the host.
type claim struct {
	host *host
	key  pathKey
	// takers and canaries are sorted; the first taker has the path.
	takers, canaries []taker
	// fallback is the Ingress whose defaultBackend the path leads to, where there is no taker.
	fallback *entry
	backend  backend
	wants    bool // whether the winner has the host matched as patterns
	user     *upstream
	attached []attachment

	route    *Route
	rivals   []Rival
	patterns []*pattern // as they are in the radix
	placed   bool       // as plain path
	re       *regex.Regexp
	reText   string
	reErr    error
}

func (c *claim) root() bool { return c.key == pathKey{path: "/"} }

// idle tells whether nothing asks for the claim any more.
func (c *claim) idle() bool {
	return len(c.takers) == 0 && len(c.canaries) == 0 && !(c.root() && c.host.exists())
}

// NewBuilder returns a Builder without Ingresses and with zero Settings.
func NewBuilder() *Builder {
	b := &Builder{
		seed:     maphash.MakeSeed(), // no answer depends on it
		settings: &Settings{}, entries: map[string]*entry{}, hosts: map[string]*host{}, upstreams: map[BackendRef]*upstream{},
		unasked: &Location{}, names: map[string]*nameState{}, patterned: map[*host]struct{}{},
		claims: map[*claim]struct{}{}, routes: map[*claim]struct{}{}, dirtyHosts: map[*host]struct{}{}, dirtyUps: map[*upstream]struct{}{},
		dirtyNames: map[string]struct{}{}, dirtyEntries: map[string]struct{}{},
	}
	b.table = &Table{settings: b.settings, names: newPmap[target](b.seed), wild: newPmap[target](b.seed), told: newPmap[told](b.seed)}
	b.touchHost(b.host(""))
	return b
}

// Set adds an Ingress, or replaces the one of the same namespace and name. Neither it nor what it refers to may be
// changed afterwards.
func (b *Builder) Set(ing *Ingress) {
	e := newEntry(ing, b.settings.NoCatchAll)
	if old := b.entries[e.name]; old != nil {
		if old.sameAs(e) {
			return
		}
		if same(old.location, e.location) {
			e.location = old.location
		}
		if same(old.bare, e.bare) {
			e.bare = old.bare
		}
		b.withdraw(old)
	}
	b.entries[e.name] = e
	b.enter(e)
}

func (e *entry) sameAs(o *entry) bool {
	return e.created == o.created && e.refused == o.refused && e.ing.Class == o.ing.Class && e.ing.ClassReason == o.ing.ClassReason && reflect.DeepEqual(e.ing.Object.Spec, o.ing.Object.Spec) &&
		same(e.ing.Options, o.ing.Options) && same(e.ing.Certificates, o.ing.Certificates)
}

// Delete removes an Ingress. One that isn't there is no error.
func (b *Builder) Delete(key types.NamespacedName) {
	name := key.Namespace + "/" + key.Name
	if e := b.entries[name]; e != nil {
		b.withdraw(e)
		delete(b.entries, name)
	}
}

// SetSettings replaces the settings, which must not be changed afterwards.
func (b *Builder) SetSettings(s *Settings) {
	old := b.settings
	b.settings = s
	if old.NoCatchAll != s.NoCatchAll {
		for _, e := range b.entries {
			if e.fallback.given {
				n := newEntry(e.ing, s.NoCatchAll)
				b.withdraw(e)
				b.entries[n.name] = n
				b.enter(n)
			}
		}
	}
	unasked := s.Location
	if unasked == nil {
		unasked = &Location{}
	}
	if same(old.DefaultBackend, s.DefaultBackend) && same(b.unasked, unasked) {
		return
	}
	if !same(b.unasked, unasked) {
		b.unasked = unasked
	}
	for _, h := range b.hosts {
		b.touchHost(h)
	}
}

// enter has an Ingress take its places.
func (b *Builder) enter(e *entry) {
	b.dirtyEntries[e.name] = struct{}{}
	if e.refused != "" {
		return
	}
	canary := e.ing.Options.Canary != nil
	if !canary {
		for _, name := range e.hosts {
			h := b.host(name)
			h.join(e)
			b.touchHost(h)
		}
	}
	for i := range e.parts {
		p := &e.parts[i]
		c := b.claim(b.host(p.host), p.key())
		if t := (taker{e, p}); canary {
			c.canaries = insert(c.canaries, t, taker.before)
		} else {
			c.takers = insert(c.takers, t, taker.before)
		}
		b.claims[c] = struct{}{}
	}
	for _, ref := range e.refs() {
		u := b.upstream(ref)
		u.members++
		if e.setsUpstream {
			u.optioned = insert(u.optioned, e, older)
		}
		b.dirtyUps[u] = struct{}{}
	}
}

// withdraw has an Ingress leave its places.
func (b *Builder) withdraw(e *entry) {
	b.dirtyEntries[e.name] = struct{}{}
	if e.refused != "" {
		return
	}
	canary := e.ing.Options.Canary != nil
	if !canary {
		for _, name := range e.hosts {
			h := b.host(name)
			h.leave(e)
			b.touchHost(h)
		}
	}
	mine := func(t taker) bool { return t.e == e }
	for i := range e.parts {
		p := &e.parts[i]
		c := b.claim(b.host(p.host), p.key())
		if canary {
			c.canaries = slices.DeleteFunc(c.canaries, mine)
		} else {
			c.takers = slices.DeleteFunc(c.takers, mine)
		}
		b.claims[c] = struct{}{}
	}
	for _, ref := range e.refs() {
		u := b.upstream(ref)
		u.members--
		if e.setsUpstream {
			u.optioned = slices.DeleteFunc(u.optioned, func(o *entry) bool { return o == e })
		}
		b.dirtyUps[u] = struct{}{}
	}
}

// refs returns the Services that an Ingress names, each once.
func (e *entry) refs() []BackendRef {
	refs := make([]BackendRef, 0, len(e.parts)+1)
	for i := range e.parts {
		if be := &e.parts[i].backend; be.given && !be.resource {
			refs = append(refs, be.ref)
		}
	}
	if e.fallback.given && !e.fallback.resource {
		refs = append(refs, e.fallback.ref)
	}
	slices.SortFunc(refs, BackendRef.compare)
	return slices.Compact(refs)
}

func (r BackendRef) compare(o BackendRef) int {
	return cmp.Or(strings.Compare(r.Namespace, o.Namespace), strings.Compare(r.Service, o.Service), strings.Compare(r.Port, o.Port))
}

func (b *Builder) host(name string) *host {
	h := b.hosts[name]
	if h == nil {
		h = &host{name: name, claims: map[pathKey]*claim{}, server: &Server{Name: name}, paths: paths{places: newPmap[pathPlace](b.seed)}}
		b.hosts[name] = h
	}
	return h
}

func (b *Builder) claim(h *host, key pathKey) *claim {
	c := h.claims[key]
	if c == nil {
		c = &claim{host: h, key: key}
		h.claims[key] = c
	}
	return c
}

func (b *Builder) upstream(ref BackendRef) *upstream {
	u := b.upstreams[ref]
	if u == nil {
		u = &upstream{ref: ref, users: map[*claim]struct{}{}, canaryOf: map[*upstream]int{}}
		b.upstreams[ref] = u
	}
	return u
}

// touchHost has the host's Server and its catch-all looked at.
func (b *Builder) touchHost(h *host) {
	b.dirtyHosts[h] = struct{}{}
	b.claims[b.claim(h, pathKey{path: "/"})] = struct{}{}
}

// Table returns the table of what the Builder has. It is the same pointer as long as nothing changes.
func (b *Builder) Table() *Table {
	if len(b.claims)+len(b.routes)+len(b.dirtyHosts)+len(b.dirtyUps)+len(b.dirtyEntries) == 0 && b.table.settings == b.settings {
		return b.table
	}
	b.gen++
	t := *b.table
	t.settings = b.settings
	for c := range b.claims {
		b.elect(c)
		b.routes[c] = struct{}{}
	}
	for h := range b.dirtyHosts {
		b.serve(h)
	}
	b.resolve()
	for c := range b.routes {
		b.place(c)
	}
	b.publish(&t)
	b.tell(&t)
	b.sweep()
	b.table = &t
	return b.table
}

// sweep forgets what nothing refers to, and what had been touched.
func (b *Builder) sweep() {
	for c := range b.routes {
		if c.idle() {
			delete(c.host.claims, c.key)
			b.dirtyHosts[c.host] = struct{}{}
		}
	}
	for h := range b.dirtyHosts {
		if h.name != "" && len(h.members) == 0 && len(h.claims) == 0 {
			delete(b.hosts, h.name)
		}
	}
	for u := range b.dirtyUps {
		if u.members+len(u.users)+len(u.canaries)+len(u.canaryOf) == 0 {
			delete(b.upstreams, u.ref)
		}
	}
	b.claims, b.routes = emptied(b.claims), emptied(b.routes)
	b.dirtyHosts, b.dirtyUps = emptied(b.dirtyHosts), emptied(b.dirtyUps)
	b.dirtyNames, b.dirtyEntries = emptied(b.dirtyNames), emptied(b.dirtyEntries)
	b.dirtyAliases = false
}

// emptied returns the set without its elements. One that was large is let go: to walk over it would cost as much as if
// it were full, at each edit.
func emptied[K comparable](m map[K]struct{}) map[K]struct{} {
	if len(m) > 256 {
		return map[K]struct{}{}
	}
	clear(m)
	return m
}
