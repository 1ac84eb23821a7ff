package table

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// steps collects sentences.
type steps []string

func (s *steps) add(format string, args ...any) { *s = append(*s, fmt.Sprintf(format, args...)) }

func (s *steps) when(cond bool, format string, args ...any) {
	if cond {
		s.add(format, args...)
	}
}

// Steps says what is done with a request of a route, in the order in which it is done, in plain sentences.
func (t *Table) Steps(r *Route) []string {
	var s steps
	s.before(t.settings, r)
	s.answers(t.settings, r)
	s.access(t.settings, r.Location)
	s.forward(r)
	s.back(t.settings, r)
	return s
}

// before is what is asked of the client before the path counts.
func (s *steps) before(set *Settings, r *Route) {
	s.when(len(set.BlockCIDRs) > 0, "Addresses of %s are answered 403 (block-cidrs).", prefixes(set.BlockCIDRs))
	s.when(len(set.BlockAgents) > 0, "User-Agents of the block list are answered 403 (block-user-agents).")
	s.when(len(set.BlockReferers) > 0, "Referers of the block list are answered 403 (block-referers).")
	if c := r.Server.Options.ClientTLS; c != nil {
		switch {
		case c.Broken != "":
			s.add("All requests of the host are answered 403: %s (auth-tls-secret).", c.Broken)
		case c.Verify == VerifyOn:
			s.add("Over TLS, clients without a certificate of Secret %s are answered 400 (auth-tls-secret).", c.Secret)
		case c.Verify != VerifyOff:
			s.add("Over TLS, clients may show a certificate; its verification with Secret %s is passed on (auth-tls-verify-client).", c.Secret)
		}
		s.when(c.MatchCN != nil, "Client certificates whose name doesn't match are answered 403 (auth-tls-match-cn).")
	}
	s.when(r.Server.Options.AppRoot != "", "Path / is redirected to %s with 302 (app-root).", r.Server.Options.AppRoot)
}

// answers is what may answer instead of the backend.
func (s *steps) answers(set *Settings, r *Route) {
	l := r.Location
	s.when(l.BodySize > 0, "Bodies above %d bytes are answered 413 (proxy-body-size).", l.BodySize)
	if l.CORS != nil {
		s.add("Preflights from %s are answered 204, and answers get CORS headers (enable-cors).", strings.Join(l.CORS.Origins, ", "))
	}
	if l.Redirect != nil {
		s.add("All requests are redirected to %s with %d.", l.Redirect.Target.written(), l.Redirect.Code)
	}
	if l.Rewrite != nil {
		if l.Rewrite.URL {
			s.add("All requests are redirected to %s with 302 (rewrite-target).", l.Rewrite.Target.written())
		} else {
			s.add("The path becomes %s (rewrite-target).", l.Rewrite.Target.written())
		}
		s.when(l.ForwardedPrefix != nil, "X-Forwarded-Prefix becomes %s (x-forwarded-prefix).", l.ForwardedPrefix.written())
	}
	switch code := set.RedirectCode; {
	case l.ForceSSLRedirect:
		s.add("Requests that didn't come over TLS are redirected to https with %d (force-ssl-redirect).", redirectCode(code))
	case l.SSLRedirect:
		s.add("Where the host has TLS, requests that didn't come over TLS are redirected to https with %d (ssl-redirect).", redirectCode(code))
	}
	switch {
	case r.Fault != "":
		s.add("All requests are answered 503: %s.", r.Fault)
	case r.Backend == nil:
		s.add("All other requests are answered %d, as there is no backend.", r.NoBackend)
	}
}

func redirectCode(c int) int {
	if c == 0 {
		return 308
	}
	return c
}

// access is who may pass.
func (s *steps) access(set *Settings, l *Location) {
	if x := l.Limits; x != nil {
		status := func(c int) int {
			if c == 0 {
				return 503
			}
			return c
		}
		burst := max(x.Burst, 1)
		s.when(x.Connections > 0, "More than %d requests of one address at once are answered %d (limit-connections).", x.Connections, status(set.LimitConnStatus))
		s.when(x.RPS > 0, "More than %d requests a second of one address, and %d at once, are answered %d (limit-rps).", x.RPS, x.RPS*burst, status(set.LimitRequestStatus))
		s.when(x.RPM > 0, "More than %d requests a minute of one address, and %d at once, are answered %d (limit-rpm).", x.RPM, x.RPM*burst, status(set.LimitRequestStatus))
		s.when(len(x.Exempt) > 0, "Addresses of %s are exempt from limits (limit-whitelist).", prefixes(x.Exempt))
	}
	s.when(len(l.Deny) > 0, "Addresses of %s are answered 403 (denylist-source-range).", prefixes(l.Deny))
	s.when(l.Allow != nil, "Addresses outside of %s are answered 403 (allowlist-source-range).", prefixes(l.Allow))
	if l.Basic != nil {
		kind := "Basic"
		if l.Basic.Digest {
			kind = "Digest"
		}
		s.add("%s credentials of Secret %s are asked for, else the answer is 401 (auth-type).", kind, l.Basic.Secret)
	}
	if l.External != nil {
		s.add("%s is asked about each request; what isn't 2xx refuses it (auth-url).", l.External.URL.written())
		s.when(l.External.SignIn != nil, "Instead of 401, clients are redirected to %s (auth-signin).", l.External.SignIn.written())
	}
	s.when(l.Satisfy == SatisfyAny, "An allowed address or one credential is enough (satisfy).")
}

