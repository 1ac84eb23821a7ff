package nginx

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"minato/internal/ingress/table"
)

func externalAnnotations() []Annotation {
	const group = "External authentication"
	row := func(name, values, def, example, note string) Annotation {
		return Annotation{Name: name, Group: group, Scope: ScopeLocation, Support: Honoured, Bad: BadCloses, Values: values, Default: def, Example: example, Note: note, Needs: []string{"auth-url"}}
	}
	differs := func(a Annotation, difference string) Annotation {
		a.Difference = difference
		return a
	}
	share := func(a Annotation, difference string) Annotation {
		a.Support, a.Difference = Differs, difference
		return a
	}
	url := row("auth-url", "an http(s) URL with variables", "none", "https://auth.example.com/check", "Each request is asked about there: 2xx lets it pass, 401 and 403 are its answer, all else is 500.")
	url.Needs = nil
	url.Support = Differs
	url.Difference = "The certificate of an https server is verified; ingress-nginx takes any. Where variables make its host, a client can't choose it: " +
		"a request whose host no rule names is answered 500. One with two Authorization fields is answered 400."
	global := row("enable-global-auth", "bool", "true", "false", "false opts out of the keys global-auth-*.")
	global.Needs, global.Bad = nil, BadDefault
	const closed = "A value that can't be used closes the paths; ingress-nginx serves them without authentication then."
	const keepalive = "Acts with HTTP/2 too."
	return []Annotation{
		url,
		row("auth-method", "a method", "GET", "POST", "The method of that request."),
		row("auth-signin", "an http(s) URL with variables", "none", "https://$host/login", "Where a client is sent by 302 in place of a 401."),
		row("auth-signin-redirect-param", "a name", "rd", "next", "The argument of auth-signin that holds the URL that was asked for."),
		row("auth-response-headers", "a list of headers", "none", "X-User, X-Groups", "Headers of the answer that are set on the request; the client's own are always removed."),
		row("auth-always-set-cookie", "bool", "false", "true", "The answer's cookies reach the client whatever the backend answers."),
		differs(row("auth-request-redirect", "a URL with variables", "the request's URI", "https://example.com$request_uri", "X-Auth-Request-Redirect of that request."), closed),
		row("auth-proxy-set-headers", "[namespace/]name of a ConfigMap", "none", "auth-headers", "Further headers of that request."),
		differs(row("auth-cache-key", "a text with variables", "none", "$remote_user$http_authorization", "Answers are kept for each host, path of a rule and key."), "Nothing is kept where all variables of the key are empty, nor an answer with Vary."),
		differs(row("auth-cache-duration", "a list of [statuses] time", "200 202 401 5m", "200 10m, 401 1m", "How long answers are kept."), closed),
		differs(row("auth-keepalive", "a whole number", "0", "16", "How many idle connections to that server are kept."), keepalive),
		differs(row("auth-keepalive-requests", "a whole number", "1000", "500", "How many requests one such connection serves."), keepalive),
		differs(row("auth-keepalive-timeout", "seconds", "60", "30", "How long it is kept idle."), keepalive),
		share(row("auth-keepalive-share-vars", "bool", "false", "true", "Whether that request shares the request's variables."), "They are shared always: that request carries the same X-Request-ID."),
		global,
	}
}

func readExternal(r *reader) {
	l := &r.opts.Location
	on := true
	into(r, "enable-global-auth", &on, parseBool)
	l.NoGlobal = !on
	if l.NoGlobal {
		l.External = nil
	}
	if _, ok := r.value("auth-url"); !ok {
		if on && r.d.GlobalFault != "" && r.opts.Fault == "" {
			r.opts.Fault = r.d.GlobalFault
		}
		return
	}
	// With auth-url the global one is out; without a usable value the paths are closed.
	l.External = nil
	url := r.text("auth-url", 0, isURL)
	if url == nil {
		return
	}
	e := newExternal(*url)
	l.External = e
	into(r, "auth-method", &e.Method, parseMethod)
	e.SignIn = r.text("auth-signin", 0, isURLOrVariable)
	into(r, "auth-signin-redirect-param", &e.RedirectParam, parseToken)
	into(r, "auth-response-headers", &e.ResponseHeaders, passedNames)
	into(r, "auth-always-set-cookie", &e.AlwaysSetCookie, parseBool)
	e.RequestRedirect = r.text("auth-request-redirect", 0, noSpace)
	into(r, "auth-proxy-set-headers", &e.SetHeaders, func(s string) ([]table.ExpandedHeader, error) {
		n, err := r.object(s)
		if err != nil {
			return nil, err
		}
		m, err := r.configMap(n)
		if err != nil {
			return nil, err
		}
		for _, k := range slices.Sorted(maps.Keys(m.Data)) {
			if ofConnection(k) {
				return nil, fmt.Errorf("ConfigMap %s: %s is about the connection, and is not for a ConfigMap to say; remove it", n, k)
			}
		}
		return expandedHeaders(m)
	})
	e.CacheKey = r.text("auth-cache-key", KeyVars, nil)
	into(r, "auth-cache-duration", &e.CacheDurations, parseCacheDurations)
	into(r, "auth-keepalive", &e.Keepalive, parseInt)
	into(r, "auth-keepalive-requests", &e.KeepaliveReqs, positive(parseInt))
	into(r, "auth-keepalive-timeout", &e.KeepaliveTime, positive(parseSeconds))
	var share bool
	if into(r, "auth-keepalive-share-vars", &share, parseBool) {
		r.differs("auth-keepalive-share-vars")
	}
}

