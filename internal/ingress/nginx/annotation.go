package nginx

import (
	"slices"
	"sync"
)

// DefaultPrefix is the prefix of annotations unless another one is set (--annotations-prefix).
const DefaultPrefix = "nginx.ingress.kubernetes.io"

// Scope is what an annotation applies to.
type Scope string

// The scopes. Of several Ingresses that set an annotation of ScopeHost or ScopeUpstream, the oldest one wins.
const (
	// ScopeLocation is each path of the Ingress.
	ScopeLocation Scope = "paths"
	// ScopeHost is each host of the Ingress.
	ScopeHost Scope = "host"
	// ScopeUpstream is each Service of the Ingress, wherever it is used.
	ScopeUpstream Scope = "service"
)

// Support says how far an annotation is honoured.
type Support string

// The degrees of support.
const (
	Honoured Support = "honoured"
	// Differs: it is honoured, and something is not as in ingress-nginx.
	Differs Support = "differs"
	Refused Support = "refused"
)

// Bad is what happens with a value that can't be used. A finding names it in each case.
type Bad string

// What happens with such a value.
const (
	// BadDefault: it is as if the annotation were absent.
	BadDefault Bad = "default"
	// BadCloses: all paths of the Ingress answer 503.
	BadCloses Bad = "503"
	// BadClosesHost: all paths of the host answer 403.
	BadClosesHost Bad = "403"
)

// Annotation is one annotation that ingress-nginx knows. The list of them is what is read, documented and reported.
type Annotation struct {
	// Name is without the prefix.
	Name    string
	Group   string
	Scope   Scope
	Support Support
	Bad     Bad
	// Values says in words which values it takes, Default what holds without it; Example is a value that can be used.
	Values, Default, Example string
	// Key tells that a key of the ConfigMap with the same name sets the default.
	Key bool
	// Note says what it does; Difference what is not as in ingress-nginx. An annotation that is Honoured has one if it
	// concerns some values alone, which findings then tell of.
	Note, Difference string
	// Needs are annotations of which one must be there for this one to act.
	Needs []string
	// AliasOf is the annotation that this one is another name of.
	AliasOf string
}

// known is the list of annotations, made once, in the order of the documentation.
var known = sync.OnceValue(func() (list struct {
	all    []Annotation
	byName map[string]*Annotation
}) {
	list.all = slices.Concat(
		rewriteAnnotations(),
		redirectAnnotations(),
		hostAnnotations(),
		corsAnnotations(),
		accessAnnotations(),
		basicAnnotations(),
		externalAnnotations(),
		clientTLSAnnotations(),
		backendAnnotations(),
		backendTLSAnnotations(),
		proxyAnnotations(),
		balanceAnnotations(),
		canaryAnnotations(),
		errorAnnotations(),
		observeAnnotations(),
		refusedAnnotations(),
	)
	list.byName = make(map[string]*Annotation, len(list.all))
	for i := range list.all {
		list.byName[list.all[i].Name] = &list.all[i]
	}
	return list
})

// Lookup returns the annotation of a name without prefix.
func Lookup(name string) (Annotation, bool) {
	a, ok := known().byName[name]
	if !ok {
		return Annotation{}, false
	}
	return *a, true
}
