package table

import (
	"slices"
	"strconv"
	"strings"
)

// Request is what Explain is asked about.
type Request struct {
	// Host is as in the Host header. RawPath is the target's path as it is received, without query.
	Host, RawPath string
	// Lookup answers for headers and cookies; nil has none.
	Lookup Lookup
	// Random decides by weight, as Choose has it.
	Random uint32
	// SNI is the name of the TLS handshake, if there is one.
	SNI *string
}

// Explanation says where a request goes and why. It is made by the functions that steer requests.
type Explanation struct {
	// Path is the one that was matched; PathNotes say in what it differs from what was received.
	Path      string   `json:"path"`
	PathNotes []string `json:"pathNotes,omitempty"`
	// Status is that of a request that gets no further: 400, 308, 421, 500, 503, 404. It is 0 where a backend is asked.
	Status int    `json:"status,omitempty"`
	Reason string `json:"reason,omitempty"`
	// Host is the host that was chosen, "" for the rules without host.
	Host       string   `json:"host"`
	HostReason string   `json:"hostReason"`
	OtherHosts []string `json:"otherHosts,omitempty"`
	// Candidates are the paths of the host that match, the chosen one first.
	Candidates []Candidate `json:"candidates,omitempty"`
	// Namespace, Ingress and ClassReason are the route's.
	Namespace   string `json:"namespace,omitempty"`
	Ingress     string `json:"ingress,omitempty"`
	ClassReason string `json:"classReason,omitempty"`
	// Backend is the Service that is asked; BackendReason says why it, where there is a canary.
	Backend       string   `json:"backend,omitempty"`
	BackendReason string   `json:"backendReason,omitempty"`
	Captures      []string `json:"captures,omitempty"`
	Steps         []string `json:"steps,omitempty"`

	Route  *Route          `json:"-"`
	Server *Server         `json:"-"`
	Chosen *Upstream       `json:"-"`
	Canary *CanaryUpstream `json:"-"`
}

// Candidate is a path that matches a request.
type Candidate struct {
	Ingress  string `json:"ingress"` // namespace/name, "" for a generated path
	Path     string `json:"path"`
	PathType string `json:"pathType"`
	Chosen   bool   `json:"chosen"`
	Reason   string `json:"reason"`
}

// Explain says where a request goes, what else matched, and why that lost.
func (t *Table) Explain(r Request) *Explanation {
	x := &Explanation{}
	path, flags, err := NormalizePath(nil, r.RawPath)
	if err != nil {
		x.Status, x.Reason = 400, err.Error()
		return x
	}
	x.Path, x.PathNotes = path, flags.notes()
	var m Match
	t.Match(r.Host, path, &m)
	x.Server, x.Route, x.Host = m.Server, m.Route, m.Server.Name
	name := normalHost(r.Host)
	h, by, to := t.find(name)
	x.HostReason = t.hostReason(name, h, by, to)
	x.OtherHosts = t.otherHosts(name, h)
	switch {
	case r.SNI != nil && t.Misdirected(*r.SNI, r.Host):
		x.Status, x.Reason = 421, "host "+x.Host+" asks for other client certificates than the host of the handshake, "+hostName(*r.SNI)
		return x
	case m.RedirectHost != "":
		x.Status, x.Reason = 308, "all requests are redirected to host "+m.RedirectHost+" (from-to-www-redirect)"
		return x
	}
	x.candidates(h, path, &m)
	x.Namespace, x.Ingress = m.Route.Namespace, m.Route.Ingress
	if m.Route.Ingress != "" {
		x.ClassReason = t.ClassReason(m.Route.Namespace, m.Route.Ingress)
	}
	if m.Err != nil {
		x.Status, x.Reason = 500, "pattern "+m.Route.Path+" took too many steps, so whether it matches isn't known"
		return x
	}
	for i := 2; i+1 < len(m.Captures); i += 2 {
		c := ""
		if m.Captures[i] >= 0 {
			c = path[m.Captures[i]:m.Captures[i+1]]
		}
		x.Captures = append(x.Captures, c)
	}
	if r := t.Misread(r.Host, r.RawPath, flags, &m); r != nil {
		x.Status, x.Reason = 400, "the backend may read the path as one of "+r.Path+", and Ingress "+r.Namespace+"/"+r.Ingress+" asks for more than Ingress "+m.Route.Namespace+"/"+m.Route.Ingress+" there"
		return x
	}
	x.Steps = t.Steps(m.Route)
	x.backend(r)
	return x
}

func (x *Explanation) backend(r Request) {
	switch {
	case x.Route.Fault != "":
		x.Status, x.Reason = 503, x.Route.Fault
		return
	case x.Route.Backend == nil:
		x.Status, x.Reason = x.Route.NoBackend, "the path has no Service as its backend"
		if x.Route.Generated {
			x.Reason = "no rule matches, and there is no default backend"
		}
		return
	}
	l := r.Lookup
	if l == nil {
		l = noLookup{}
	}
	x.Chosen, x.Canary, x.BackendReason = x.Route.Backend.Choose(l, r.Random)
	x.Backend = x.Chosen.text()
	if x.Canary != nil {
		x.BackendReason = "canary " + x.Canary.Namespace + "/" + x.Canary.Ingress + " takes it " + x.BackendReason
	} else if x.BackendReason != "" {
		c := &x.Route.Backend.Canaries[0]
		x.BackendReason = "canary " + c.Namespace + "/" + c.Ingress + " leaves it " + x.BackendReason
	}
}

