package nginx

import (
	"errors"
	"slices"
	"strings"

	"minato/internal/ingress/table"
)

func backendAnnotations() []Annotation {
	const group = "Backends"
	row := func(name, values, def, example, note string, bad Bad) Annotation {
		return Annotation{Name: name, Group: group, Scope: ScopeLocation, Support: Honoured, Bad: bad, Values: values, Default: def, Example: example, Note: note}
	}
	conn := row("connection-proxy-header", "`keep-alive` or `close`", "none", "keep-alive", "The Connection header of requests to the backend.", BadCloses)
	conn.Support, conn.Difference = Differs, "It has no part in a WebSocket's handshake, which it breaks in ingress-nginx."
	version := row("proxy-http-version", "`1.0` or `1.1`", "1.1", "1.0", "The version of HTTP to the backend.", BadDefault)
	version.Key = true
	fcgi := row("fastcgi-index", "a file's name", "none", "index.php", "The file for a path that ends with `/`, with backend-protocol FCGI.", BadDefault)
	params := row("fastcgi-params-configmap", "[namespace/]name of a ConfigMap", "none", "fastcgi-params", "Further parameters, with variables.", BadCloses)
	fcgi.Needs, params.Needs = []string{"backend-protocol"}, []string{"backend-protocol"}
	return []Annotation{
		row("backend-protocol", "`HTTP`, `HTTPS`, `GRPC`, `GRPCS`, `AUTO_HTTP` or `FCGI`, in any case", "HTTP", "HTTPS", "What is spoken with the backend. Without proxy-ssl-verify its certificate isn't verified.", BadDefault),
		row("upstream-vhost", "a text with variables", "the request's", "internal.example.com", "The Host header of requests to the backend.", BadCloses),
		conn, version, fcgi, params,
		row("custom-headers", "[namespace/]name of a ConfigMap", "none", "answer-headers", "Headers that are set on every answer. Each name must be in the key global-allowed-response-headers.", BadCloses),
	}
}

func readBackend(r *reader) {
	l := &r.opts.Location
	into(r, "backend-protocol", &l.Protocol, func(s string) (table.Protocol, error) {
		return oneOf([]string{"HTTP", "HTTPS", "GRPC", "GRPCS", "AUTO_HTTP", "FCGI"}, table.ProtocolHTTP, table.ProtocolHTTPS,
			table.ProtocolGRPC, table.ProtocolGRPCS, table.ProtocolAuto, table.ProtocolFCGI)(strings.ToUpper(s))
	})
	l.UpstreamVhost = r.text("upstream-vhost", 0, noSpace)
	into(r, "connection-proxy-header", &l.ConnectionHeader, oneOf([]string{"keep-alive", "close"}, "keep-alive", "close"))
	into(r, "proxy-http-version", &l.HTTP10, parseHTTP10)
	r.fastCGI()
	into(r, "custom-headers", &l.ResponseHeaders, r.responseHeaders)
}

func (r *reader) fastCGI() {
	var f table.FastCGI
	_, index := r.value("fastcgi-index")
	_, params := r.value("fastcgi-params-configmap")
	into(r, "fastcgi-index", &f.Index, func(s string) (string, error) {
		if strings.ContainsAny(s, "/$\\ ") || controlCharacter(s) >= 0 {
			return "", errors.New("it is not the name of a file")
		}
		return s, nil
	})
	into(r, "fastcgi-params-configmap", &f.Params, func(s string) ([]table.ExpandedHeader, error) {
		n, err := r.object(s)
		if err != nil {
			return nil, err
		}
		m, err := r.configMap(n)
		if err != nil {
			return nil, err
		}
		return expandedHeaders(m)
	})
	switch {
	case r.opts.Location.Protocol == table.ProtocolFCGI:
		r.opts.Location.FastCGI = &f
	case index:
		r.find("fastcgi-index", ReasonNoEffect, true, "it does nothing unless backend-protocol is FCGI.")
	case params:
		r.find("fastcgi-params-configmap", ReasonNoEffect, true, "it does nothing unless backend-protocol is FCGI.")
	}
}

// responseHeaders reads the ConfigMap of custom-headers. Values have no variables: a "$" is one.
func (r *reader) responseHeaders(s string) ([]table.HeaderField, error) {
	n, err := r.object(s)
	if err != nil {
		return nil, err
	}
	m, err := r.configMap(n)
	if err != nil {
		return nil, err
	}
	fields, err := headerFields(m)
	if err != nil {
		return nil, err
	}
	for _, f := range fields {
		if !slices.Contains(r.d.ResponseHeaders, strings.ToLower(f.Name)) {
			return nil, errors.New("the key global-allowed-response-headers doesn't have " + f.Name + "; add it there")
		}
	}
	return fields, nil
}

func parseHTTP10(s string) (bool, error) {
	return oneOf([]string{"1.0", "1.1"}, true, false)(s)
}
