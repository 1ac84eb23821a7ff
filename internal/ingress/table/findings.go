package table

import (
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/types"
)

// The reasons of findings.
const (
	ReasonPathTaken      = "PathTaken" // another Ingress has the path
	ReasonPathNeverMatch = "PathNeverMatches"
	ReasonPattern        = "PathPattern"    // a path is, or can't be, read as a pattern
	ReasonBackend        = "BackendRefused" // a backend that isn't a Service
	ReasonDefaultBackend = "DefaultBackendUnused"
	ReasonOption         = "OptionOverruled" // an older Ingress sets it otherwise
	ReasonAlias          = "AliasTaken"
	ReasonCanary         = "CanaryUnused"
	ReasonCertificate    = "CertificateUnused"
	ReasonRefused        = "IngressRefused"
)

// told is what is known of an Ingress besides its routes.
type told struct {
	findings    []Finding
	classReason string
}

// Findings returns what there is to say about an Ingress, in a stable order.
func (t *Table) Findings(key types.NamespacedName) []Finding {
	if x := t.told.get(key.Namespace + "/" + key.Name); x != nil {
		return x.findings
	}
	return nil
}

// ClassReason returns why an Ingress is served, as Ingress.ClassReason has it.
func (t *Table) ClassReason(namespace, name string) string {
	if x := t.told.get(namespace + "/" + name); x != nil {
		return x.classReason
	}
	return ""
}

// tell writes what is known of all Ingresses that were touched into a table.
func (b *Builder) tell(t *Table) {
	for name := range b.dirtyEntries {
		e := b.entries[name]
		if e == nil {
			t.told = t.told.del(b.gen, name)
			continue
		}
		found := b.find(e)
		if old := t.told.get(name); old == nil || old.classReason != e.ing.ClassReason || !slices.Equal(old.findings, found) {
			t.told = t.told.set(b.gen, name, &told{found, e.ing.ClassReason})
		}
	}
}

// teller collects the findings of one Ingress.
type teller struct {
	b     *Builder
	e     *entry
	found []Finding
}

func (l *teller) say(warning bool, field, reason string, message ...string) {
	l.found = append(l.found, Finding{Ingress: l.e.key, Field: field, Reason: reason, Message: strings.Join(message, ""), Warning: warning})
}

func (b *Builder) find(e *entry) []Finding {
	l := &teller{b: b, e: e}
	if e.refused != "" {
		l.say(true, "spec.defaultBackend", ReasonRefused, e.refused)
		return l.found
	}
	for i := range e.parts {
		if e.ing.Options.Canary != nil {
			l.canary(&e.parts[i])
		} else {
			l.path(&e.parts[i])
		}
	}
	if e.ing.Options.Canary == nil {
		if e.fallback.resource {
			l.say(true, "spec.defaultBackend", ReasonBackend, "the backend isn't a Service, so its requests are answered 404; name a Service")
		}
		for _, name := range e.hosts {
			l.host(b.hosts[name])
		}
	}
	if e.setsUpstream {
		for _, ref := range e.refs() {
			l.upstream(b.upstreams[ref])
		}
	}
	return l.found
}

func hostText(h string) string {
	if h == "" {
		return "of all hosts"
	}
	return "of host " + h
}

func (l *teller) path(p *part) {
	c := l.b.claim(l.b.host(p.host), p.key())
	if w := c.takers[0]; w.p != p {
		switch {
		case w.e == l.e:
			l.say(true, p.field, ReasonPathTaken, "path ", p.path, " ", hostText(p.host), " is in this Ingress before, at ", w.p.field, ", which serves it; remove one")
		default:
			l.say(true, p.field, ReasonPathTaken, "path ", p.path, " ", hostText(p.host), " is served by the older Ingress ", w.e.name, "; choose another path or remove it there")
		}
		return
	}
	if p.backend.resource {
		l.say(true, p.field, ReasonBackend, "the backend isn't a Service, so requests for path ", p.path, " are answered 404; name a Service")
	}
	if why := neverMatches(p.path); why != "" {
		l.say(true, p.field, ReasonPathNeverMatch, "path ", p.path, " never matches: requests are compared by their decoded and clean path, and this one has ", why)
	}
	if !c.host.server.Patterns {
		return
	}
	switch {
	case c.reErr != nil && c.reText == p.path && l.e.wantsPatterns(p.path):
		l.say(true, p.field, ReasonPattern, "path ", p.path, " can't be read as a pattern, so requests for this very text are answered 503: ", c.reErr.Error())
	case c.reErr != nil && c.reText == p.path:
		l.say(false, p.field, ReasonPattern, "path ", p.path, " is matched as it is written, though paths ", hostText(p.host), " are patterns: it can't be read as one")
	case !l.e.wantsPatterns(p.path) && (p.path != "/" || p.key().exact):
		l.say(false, p.field, ReasonPattern, "path ", p.path, " is matched as a pattern, in any case of letters and without an end, because another path ", hostText(p.host), " has use-regex or rewrite-target")
	}
}