// forward is how the backend is asked.
func (s *steps) forward(r *Route) {
	l, u := r.Location, r.Backend
	if u == nil {
		return
	}
	for i := range u.Canaries {
		c := &u.Canaries[i]
		by := "by a weight of " + strconv.Itoa(c.Canary.Weight) + " in " + strconv.Itoa(max(c.Canary.Total, 100))
		if c.Canary.Cookie != "" {
			by = "by cookie " + c.Canary.Cookie + ", " + by
		}
		if c.Canary.Header != "" {
			by = "by header " + c.Canary.Header + ", " + by
		}
		s.add("Canary %s/%s takes requests to Service %s %s.", c.Namespace, c.Ingress, c.Upstream.text(), by)
	}
	s.when(l.Mirror != nil, "A copy of each request is sent to %s (mirror-target).", l.Mirror.target())
	s.when(l.UpstreamVhost != nil, "The backend gets Host %s (upstream-vhost).", l.UpstreamVhost.written())
	how := "by the endpoints of the Service in turn"
	switch o := &u.Options; {
	case o.ServiceUpstream:
		how = "by the Service's cluster IP (service-upstream)"
	case o.Affinity != nil:
		how = "by cookie " + o.Affinity.Name + " (affinity)"
	case o.HashBy != nil:
		how = "by the hash of " + o.HashBy.written() + " (upstream-hash-by)"
	case o.LoadBalance == EWMA:
		how = "by the least loaded of its endpoints (load-balance: ewma)"
	}
	s.add("Service %s is asked over %s, %s.", u.text(), l.Protocol, how)
	for _, d := range []struct {
		d          time.Duration
		what, name string
	}{{l.ConnectTimeout, "connecting", "proxy-connect-timeout"}, {l.SendTimeout, "a pause in sending", "proxy-send-timeout"}, {l.ReadTimeout, "a pause in the answer", "proxy-read-timeout"}} {
		s.when(d.d > 0, "After %s of %s, the answer is 504 (%s).", d.d, d.what, d.name)
	}
	s.when(l.Retry.Tries > 1, "On errors up to %d endpoints are tried (proxy-next-upstream-tries).", l.Retry.Tries)
}

// back is what is done to the answer.
func (s *steps) back(set *Settings, r *Route) {
	l := r.Location
	s.when(len(l.CustomErrors) > 0 && !l.KeepErrors, "Answers with %s are replaced by the default backend's (custom-http-errors).", numbers(l.CustomErrors))
	s.when(l.ProxyRedirect != nil && !l.ProxyRedirect.Off, "Location and Refresh are rewritten (proxy-redirect-from).")
	s.when(l.CookieDomain != nil && !l.CookieDomain.Off, "Domains of cookies are rewritten (proxy-cookie-domain).")
	s.when(l.CookiePath != nil && !l.CookiePath.Off, "Paths of cookies are rewritten (proxy-cookie-path).")
	for _, h := range l.ResponseHeaders {
		s.add("The answer gets header %s (custom-headers).", h.Name)
	}
	s.when(l.Pace != nil && l.Pace.Rate > 0, "Answers are sent at a limited speed (limit-rate).")
	s.when(set.HSTS.For(r.Server), "Answers over TLS get Strict-Transport-Security (hsts).")
	s.when(l.NoAccessLog, "Requests aren't logged (enable-access-log).")
}

func (m *Mirror) target() string {
	if m == nil {
		return ""
	}
	return m.Target.written()
}

// String names the protocol as backend-protocol does.
func (p Protocol) String() string {
	return [...]string{"HTTP", "HTTPS", "GRPC", "GRPCS", "AUTO_HTTP", "FCGI"}[p]
}

func prefixes(p []netip.Prefix) string {
	if len(p) == 0 {
		return "none"
	}
	var s []string
	for _, x := range p {
		s = append(s, x.String())
	}
	return strings.Join(s, ", ")
}

func numbers(n []int) string {
	var s []string
	for _, x := range n {
		s = append(s, strconv.Itoa(x))
	}
	return strings.Join(s, ", ")
}

// written is the text as its writer wrote it, near enough to be recognised.
func (t *Text) written() string {
	if t == nil {
		return ""
	}
	var s strings.Builder
	for _, p := range t.Parts {
		if p.Var == VarNone {
			s.WriteString(p.Literal)
		} else {
			s.WriteString("$" + p.Var.written(p.Name))
		}
	}
	return s.String()
}

func (v Var) written(name string) string {
	switch v {
	case VarHeader:
		return "http_" + strings.ReplaceAll(name, "-", "_")
	case VarArg:
		return "arg_" + name
	case VarCookie:
		return "cookie_" + name
	case VarCapture:
		return name
	}
	for _, x := range []struct {
		v    Var
		name string
	}{
		{VarHost, "host"}, {VarBestHTTPHost, "best_http_host"}, {VarHTTPHost, "http_host"}, {VarRequestURI, "request_uri"},
		{VarEscapedRequestURI, "escaped_request_uri"}, {VarURI, "uri"}, {VarScheme, "scheme"}, {VarArgs, "args"}, {VarIsArgs, "is_args"},
		{VarRemoteAddr, "remote_addr"}, {VarRemotePort, "remote_port"}, {VarRemoteUser, "remote_user"}, {VarRequestMethod, "request_method"},
		{VarServerProtocol, "server_protocol"}, {VarServerName, "server_name"}, {VarServerPort, "server_port"}, {VarRequestID, "request_id"},
		{VarProxyAddXForwardedFor, "proxy_add_x_forwarded_for"}, {VarNamespace, "namespace"}, {VarIngressName, "ingress_name"},
		{VarServiceName, "service_name"}, {VarServicePort, "service_port"}, {VarContentType, "content_type"}, {VarContentLength, "content_length"},
		{VarMsec, "msec"},
	} {
		if x.v == v {
			return x.name
		}
	}
	return "{" + strconv.Itoa(int(v)) + "}"
}