// newExternal has ingress-nginx's defaults.
func newExternal(url table.Text) *table.ExternalAuth {
	return &table.ExternalAuth{
		URL:            url,
		RedirectParam:  "rd",
		CacheDurations: []table.CacheDuration{{Codes: []int{200, 202, 401}, Duration: 5 * time.Minute}},
		KeepaliveReqs:  1000,
		KeepaliveTime:  time.Minute,
	}
}

func isURLOrVariable(s string) error {
	if strings.HasPrefix(s, "$scheme://") {
		return noSpace(s)
	}
	return isURL(s)
}

func parseMethod(s string) (string, error) {
	switch s {
	case "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS":
		return s, nil
	}
	return "", errors.New("it is not one of GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")
}

func parseToken(s string) (string, error) {
	if !isToken(s) {
		return "", errors.New("it is not a name")
	}
	return s, nil
}

func headerNames(s string) ([]string, error) {
	list := splitList(s)
	for _, h := range list {
		if !isHeaderName(h) {
			return nil, fmt.Errorf("%q is not a header's name", h)
		}
	}
	return list, nil
}

// passedNames parses a list of headers that one server's answer has and another one's request gets.
func passedNames(s string) ([]string, error) {
	list, err := headerNames(s)
	for _, h := range list {
		if ofConnection(h) || strings.EqualFold(h, "Host") {
			return nil, fmt.Errorf("%s is about the connection, and is not for that server to say; remove it", h)
		}
	}
	return list, err
}

// ofConnection tells whether a header is about one connection, or where a message on it ends.
func ofConnection(name string) bool {
	switch strings.ToLower(name) {
	case "connection", "keep-alive", "proxy-connection", "transfer-encoding", "content-length", "upgrade", "trailer", "te", "expect", "http2-settings":
		return true
	}
	return false
}

// expandedHeaders reads a ConfigMap of headers, by name. Values may have variables.
func expandedHeaders(m *corev1.ConfigMap) ([]table.ExpandedHeader, error) {
	var out []table.ExpandedHeader
	for _, k := range slices.Sorted(maps.Keys(m.Data)) {
		if !isHeaderName(k) {
			return nil, fmt.Errorf("ConfigMap %s/%s: %q is not a header's name", m.Namespace, m.Name, k)
		}
		t, err := ParseText(strings.TrimSpace(m.Data[k]), 0)
		if err != nil {
			return nil, fmt.Errorf("ConfigMap %s/%s: the value of %s: %w", m.Namespace, m.Name, k, err)
		}
		out = append(out, table.ExpandedHeader{Name: k, Value: t})
	}
	return out, nil
}

// parseCacheDurations parses "200 202 401 5m, 404 1m": statuses, then a time. Without statuses the time is for all.
func parseCacheDurations(s string) ([]table.CacheDuration, error) {
	var out []table.CacheDuration
	for _, item := range splitList(s) {
		fields := strings.Fields(item)
		var d table.CacheDuration
		for len(fields) > 1 && len(fields[0]) == 3 {
			codes, err := parseCodes(fields[0], 100, 599)
			if err != nil {
				break
			}
			d.Codes = append(d.Codes, codes...)
			fields = fields[1:]
		}
		var err error
		if d.Duration, err = parseTime(strings.Join(fields, " ")); err != nil {
			return nil, fmt.Errorf("%q is not statuses and a time, such as 200 202 5m", item)
		}
		for _, f := range fields {
			if last := f[len(f)-1]; last >= '0' && last <= '9' {
				return nil, fmt.Errorf("%q has a time without a unit", item)
			}
		}
		out = append(out, d)
	}
	if len(out) == 0 {
		return nil, errors.New("it is empty")
	}
	return out, nil
}
