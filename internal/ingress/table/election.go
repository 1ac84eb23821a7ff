package table

import (
	"slices"

	networkingv1 "k8s.io/api/networking/v1"

	"minato/internal/ingress/regex"
)

// elect decides who has a path, and which canaries hang on its Service.
func (b *Builder) elect(c *claim) {
	h := c.host
	c.fallback, c.backend = nil, backend{}
	wants := false
	switch {
	case len(c.takers) > 0:
		w := c.takers[0]
		c.backend, wants = w.p.backend, w.e.wantsPatterns(c.key.path)
	case c.root() && h.exists():
		if c.fallback = h.fallback(); c.fallback != nil {
			c.backend = c.fallback.fallback
		} else if d := b.settings.DefaultBackend; d != nil {
			c.backend = backend{given: true, ref: *d}
		}
	}
	if wants != c.wants {
		c.wants = wants
		if wants {
			h.wanting++
		} else {
			h.wanting--
		}
		b.dirtyHosts[h] = struct{}{}
	}
	var user *upstream
	if c.backend.given && !c.backend.resource {
		user = b.upstream(c.backend.ref)
	}
	if user != c.user {
		if c.user != nil {
			delete(c.user.users, c)
			b.dirtyUps[c.user] = struct{}{}
		}
		if user != nil {
			user.users[c] = struct{}{}
			b.dirtyUps[user] = struct{}{}
		}
		c.user = user
	}
	b.attach(c)
	for _, t := range c.takers {
		b.dirtyEntries[t.e.name] = struct{}{}
	}
	for _, t := range c.canaries {
		b.dirtyEntries[t.e.name] = struct{}{}
	}
}

// attach hangs the canaries of a path on the path's Service.
func (b *Builder) attach(c *claim) {
	for _, a := range c.attached {
		b.dirtyUps[a.primary] = struct{}{}
		a.primary.canaries = slices.DeleteFunc(a.primary.canaries, func(o attachment) bool { return o.c == c })
		if a.own.canaryOf[a.primary]--; a.own.canaryOf[a.primary] == 0 {
			delete(a.own.canaryOf, a.primary)
		}
		b.dirtyUps[a.own] = struct{}{}
	}
	c.attached = nil
	for _, t := range c.canaries {
		if c.refuses(t) != "" {
			continue
		}
		a := attachment{c: c, t: t, primary: c.user, own: b.upstream(t.p.backend.ref)}
		c.attached = append(c.attached, a)
		c.user.canaries = insert(c.user.canaries, a, attachment.before)
		a.own.canaryOf[c.user]++
		b.dirtyUps[c.user] = struct{}{}
		b.dirtyUps[a.own] = struct{}{}
	}
}

// refuses says why a canary can't take requests of the path, "" if it can.
func (c *claim) refuses(t taker) string {
	switch {
	case t.e.ing.Options.Fault != "":
		return "it can't be honoured: " + t.e.ing.Options.Fault
	case t.p.backend.resource || !t.p.backend.given:
		return "its backend isn't a Service"
	case t.p.fallback && c.fallback == nil:
		return "no Ingress has a spec.defaultBackend for the requests of unknown hosts, of which it could be the canary"
	case !t.p.fallback && len(c.takers) == 0:
		return "no other Ingress has this host and path, of which it could be the canary"
	case !t.p.fallback && c.takers[0].p.pathType != t.p.pathType:
		return "Ingress " + c.takers[0].e.name + " has this host and path with pathType " + string(c.takers[0].p.pathType) + "; write the same pathType"
	case c.user == nil:
		return "the path's own backend isn't a Service"
	case c.user.ref == t.p.backend.ref:
		return "its Service and port are those of the path itself; name another Service"
	}
	return ""
}

// place makes the route of a path and puts it where requests find it.
func (b *Builder) place(c *claim) {
	h := c.host
	var r *Route
	if h.exists() && (len(c.takers) > 0 || c.root()) {
		r = b.routeOf(c)
		if c.route != nil && *c.route == *r {
			r = c.route
		}
	}
	rivals := c.losers()
	plain := !h.server.Patterns
	if r == c.route && slices.Equal(rivals, c.rivals) && (r == nil || plain && c.placed || !plain && c.patterns != nil) {
		return
	}
	b.unplace(c)
	c.route, c.rivals = r, rivals
	b.dirtyNames[h.name] = struct{}{}
	switch {
	case r == nil:
	case plain:
		c.placed = true
		b.setPlain(c, r, rivals)
	default:
		b.setPatterns(c, r, rivals)
	}
}

