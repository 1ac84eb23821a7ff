package table

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"
)

// entry is an Ingress as the Builder keeps it.
type entry struct {
	ing     *Ingress
	key     types.NamespacedName
	name    string // "namespace/name"
	created int64  // seconds
	// location is the one of the Ingress; bare is that for the requests of unknown hosts, without rewrite and redirects.
	location, bare *Location
	// refused says why nothing of the Ingress is served, "" if it is served.
	refused string
	parts   []part
	// hosts are those that the Ingress names, each once, in the order in which it names them.
	hosts []string
	// fallback is the defaultBackend, whether it is there or not.
	fallback backend
	// noRules is set for an Ingress that has a defaultBackend and nothing else.
	noRules bool
	// setsUpstream is whether the Ingress has UpstreamOptions.
	setsUpstream bool
}

// part is one path of one host that an Ingress asks for.
type part struct {
	host, path string
	pathType   networkingv1.PathType
	backend    backend
	field      string
	index      int
	// fallback is set for the defaultBackend of a canary.
	fallback bool
}

// backend is what a path of an Ingress leads to.
type backend struct {
	ref BackendRef
	// given is whether there is a backend; resource is set for one that isn't a Service.
	given, resource bool
}

// pathKey tells the claims of a host apart. ImplementationSpecific is matched as Prefix is, so it is the same claim.
type pathKey struct {
	path  string
	exact bool
}

func (p *part) key() pathKey {
	return pathKey{p.path, p.pathType == networkingv1.PathTypeExact}
}

// older is the order of Ingresses: by creationTimestamp; in the same second by namespace/name descending.
func older(a, b *entry) int {
	if c := cmp.Compare(a.created, b.created); c != 0 {
		return c
	}
	return strings.Compare(b.name, a.name)
}

func newEntry(ing *Ingress, noCatchAll bool) *entry {
	o := ing.Object
	e := &entry{
		ing: ing, key: types.NamespacedName{Namespace: o.Namespace, Name: o.Name}, name: o.Namespace + "/" + o.Name,
		created: o.CreationTimestamp.Unix(), location: &ing.Options.Location,
		fallback: backendOf(o.Namespace, o.Spec.DefaultBackend), noRules: len(o.Spec.Rules) == 0,
		setsUpstream: !ing.Options.Upstream.empty(),
	}
	if noCatchAll && o.Spec.DefaultBackend != nil {
		e.refused = "an Ingress with a spec.defaultBackend isn't served, because catch-all Ingresses are turned off (--disable-catch-all); remove spec.defaultBackend"
		return e
	}
	for i := range o.Spec.Rules {
		e.addRule(i, &o.Spec.Rules[i])
	}
	if e.noRules && e.fallback.given {
		e.addHost("")
		bare := *e.location
		bare.Rewrite, bare.Redirect, bare.UseRegex, bare.ForwardedPrefix = nil, nil, false, nil
		bare.SSLRedirect, bare.ForceSSLRedirect = false, false
		e.bare = &bare
	}
	if ing.Options.Canary != nil && e.fallback.given {
		e.parts = append(e.parts, part{path: "/", pathType: networkingv1.PathTypePrefix, backend: e.fallback, field: "spec.defaultBackend", index: len(e.parts), fallback: true})
	}
	return e
}

func (e *entry) addHost(host string) {
	if !slices.Contains(e.hosts, host) {
		e.hosts = append(e.hosts, host)
	}
}

func (e *entry) addRule(i int, r *networkingv1.IngressRule) {
	host := hostOf(r.Host)
	e.addHost(host)
	if r.HTTP == nil {
		return
	}
	for j := range r.HTTP.Paths {
		p := &r.HTTP.Paths[j]
		pt := part{
			host: host, path: p.Path, pathType: networkingv1.PathTypePrefix, backend: backendOf(e.key.Namespace, &p.Backend),
			field: "spec.rules[" + strconv.Itoa(i) + "].http.paths[" + strconv.Itoa(j) + "]", index: len(e.parts),
		}
		if pt.path == "" {
			pt.path = "/"
		}
		if p.PathType != nil {
			pt.pathType = *p.PathType
		}
		// Clouds' controllers have /path/* for all that is below /path, which is what ImplementationSpecific leaves to the
		// class. With ingress-nginx the star is a character, or part of a pattern.
		if below, ok := strings.CutSuffix(pt.path, "/*"); ok && e.ing.Class == ClassMinato && pt.pathType == networkingv1.PathTypeImplementationSpecific && !e.location.UseRegex {
			pt.path = below + "/"
		}
		e.parts = append(e.parts, pt)
	}
}

// catchesAll tells whether a rule of the host has no paths: it leads to the defaultBackend then.
func (e *entry) catchesAll(host string) bool {
	if e.noRules {
		return host == ""
	}
	return slices.ContainsFunc(e.ing.Object.Spec.Rules, func(r networkingv1.IngressRule) bool {
		return r.HTTP == nil && hostOf(r.Host) == host
	})
}

// wantsPatterns tells whether a path of the Ingress has all of its host matched as patterns: use-regex, or a
// rewrite-target that isn't the path itself.
func (e *entry) wantsPatterns(path string) bool {
	if e.location.UseRegex {
		return true
	}
	w := e.location.Rewrite
	if w == nil || len(w.Target.Parts) == 0 {
		return false
	}
	return len(w.Target.Parts) > 1 || w.Target.Parts[0].Var != VarNone || w.Target.Parts[0].Literal != path
}

// certificate returns the certificate of a Secret of spec.tls, or nil.
func (e *entry) certificate(secret string) *Certificate {
	if secret == "" {
		return nil
	}
	return e.ing.Certificates[secret]
}

func hostOf(h string) string { return strings.TrimSuffix(strings.ToLower(h), ".") }

func backendOf(namespace string, b *networkingv1.IngressBackend) backend {
	switch {
	case b == nil:
		return backend{}
	case b.Service == nil:
		return backend{given: true, resource: true}
	}
	return backend{given: true, ref: RefOf(namespace, b.Service)}
}

// RefOf returns the key of the Service's port that a path of an Ingress names.
func RefOf(namespace string, b *networkingv1.IngressServiceBackend) BackendRef {
	port := b.Port.Name
	if port == "" && b.Port.Number != 0 {
		port = strconv.Itoa(int(b.Port.Number))
	}
	return BackendRef{Namespace: namespace, Service: b.Name, Port: port}
}

// insert puts an element into a sorted slice.
func insert[T any](s []T, e T, order func(a, b T) int) []T {
	i, _ := slices.BinarySearchFunc(s, e, order)
	return slices.Insert(s, i, e)
}
