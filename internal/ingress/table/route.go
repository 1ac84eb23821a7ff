package table

import (
	"crypto/tls"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"

	"minato/internal/ingress/regex"
)

// BackendRef is a Service's port as a route names it: a port's number, its name, or a target port. Its endpoints are
// looked up elsewhere, under this very key. It is comparable.
type BackendRef struct {
	Namespace, Service string
	// Port is the port as text, "" for the Service's first.
	Port string
}

// Ingress is one Ingress with all that it asks for.
type Ingress struct {
	// Object must not be changed.
	Object *networkingv1.Ingress
	Class  Class
	// ClassReason is the sentence of Classify; it is kept for Explain.
	ClassReason string
	Options     Options
	// Certificates are the certificates of spec.tls by the name of the Secret, as far as they can be used.
	Certificates map[string]*Certificate
}

// Certificate is a certificate for TLS that can be used.
type Certificate struct {
	Secret types.NamespacedName
	// Names are the DNS names that it covers, lower case, with "*." for wildcards.
	Names    []string
	NotAfter time.Time
	Pair     *tls.Certificate
}

// Route is what happens to the requests of one path of one host. It is immutable, and the same pointer as long as
// nothing of it changes.
type Route struct {
	// Namespace and Ingress name the Ingress; they are empty for what no Ingress asks for.
	Namespace, Ingress string
	Class              Class
	// Host is the rule's host, "" for all; Path and PathType are the path's.
	Host, Path string
	PathType   networkingv1.PathType
	// Generated is set for the catch-all "/" of a host that no rule asks for.
	Generated bool
	// Backend is nil where there is none: the answer is then NoBackend.
	Backend *Upstream
	// NoBackend is the status of a route without backend: 404, or 503 with a Fault.
	NoBackend int
	// Fault, if not "", says why all requests are answered 503.
	Fault    string
	Location *Location
	Server   *Server
	// Affinity is set for the paths of an Ingress that asks for affinity itself: they alone set the session cookie, while
	// the Service's other paths follow it.
	Affinity bool
	// Pattern is the path as a pattern, in a host of patterns; nil for a path without operators, which is compared as it is.
	Pattern *regex.Regexp
}

// Rival is an Ingress that asks for a path which another one has.
type Rival struct{ Namespace, Ingress string }

// Server is what holds for a host as a whole.
type Server struct {
	// Name is the host, "*.example.com" for a wildcard, "" for all other hosts.
	Name string
	// TLS is whether an Ingress of this host has a tls section that makes it a host with TLS.
	TLS bool
	// Certificate is nil for the default one.
	Certificate *Certificate
	Options     HostOptions
	// Patterns is whether paths are matched as patterns (use-regex, rewrite-target).
	Patterns bool
	// Class is that of the host's oldest Ingress.
	Class Class
}

// Upstream is a backend with what applies to it wherever it is used.
type Upstream struct {
	BackendRef
	Options UpstreamOptions
	// Canaries may take part of the requests.
	Canaries []CanaryUpstream
}

// CanaryUpstream is an Upstream that takes part of the requests to another.
type CanaryUpstream struct {
	Namespace, Ingress string
	Canary             Canary
	Upstream           *Upstream
}

// Finding is what somebody should know about an Ingress: a path that another Ingress has, a field that can't be honoured.
type Finding struct {
	// Kind is that of the object: "" for an Ingress, ConfigMap for one of settings.
	Kind    string
	Ingress types.NamespacedName
	// Field is the path of the field or the annotation's name.
	Field string
	// Reason is the reason of an event: one word in CamelCase. Message says what is not done, why, and the remedy.
	Reason, Message string
	Warning         bool
}
