package table

import (
	"cmp"
	"slices"
	"strings"
)

// upstream is a Service's port as the Builder keeps it.
type upstream struct {
	ref BackendRef
	// members is how many Ingresses name it; optioned are those of them that set UpstreamOptions, sorted. Users are the
	// paths that lead to it.
	members  int
	optioned []*entry
	users    map[*claim]struct{}
	// canaries hang on it, sorted: the first takes part. canaryOf are those on which it hangs itself.
	canaries []attachment
	canaryOf map[*upstream]int
	options  UpstreamOptions
	full     *Upstream
}

// attachment is a canary's path that hangs on the Service of another path.
type attachment struct {
	c            *claim
	t            taker
	primary, own *upstream
}

func (a attachment) before(o attachment) int {
	return cmp.Or(older(a.t.e, o.t.e), cmp.Compare(a.t.p.index, o.t.p.index), strings.Compare(a.c.host.name, o.c.host.name))
}

// resolve makes the Upstreams that were touched, and has the paths routed anew whose Upstream is another one now.
func (b *Builder) resolve() {
	hanging := map[*upstream]struct{}{}
	for u := range b.dirtyUps {
		if o := mergeUpstream(u.optioned); !same(o, u.options) {
			u.options = o
			for p := range u.canaryOf {
				hanging[p] = struct{}{}
			}
		}
		for _, e := range u.optioned {
			b.dirtyEntries[e.name] = struct{}{}
		}
		for _, a := range u.canaries {
			b.dirtyEntries[a.t.e.name] = struct{}{}
		}
	}
	for u := range hanging {
		b.dirtyUps[u] = struct{}{}
	}
	for u := range b.dirtyUps {
		full := u.build()
		if u.full != nil && same(*full, *u.full) {
			continue
		}
		u.full = full
		for c := range u.users {
			b.routes[c] = struct{}{}
		}
	}
}

// build makes the Upstream. That of a canary has no canaries itself, so that a Service can be a primary and a canary at
// once, even of each other.
func (u *upstream) build() *Upstream {
	full := &Upstream{BackendRef: u.ref, Options: u.options}
	if len(u.canaries) == 0 {
		return full
	}
	a := u.canaries[0]
	own := &Upstream{BackendRef: a.own.ref, Options: a.own.options}
	if mine := a.t.e.ing.Options.Upstream.Affinity; mine == nil || !mine.CanaryLegacy {
		if u.options.Affinity != nil {
			own.Options.Affinity = u.options.Affinity
		}
	}
	canary := *a.t.e.ing.Options.Canary
	canary.Header = lowerASCII(canary.Header)
	full.Canaries = []CanaryUpstream{{Namespace: a.t.e.key.Namespace, Ingress: a.t.e.key.Name, Canary: canary, Upstream: own}}
	return full
}

// upstreamField is one field of UpstreamOptions: whether an Ingress says it, and how it gets from one to another.
type upstreamField struct {
	annotation string
	bit        UpstreamFields
	zero       func(o *UpstreamOptions) bool
	copy       func(to, from *UpstreamOptions)
}

func upstreamFields() []upstreamField {
	return []upstreamField{
		{"service-upstream", SetServiceUpstream, func(o *UpstreamOptions) bool { return !o.ServiceUpstream }, func(to, from *UpstreamOptions) { to.ServiceUpstream = from.ServiceUpstream }},
		{"load-balance", SetLoadBalance, func(o *UpstreamOptions) bool { return o.LoadBalance == RoundRobin }, func(to, from *UpstreamOptions) { to.LoadBalance = from.LoadBalance }},
		{"upstream-hash-by", SetHashBy, func(o *UpstreamOptions) bool { return o.HashBy == nil }, func(to, from *UpstreamOptions) { to.HashBy, to.HashSubset = from.HashBy, from.HashSubset }},
		{"affinity", SetAffinity, func(o *UpstreamOptions) bool { return o.Affinity == nil }, func(to, from *UpstreamOptions) { to.Affinity = from.Affinity }},
	}
}

func (o *UpstreamOptions) empty() bool {
	return o.Set == 0 && !slices.ContainsFunc(upstreamFields(), func(f upstreamField) bool { return !f.zero(o) })
}

// sayer returns the Ingress that decides a field: the oldest that sets it itself, else the oldest that has a value.
func (f *upstreamField) sayer(members []*entry) *entry {
	var valued *entry
	for _, e := range members {
		o := &e.ing.Options.Upstream
		if o.Set&f.bit != 0 {
			return e
		}
		if valued == nil && !f.zero(o) {
			valued = e
		}
	}
	return valued
}

// mergeUpstream takes each field from the oldest Ingress that sets it.
func mergeUpstream(members []*entry) (o UpstreamOptions) {
	if len(members) == 0 {
		return o
	}
	for _, f := range upstreamFields() {
		if e := f.sayer(members); e != nil {
			f.copy(&o, &e.ing.Options.Upstream)
		}
	}
	return o
}