type noLookup struct{}

func (noLookup) Lookup(Var, string) string { return "" }

func hostName(h string) string {
	if h == "" {
		return "(none)"
	}
	return h
}

func (t *Table) hostReason(name string, h *target, by how, to string) string {
	switch by {
	case byName:
		return "a rule names host " + name
	case byAlias:
		return name + " is an alias of host " + to + " (server-alias)"
	case byWWW:
		return name + " has no rule of its own, and host " + to + " redirects from it (from-to-www-redirect)"
	case byWildcard:
		return "no rule names host " + name + ", and " + h.server.Name + " stands for it"
	case byPattern:
		return "no rule names host " + name + ", and a pattern of server-alias of host " + to + " matches it"
	default:
		return "no rule names host " + hostName(name) + ", so the rules without host and the default backend count"
	}
}

// otherHosts says which hosts match less well.
func (t *Table) otherHosts(name string, h *target) []string {
	var others []string
	if w := t.wildcard(name); w != nil && w != h {
		others = append(others, w.server.Name+": a rule names the host itself; a host that exists never falls back to a wildcard, even where it has no path")
	}
	for i := range t.aliases {
		a := &t.aliases[i]
		if ok, err := a.re.Match(name); ok && err == nil && a.to != h.server.Name {
			others = append(others, a.to+": a pattern of its server-alias matches, which counts after names and wildcards, and in the order of hosts")
		}
	}
	if h != t.any && slices.ContainsFunc(t.any.ordered(), func(c candidate) bool { return !c.route.Generated }) {
		others = append(others, "rules without host: they count only for hosts that nothing names")
	}
	return others
}

// candidates lists what matches in the order of the match.
func (x *Explanation) candidates(h *target, path string, m *Match) {
	var lost []Candidate
	for _, c := range h.ordered() {
		r := c.route
		ok, note := c.matches(path)
		if !ok {
			continue
		}
		one := Candidate{Path: r.Path, PathType: string(r.PathType)}
		if r.Ingress != "" {
			one.Ingress = r.Namespace + "/" + r.Ingress
		}
		switch {
		case r == m.Route && !x.has(r):
			one.Chosen, one.Reason = true, chosenReason(c, m.Server.Patterns)+note
			x.Candidates = append(x.Candidates, one)
		case r == m.Route:
			continue
		default:
			one.Reason = lostReason(c, m.Route, m.Server.Patterns) + note
			lost = append(lost, one)
		}
		for _, v := range c.rivals {
			lost = append(lost, Candidate{
				Ingress: v.Namespace + "/" + v.Ingress, Path: r.Path, PathType: string(r.PathType),
				Reason: "Ingress " + one.Ingress + " is older and has the same path of the same host",
			})
		}
	}
	x.Candidates = append(x.Candidates, lost...)
}

func (x *Explanation) has(r *Route) bool {
	return len(x.Candidates) > 0 && x.Candidates[0].Chosen && x.Route == r
}

// matches tells whether a request's path is one of the candidate's.
func (c *candidate) matches(path string) (ok bool, note string) {
	r := c.route
	switch p := c.pattern; {
	case p != nil && p.re == nil:
		return hasPrefixFold(path, lowerASCII(p.text)), ""
	case p != nil:
		ok, err := p.re.Match(path)
		if err != nil {
			return true, "; the pattern took too many steps"
		}
		return ok, ""
	case string(r.PathType) == "Exact":
		return r.Path == path, ""
	}
	base := strings.TrimSuffix(r.Path, "/")
	rest, ok := strings.CutPrefix(path, base)
	return ok && (rest == "" || rest[0] == '/'), ""
}

func chosenReason(c candidate, patterns bool) string {
	switch r := c.route; {
	case r.Generated && len(r.Ingress) > 0:
		return "no path matches, so the host's catch-all does, with the settings of its oldest Ingress"
	case r.Generated:
		return "no path matches"
	case patterns:
		return "it is the first pattern that matches, as longer texts are tried first"
	case r.PathType == "Exact":
		return "it is the path itself, of type Exact"
	default:
		return "it is the longest prefix of whole elements"
	}
}

func lostReason(c candidate, won *Route, patterns bool) string {
	switch r := c.route; {
	case r.Generated:
		return "the catch-all counts where nothing else matches"
	case patterns && len(c.pattern.text) == len(won.Path):
		return "its text, of the same length, comes after that of the chosen pattern"
	case patterns:
		return "its text of " + strconv.Itoa(len(c.pattern.text)) + " bytes is tried after that of the chosen pattern"
	case won.PathType == "Exact":
		return "an Exact path comes before prefixes"
	default:
		return "its prefix is shorter"
	}
}

func (f PathFlags) notes() []string {
	var n []string
	for _, x := range []struct {
		bit  PathFlags
		text string
	}{
		{PathDecoded, "escapes are decoded before the match"},
		{PathMerged, "slashes that follow each other are merged before the match"},
		{PathDots, "elements . and .. are resolved before the match"},
		{PathSlash, "an escaped slash counts as a slash in the match"},
	} {
		if f&x.bit != 0 {
			n = append(n, x.text)
		}
	}
	if f.Ambiguous() {
		n = append(n, "without a rewrite the backend gets the path as it was received, and may read it otherwise")
	}
	return n
}