// neverMatches says what of a path no request's path has, as NormalizePath makes them.
func neverMatches(path string) string {
	switch {
	case path[0] != '/':
		return "no slash at its beginning"
	case strings.Contains(path, "//"):
		return "two slashes one after the other"
	case !literalText(strings.ReplaceAll(path, ".", "")):
		return "" // the rest may be a pattern
	case !clean(path):
		for i := 0; i+2 < len(path); i++ {
			if path[i] == '%' && unhex(path[i+1]) < 16 && unhex(path[i+2]) < 16 {
				return "an escape with %; write the byte itself"
			}
		}
		if strings.Contains(path, "/./") || strings.Contains(path, "/../") || strings.HasSuffix(path, "/.") || strings.HasSuffix(path, "/..") {
			return "an element . or .."
		}
	}
	return ""
}

func (l *teller) canary(p *part) {
	c := l.b.claim(l.b.host(p.host), p.key())
	if why := c.refuses(taker{l.e, p}); why != "" {
		l.say(true, p.field, ReasonCanary, "the canary takes no requests for path ", p.path, " ", hostText(p.host), ": ", why)
		return
	}
	first := c.user.canaries[0]
	switch {
	case first.t.e != l.e:
		l.say(true, p.field, ReasonCanary, "the canary takes no requests for path ", p.path, " ", hostText(p.host), ": Service ", c.user.ref.text(), " has the older canary ", first.t.e.name, ", and it can have one")
	case first.t.p.backend.ref != p.backend.ref:
		l.say(true, p.field, ReasonCanary, "the canary takes no requests for path ", p.path, " ", hostText(p.host), ": at ", first.t.p.field, " Service ", c.user.ref.text(), " has another canary already, and it can have one")
	}
}

func (r BackendRef) text() string {
	s := r.Namespace + "/" + r.Service
	if r.Port != "" {
		s += ":" + r.Port
	}
	return s
}

func (l *teller) host(h *host) {
	o := l.e.hostOptions()
	for _, f := range hostFields() {
		if f.zero(o) {
			continue
		}
		w := h.said[f.annotation]
		var mine, theirs HostOptions
		f.copy(&mine, o)
		f.copy(&theirs, w.hostOptions())
		if w != l.e && !same(mine, theirs) {
			l.say(true, f.annotation, ReasonOption, "it doesn't hold for the paths ", hostText(h.name), ": it holds for a host as a whole, and the older Ingress ", w.name, " sets it otherwise")
		}
	}
	if l.e.noRules && l.e.ing.Options.Host.AppRoot != "" {
		l.say(true, "app-root", ReasonOption, "an Ingress without rules has no app-root; name a host")
	}
	if h.said[aliasAnnotation] == l.e {
		l.aliases(h)
	}
	if l.e.fallback.given && h.fallback() != l.e && !h.hasRootPrefix() {
		by := "the host's oldest Ingress is " + h.members[0].name + ", which decides where its other paths lead"
		if f := h.fallback(); f != nil {
			by = "the older Ingress " + f.name + " has one"
		}
		l.say(true, "spec.defaultBackend", ReasonDefaultBackend, "requests for other paths ", hostText(h.name), " don't go to it: ", by, "; add a path / of type Prefix")
	}
	if len(h.secured) > 0 && h.secured[0] == l.e {
		if _, problem := l.e.certificateFor(h.name); problem != "" {
			l.say(true, "spec.tls", ReasonCertificate, "host ", h.name, " has the default certificate: ", problem)
		}
	} else if mine, _ := l.e.certificateFor(h.name); mine != nil && l.e.secures(h.name) && !same(mine, h.server.Certificate) {
		l.say(true, "spec.tls", ReasonCertificate, "host ", h.name, " has another certificate: the older Ingress ", h.secured[0].name, " has a tls section for it, which alone counts")
	}
}

func (h *host) hasRootPrefix() bool {
	c := h.claims[pathKey{path: "/"}]
	return c != nil && len(c.takers) > 0
}

func (l *teller) aliases(h *host) {
	for _, n := range h.names {
		if n.www || n.e != l.e {
			continue
		}
		if o := l.b.hosts[n.name]; o != nil && o.exists() {
			l.say(true, aliasAnnotation, ReasonAlias, "alias ", n.name, " of host ", h.name, " is ignored, because Ingress ", o.members[0].name, " has a rule for that name")
		} else if first := l.b.names[n.name].claims[0]; first.h != h {
			l.say(true, aliasAnnotation, ReasonAlias, "alias ", n.name, " of host ", h.name, " is ignored, because the older Ingress ", first.e.name, " has it for host ", first.h.name)
		}
	}
}

func (l *teller) upstream(u *upstream) {
	mine := &l.e.ing.Options.Upstream
	for _, f := range upstreamFields() {
		if mine.Set&f.bit == 0 && f.zero(mine) {
			continue
		}
		w := f.sayer(u.optioned)
		var a, b UpstreamOptions
		f.copy(&a, mine)
		f.copy(&b, &w.ing.Options.Upstream)
		if w != l.e && !same(a, b) {
			l.say(mine.Set&f.bit != 0, f.annotation, ReasonOption, "it doesn't hold for Service ", u.ref.text(), ": it holds for a Service wherever it is used, and Ingress ", w.name, " sets it otherwise")
		}
	}
}
