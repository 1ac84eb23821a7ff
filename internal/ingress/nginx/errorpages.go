package nginx

import (
	"errors"
	"strings"

	"minato/internal/ingress/table"
)

func errorAnnotations() []Annotation {
	const group = "Errors and mirrors"
	row := func(name, values, def, example, note string, bad Bad, needs ...string) Annotation {
		return Annotation{Name: name, Group: group, Scope: ScopeLocation, Support: Honoured, Bad: bad, Values: values, Default: def, Example: example, Note: note, Needs: needs}
	}
	codes := row("custom-http-errors", "a list of statuses from 400 to 599", "none", "404, 503", "Such answers, of a backend or the proxy's own, are replaced by the default backend's: the page for `/`, with its status. Those of gRPC backends stay.", BadCloses)
	codes.Key = true
	codes.Support, codes.Difference = Differs, "Without default-backend and --default-backend-service all answers stay; ingress-nginx makes them its own 404. A page for what the proxy refuses is asked for without the request's body and Authorization, and one of status 2xx for a 401 or 403 has that status."
	keep := row("disable-proxy-intercept-errors", "bool", "false", "true", "Answers of the backend are kept; only the proxy's own are replaced.", BadDefault)
	keep.Key = true
	mirror := row("mirror-target", "an http(s) URL with variables", "none", "http://mirror.default.svc$request_uri", "Each request is sent there too; the answer is dropped.", BadDefault)
	mirror.Support, mirror.Difference = Differs, "A mirror that is slow or gone delays no client: copies that it doesn't take are dropped, as are those with bodies above 1 MiB, of gRPC, and to loopback, link-local or multicast addresses."
	return []Annotation{
		codes, keep,
		row("default-backend", "a Service of the same namespace", "`--default-backend-service`", "errors", "Answers these errors, and requests for which there is no endpoint.", BadDefault),
		mirror,
		row("mirror-host", "a text with variables", "mirror-target's host", "mirror.example.com", "The Host header of the copy.", BadDefault, "mirror-target"),
		row("mirror-request-body", "`on` or `off`", "on", "off", "Whether the copy has the body.", BadDefault, "mirror-target"),
	}
}

func readErrors(r *reader) {
	l := &r.opts.Location
	into(r, "custom-http-errors", &l.CustomErrors, func(s string) ([]int, error) { return parseCodes(s, 400, 599) })
	into(r, "disable-proxy-intercept-errors", &l.KeepErrors, parseBool)
	into(r, "default-backend", &l.ErrorsBackend, r.serviceBackend)
	r.mirror()
}

// serviceBackend reads the name of a Service of the Ingress's namespace, whose first port is used.
func (r *reader) serviceBackend(s string) (*table.BackendRef, error) {
	if !isHostName(s) || strings.Contains(s, ".") {
		return nil, errors.New("it is not the name of a Service of this namespace")
	}
	n := name(r.ing.Namespace, s)
	r.refs = append(r.refs, Ref{Kind: "Service", NamespacedName: n})
	if r.objects.Service(n) == nil {
		return nil, &missingError{"Service", n}
	}
	return &table.BackendRef{Namespace: n.Namespace, Service: n.Name}, nil
}

func (r *reader) mirror() {
	target := r.text("mirror-target", 0, isURL)
	if target == nil {
		return
	}
	m := &table.Mirror{Target: *target, Body: true}
	r.opts.Location.Mirror = m
	into(r, "mirror-request-body", &m.Body, parseOnOff)
	if host := r.text("mirror-host", 0, noSpace); host != nil {
		m.Host = *host
		return
	}
	host, err := ParseText(authority(r.values["mirror-target"]), 0)
	if err != nil {
		r.bad("mirror-target", err)
		r.opts.Location.Mirror = nil
		return
	}
	m.Host = host
}

// authority returns what is between :// and the path of a URL. A variable behind the host, such as $request_uri, is
// the path: no host ends with one without a separator before it.
func authority(url string) string {
	_, rest, _ := strings.Cut(url, "://")
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		rest = rest[:i]
	}
	for _, path := range [...]string{"$request_uri", "${request_uri}", "$uri", "${uri}", "$is_args", "${is_args}"} {
		if i := strings.Index(rest, path); i > 0 {
			rest = rest[:i]
		}
	}
	return rest
}
