package ingress

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"minato/internal/ingress/proxy"
	"minato/internal/ingress/table"
	"minato/internal/service/route"
)

// Picture answers questions about what a node's proxy serves, from the functions that steer it. It does not change.
type Picture struct{ loop *loop }

// NewPicture makes a Picture of objects.
func NewPicture(objects []Change, f Facts) (*Picture, error) {
	n, err := NewNode(NodeConfig{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, err
	}
	l := newLoop(n, nowhere{}, nil)
	batch := make(map[Key]Change, len(objects))
	for _, c := range objects {
		batch[c.Key] = c
	}
	l.step(f, batch)
	return &Picture{l}, nil
}

// nowhere is a dataPath that serves nothing.
type nowhere struct{}

func (nowhere) SetTable(*table.Table)                           {}
func (nowhere) SetEndpoints(table.BackendRef, []proxy.Endpoint) {}
func (nowhere) SetDefaultCertificate(*tls.Certificate)          {}

// Current returns what has been delivered last, for a Picture.
func (o *Objects) Current() []Change {
	o.mu.Lock()
	defer o.mu.Unlock()
	out := make([]Change, 0, len(o.items))
	for k, it := range o.items {
		out = append(out, Change{Key: k, Object: it.object})
	}
	return out
}

// Route is one path of one host, as `minato ingress routes` shows it.
type Route struct {
	Host      string   `json:"host"` // "" is every other host
	Path      string   `json:"path"`
	PathType  string   `json:"pathType"`
	Namespace string   `json:"namespace,omitempty"`
	Ingress   string   `json:"ingress,omitempty"` // "" for what no Ingress asks for
	Class     string   `json:"class"`
	Backend   string   `json:"backend,omitempty"`
	Endpoints int      `json:"endpoints"`
	TLS       string   `json:"tls,omitempty"` // the Secret of the certificate, or "default"
	Fault     string   `json:"fault,omitempty"`
	Steps     []string `json:"steps,omitempty"`
}

// Routes lists all paths, in the order in which they are tried.
func (p *Picture) Routes() []Route {
	out := []Route{}
	for _, r := range p.loop.table.Routes() {
		x := Route{
			Host: r.Host, Path: r.Path, PathType: string(r.PathType), Namespace: r.Namespace, Ingress: r.Ingress,
			Class: className(r.Class), Fault: r.Fault, TLS: p.certificate(r.Server, r.Host), Steps: p.loop.table.Steps(r),
		}
		if r.Backend != nil {
			x.Backend = backendText(r.Backend.BackendRef)
			x.Endpoints = len(p.loop.ends.set[r.Backend.BackendRef])
		}
		out = append(out, x)
	}
	return out
}

func className(c table.Class) string {
	if c == table.ClassNginx {
		return ClassNginx
	}
	return ClassMinato
}

func backendText(r table.BackendRef) string {
	if r.Port == "" {
		return r.Namespace + "/" + r.Service
	}
	return r.Namespace + "/" + r.Service + ":" + r.Port
}

func (p *Picture) certificate(s *table.Server, host string) string {
	switch {
	case s == nil || !s.TLS:
		return ""
	case s.Certificate == nil:
		return "default"
	}
	return s.Certificate.Secret.String()
}

// Question is a request that `minato ingress match` asks about.
type Question struct {
	URL    string      `json:"url"`
	Method string      `json:"method,omitempty"` // "" is GET
	Header http.Header `json:"header,omitempty"`
	// From is the client's address; without one, nothing is said of it.
	From netip.Addr `json:"from,omitzero"`
}

// Answer says where a request goes, and why.
type Answer struct {
	*table.Explanation
	// Certificate is that of the TLS handshake: a Secret, or "default".
	Certificate string `json:"certificate,omitempty"`
	// Verdict is what is answered without the backend being asked, "" if it is asked. What depends on more than the question,
	// such as limits and credentials, is in the steps alone.
	Verdict   string     `json:"verdict,omitempty"`
	Node      string     `json:"node,omitempty"`
	Endpoints []Endpoint `json:"endpoints,omitempty"`
}

// Endpoint is a candidate for a request.
type Endpoint struct {
	Address string `json:"address"`
	Pod     string `json:"pod,omitempty"`
	Node    string `json:"node,omitempty"`
	Zone    string `json:"zone,omitempty"`
	Chosen  bool   `json:"chosen"`
	Reason  string `json:"reason"`
}

// Match answers a Question.
func (p *Picture) Match(q Question) (*Answer, error) {
	u, err := url.Parse(q.URL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("%q is not a URL such as http://example.com/path", q.URL)
	}
	if q.Method == "" {
		q.Method = http.MethodGet
	}
	host := u.Host
	if h := q.Header.Get("Host"); h != "" {
		host = h
	}
	path := u.EscapedPath()
	if path == "" {
		path = "/"
	}
	r := table.Request{Host: host, RawPath: path, Lookup: asked{q, u, host}}
	out := &Answer{Node: p.loop.facts.Node}
	if u.Scheme == "https" {
		name := u.Hostname()
		r.SNI = &name
		server, _ := p.loop.table.CertificateFor(name)
		if out.Certificate = p.certificate(server, name); out.Certificate == "" {
			out.Certificate = "default"
		}
	}
	out.Explanation = p.loop.table.Explain(r)
	if out.Chosen != nil {
		out.Endpoints = p.candidates(out.Chosen)
	}
	out.Verdict = p.verdict(q, u, host, out)
	return out, nil
}

// verdict is what the request is answered with if the backend is not asked, in the order in which a proxy looks.
func (p *Picture) verdict(q Question, u *url.URL, host string, a *Answer) string {
	if a.Status != 0 {
		return fmt.Sprintf("%d: %s", a.Status, a.Reason)
	}
	set, l := p.loop.table.Settings(), a.Route.Location
	inside := func(all []netip.Prefix) bool {
		return q.From.IsValid() && slices.ContainsFunc(all, func(n netip.Prefix) bool { return n.Contains(q.From.Unmap()) })
	}
	chosen := slices.ContainsFunc(a.Endpoints, func(e Endpoint) bool { return e.Chosen })
	tlsHost := p.loop.table.TLS(host)
	switch {
	case inside(set.BlockCIDRs):
		return "403: the client's address is in block-cidrs"
	case q.Method == http.MethodOptions && l.CORS != nil && q.Header.Get("Origin") != "":
		return "204: it is a preflight, if the Origin is allowed (enable-cors)"
	case l.Redirect != nil:
		return fmt.Sprintf("%d: a redirect", l.Redirect.Code)
	case l.Rewrite != nil && l.Rewrite.URL:
		return "302: a redirect (rewrite-target is a URL)"
	case u.Scheme == "http" && (l.ForceSSLRedirect || l.SSLRedirect && tlsHost) && !slices.ContainsFunc(set.NoTLSRedirect, func(prefix string) bool { return strings.HasPrefix(a.Path, prefix) }):
		return fmt.Sprintf("%d: the host has TLS, and plain HTTP is redirected to https (ssl-redirect)", cmp.Or(set.RedirectCode, http.StatusPermanentRedirect))
	case !chosen && l.ErrorsBackend == nil && set.DefaultBackend == nil:
		return "503: the Service has no endpoint that is ready"
	case inside(l.Deny):
		return "403: the client's address is in denylist-source-range"
	case q.From.IsValid() && l.Allow != nil && !inside(l.Allow) && l.Satisfy == table.SatisfyAll:
		return "403: the client's address is not in allowlist-source-range"
	}
	return ""
}

// candidates are the endpoints of an upstream as the node sees them.
func (p *Picture) candidates(u *table.Upstream) []Endpoint {
	l := p.loop
	n := serviceOf(u.BackendRef)
	s := l.Service(n)
	v := view{node: route.Node{Name: l.facts.Node, Zone: l.facts.Zone}, ipv6First: l.facts.IPv6First}
	list, name := v.resolve(u.BackendRef, s, l.slicesOf(n), u.Options.ServiceUpstream)
	if name.host != "" {
		return []Endpoint{{Address: fmt.Sprintf("%s:%d", name.host, name.port), Chosen: true, Reason: "the external name, which the node looks up"}}
	}
	port, ok := corePort(u.BackendRef, s)
	if !ok {
		return nil
	}
	var out []Endpoint
	for _, family := range v.candidates(s, port, l.slicesOf(n), s.Spec.ClusterIP == "None") {
		for i := range family {
			c := &family[i]
			e := Endpoint{Address: c.Addr.String(), Pod: c.Pod, Node: c.Node, Zone: c.Zone, Chosen: slices.Contains(list, c.Addr), Reason: c.Cluster.String()}
			if !e.Chosen && c.Cluster.In() {
				e.Reason = "its IP family is not the Service's first"
			}
			out = append(out, e)
		}
	}
	if u.Options.ServiceUpstream && len(list) == 1 && s.Spec.ClusterIP != "None" {
		return []Endpoint{{Address: list[0].String(), Chosen: true, Reason: "the Service's cluster IP (service-upstream)"}}
	}
	return out
}

// corePort is portOf for a Service that may not be there.
func corePort(ref table.BackendRef, s *corev1.Service) (corev1.ServicePort, bool) {
	if s == nil {
		return corev1.ServicePort{}, false
	}
	return portOf(ref, s)
}

// asked answers for the variables of a question.
type asked struct {
	q    Question
	u    *url.URL
	host string
}

// Lookup implements table.Lookup.
func (a asked) Lookup(v table.Var, name string) string {
	switch v {
	case table.VarHeader:
		return a.q.Header.Get(name)
	case table.VarCookie:
		if c, err := (&http.Request{Header: a.q.Header}).Cookie(name); err == nil {
			return c.Value
		}
	case table.VarHost, table.VarBestHTTPHost, table.VarHTTPHost:
		return a.host
	case table.VarScheme:
		return a.u.Scheme
	case table.VarRequestMethod:
		return a.q.Method
	case table.VarArgs:
		return a.u.RawQuery
	case table.VarArg:
		return a.u.Query().Get(name)
	case table.VarURI:
		return a.u.Path
	case table.VarRequestURI:
		return a.u.RequestURI()
	case table.VarRemoteAddr:
		if a.q.From.IsValid() {
			return a.q.From.String()
		}
	}
	return ""
}

// ParseHeader reads a header as curl takes it: "Name: value".
func ParseHeader(to http.Header, text string) error {
	name, value, ok := strings.Cut(text, ":")
	if !ok || strings.TrimSpace(name) == "" {
		return errors.New(`it is not a header such as "Name: value"`)
	}
	to.Add(strings.TrimSpace(name), strings.TrimSpace(value))
	return nil
}