func (c *claim) losers() []Rival {
	if len(c.takers) < 2 {
		return nil
	}
	rivals := make([]Rival, 0, len(c.takers)-1)
	for _, t := range c.takers[1:] {
		rivals = append(rivals, Rival{Namespace: t.e.key.Namespace, Ingress: t.e.key.Name})
	}
	return rivals
}

// unplace takes a path away from where requests find it. Where a plain path is replaced by another version, setting is enough.
func (b *Builder) unplace(c *claim) {
	if c.placed {
		c.placed = false
		b.setPlain(c, nil, nil)
	}
	for _, p := range c.patterns {
		c.host.radix = c.host.radix.update(b.gen, p.literal(), func(old *place) *place {
			kept := slices.DeleteFunc(slices.Clone(old.patterns), func(o *pattern) bool { return o == p })
			return &place{patterns: kept}
		})
	}
	c.patterns = nil
}

func (b *Builder) setPlain(c *claim, r *Route, rivals []Rival) {
	c.host.paths = c.host.paths.set(b.gen, c.key, r, rivals)
	c.host.deepen(c.key.depthOf(), r != nil)
}

func (b *Builder) setPatterns(c *claim, r *Route, rivals []Rival) {
	for _, text := range c.texts() {
		p := &pattern{text: text, exact: c.key.exact, route: r, rivals: rivals, re: r.Pattern}
		if p.re != nil && text != c.key.path {
			p.re = c.slashed()
		}
		c.patterns = append(c.patterns, p)
		c.host.radix = c.host.radix.update(b.gen, p.literal(), func(old *place) *place {
			n := &place{}
			if old != nil {
				n.patterns = old.patterns
			}
			at, _ := slices.BinarySearchFunc(n.patterns, p, func(a, b *pattern) int {
				if a.before(b) {
					return -1
				}
				return 1
			})
			n.patterns = slices.Insert(slices.Clone(n.patterns), at, p)
			return n
		})
	}
}

// texts returns the patterns that a path stands for: a Prefix of an Ingress without rewrite and patterns has two.
func (c *claim) texts() []string {
	path := c.key.path
	if c.key.exact || path[len(path)-1] == '/' || len(c.takers) > 0 && c.takers[0].e.wantsPatterns(path) {
		return []string{path}
	}
	return []string{path + "/", path}
}

// compile returns the path's pattern, nil where it has no operator. Where it is no pattern, its error is kept.
func (c *claim) compile() *regex.Regexp {
	if c.reText != c.key.path {
		c.reText, c.re, c.reErr = c.key.path, nil, nil
		if !literalText(c.key.path) {
			c.re, c.reErr = regex.Compile("^"+regex.Unquote(c.key.path), regex.Options{IgnoreCase: true})
		}
	}
	return c.re
}

// slashed is the pattern of the path with a slash behind it.
func (c *claim) slashed() *regex.Regexp {
	re, err := regex.Compile("^"+regex.Unquote(c.key.path)+"/", regex.Options{IgnoreCase: true})
	if err != nil {
		return c.re
	}
	return re
}

// routeOf makes the route of a path from its winner, or of a catch-all from the host's oldest Ingress.
func (b *Builder) routeOf(c *claim) *Route {
	h := c.host
	r := &Route{Host: h.name, Path: c.key.path, PathType: networkingv1.PathTypePrefix, Server: h.server, NoBackend: 404}
	var by *entry
	if len(c.takers) > 0 {
		w := c.takers[0]
		by, r.PathType, r.Location = w.e, w.p.pathType, w.e.location
		r.Affinity = w.e.ing.Options.Upstream.Affinity != nil
	} else {
		r.Generated = true
		if by = c.fallback; by == nil && len(h.members) > 0 {
			by = h.members[0]
		}
		switch {
		case by == nil:
			r.Location = b.unasked
		case by.bare != nil:
			r.Location = by.bare
		default:
			r.Location = by.location
		}
	}
	if by != nil {
		r.Namespace, r.Ingress, r.Class, r.Fault = by.key.Namespace, by.key.Name, by.ing.Class, by.ing.Options.Fault
	}
	if h.server.Patterns && !r.Generated {
		r.Pattern = c.compile()
		if c.reErr != nil && r.Fault == "" && by.wantsPatterns(c.key.path) {
			r.Fault = "path " + c.key.path + " can't be read as a pattern: " + c.reErr.Error()
		}
	}
	switch {
	case r.Fault != "":
		r.NoBackend = 503
	case c.user != nil:
		r.Backend, r.NoBackend = c.user.full, 0
	}
	return r
}
