package filter

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"minato/internal/ingress/exchange"
	"minato/internal/ingress/h1"
	"minato/internal/ingress/table"
)

// slotAuthCookies is where an Exchange keeps the cookies of external authentication until its answer.
const slotAuthCookies = 3

// maxAuthBody is what is read of an answer's body, so that its connection can be used again; it is of no use otherwise.
const maxAuthBody = 64 << 10

// authRequest is what another server is asked with. host is the Host that it gets; "" is that of the URL.
type authRequest struct {
	header http.Header
	host   string
}

// prepare takes the client's header, as the proxy has checked it, before anything is taken out for the backend.
func (q *authRequest) prepare(x *exchange.Exchange) {
	q.header = make(http.Header, x.Forward.Len()+12)
	x.Forward.ToHTTP(q.header)
	for _, name := range [...]string{
		"Connection", "Keep-Alive", "Proxy-Connection", "Transfer-Encoding", "Upgrade", "Trailer", "Te", "Http2-Settings", "Expect",
		"Content-Length", "X-Forwarded-Proto",
		// These say what is asked for to some such servers: it isn't for clients to say.
		"X-Forwarded-Uri", "X-Forwarded-Method", "X-Original-Host",
	} {
		delete(q.header, name)
	}
	uri := uriOf(x)
	q.set("X-Original-Url", x.Scheme+"://"+x.BestHost+uri)
	q.set("X-Original-Uri", uri)
	q.set("X-Original-Method", x.Method)
	q.set("X-Sent-From", "nginx-ingress-controller")
	q.set("X-Auth-Request-Redirect", uri)
	if len(q.header["User-Agent"]) == 0 {
		q.header["User-Agent"] = nil // else net/http names itself
	}
}

// set sets a field; one whose value is empty isn't sent, as with nginx.
func (q *authRequest) set(name, value string) {
	if value == "" {
		delete(q.header, name)
		return
	}
	q.header[name] = []string{strings.Clone(escaped(value, inValue))}
}

// expand sets what the location says of itself.
func (q *authRequest) expand(x *exchange.Exchange, e *table.ExternalAuth) {
	if e.RequestRedirect != nil {
		q.set("X-Auth-Request-Redirect", x.Expand(e.RequestRedirect))
	}
	for i := range e.SetHeaders {
		h := &e.SetHeaders[i]
		switch value := x.Expand(&h.Value); {
		case strings.EqualFold(h.Name, "Host"):
			q.host = strings.Clone(value)
		case !framing(h.Name):
			q.set(http.CanonicalHeaderKey(h.Name), value)
		}
	}
}

// framing tells whether a field is about the message or its connection, which no filter sets. Annotations that name one
// are refused.
func framing(name string) bool {
	switch strings.ToLower(name) {
	case "host", "connection", "keep-alive", "proxy-connection", "transfer-encoding", "content-length", "upgrade", "trailer", "te", "expect", "http2-settings":
		return true
	}
	return false
}

// authAnswer is what is kept of an answer.
type authAnswer struct {
	status    int
	fields    []table.HeaderField // for the backend
	challenge []string
	cookies   []string
}

func (a *authAnswer) size() int {
	n := 128
	for _, f := range a.fields {
		n += len(f.Name) + len(f.Value) + 32
	}
	for _, s := range a.challenge {
		n += len(s) + 16
	}
	return n
}

// external asks another server about the request (auth-url): 2xx lets it pass, 401 and 403 are the answer, without the
// server's body. All else is 500: what isn't known is not allowed.
func (b *before) external(ctx context.Context, x *exchange.Exchange, loc *table.Location, e *table.ExternalAuth, q *authRequest) *exchange.Answer {
	id, keep := b.answers.sum(x, e)
	var a *authAnswer
	if keep {
		a = b.answers.get(id)
	}
	if a == nil {
		var life time.Duration
		var err error
		if a, life, err = b.ask(ctx, x, loc, e, q); err != nil {
			if ctx.Err() == nil {
				b.warn(x, err)
			}
			return x.Reply(500)
		}
		if keep {
			b.answers.put(id, a, life)
		}
	}
	if len(a.cookies) > 0 {
		x.Slots[slotAuthCookies] = &authCookies{always: e.AlwaysSetCookie, values: a.cookies}
	}
	switch {
	case a.status >= 200 && a.status < 300:
		for _, f := range a.fields {
			// What can't be a field's value is left out; the client's own is gone already.
			_ = x.Forward.SetName(f.Name, f.Value)
		}
		return nil
	case a.status == 401 && e.SignIn != nil:
		return found(x, 302, signIn(x, e))
	case a.status == 401:
		r := x.Reply(401)
		for _, v := range a.challenge {
			r.With("WWW-Authenticate", v)
		}
		return r
	case a.status == 403:
		return x.Reply(403)
	default:
		return x.Reply(500)
	}
}

// ask sends the request to the other server.
func (b *before) ask(ctx context.Context, x *exchange.Exchange, loc *table.Location, e *table.ExternalAuth, q *authRequest) (*authAnswer, time.Duration, error) {
	target, err := authURL(x, &e.URL)
	if err != nil {
		return nil, 0, err
	}
	q.expand(x, e)
	ctx, cancel := context.WithTimeout(ctx, orDuration(loc.ConnectTimeout, 5*time.Second)+orDuration(loc.ReadTimeout, time.Minute))
	defer cancel()
	method := e.Method
	if method == "" {
		method = http.MethodGet
	}
	req, err := http.NewRequestWithContext(ctx, method, target, nil)
	if err != nil {
		return nil, 0, fmt.Errorf("make a request of auth-url: %w", err)
	}
	req.Header, req.Host = q.header, cmp.Or(q.host, req.Host)
	resp, err := b.transport.roundTrip(req, e)
	if err != nil {
		return nil, 0, fmt.Errorf("ask the server of auth-url: %w", err)
	}
	defer resp.Body.Close()
	_, err = io.CopyN(io.Discard, resp.Body, maxAuthBody)
	if err != nil && !errors.Is(err, io.EOF) && resp.StatusCode < 300 {
		return nil, 0, fmt.Errorf("read the answer of auth-url: %w", err)
	}
	a := &authAnswer{status: resp.StatusCode, challenge: resp.Header["Www-Authenticate"], cookies: resp.Header["Set-Cookie"]}
	for _, name := range e.ResponseHeaders {
		if v := resp.Header.Values(name); len(v) > 0 && !framing(name) {
			a.fields = append(a.fields, table.HeaderField{Name: name, Value: strings.Join(v, ", ")})
		}
	}
	if a.status >= 300 && a.status != 401 && a.status != 403 {
		b.warn(x, fmt.Errorf("ask the server of auth-url: it answered %d, which is neither 2xx nor 401 nor 403", a.status))
	}
	return a, lifeOf(e, a.status, resp.Header, b.now()), nil
}

func orDuration(d, def time.Duration) time.Duration {
	if d <= 0 {
		return def
	}
	return d
}

var (
	errForeignHost = errors.New("the host of auth-url comes from the request, and no rule names it; name the host in auth-url or in the rule")
	errAuthURL     = errors.New("auth-url with its variables is not an http(s) URL with a host")
)

// authURL returns the URL that is asked. Which server it is that decides must not be the client's to say: in the place of
// the host there are only variables whose values the rules name.
func authURL(x *exchange.Exchange, t *table.Text) (string, error) {
	const scheme, authority, rest = 0, 1, 2
	at := scheme
	b := make([]byte, 0, 256)
	for i := range t.Parts {
		p := &t.Parts[i]
		switch {
		case p.Var == table.VarNone:
			s := p.Literal
			if at == scheme {
				if _, after, ok := strings.Cut(s, "://"); ok {
					at, s = authority, after
				}
			}
			if at == authority && strings.ContainsAny(s, "/?#") {
				at = rest
			}
			b = append(b, p.Literal...)
		case at == scheme:
			return "", errAuthURL
		case at == authority:
			v, ok := namedHost(x, p)
			if !ok {
				return "", errForeignHost
			}
			b = append(b, v...)
		default:
			b = appendURL(b, x, &table.Text{Parts: t.Parts[i : i+1]})
		}
	}
	target := escaped(view(b), inLocation)
	u, err := url.Parse(target)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil {
		return "", errAuthURL
	}
	return target, nil
}

// namedHost is the value of a variable in the place of a URL's host.
func namedHost(x *exchange.Exchange, p *table.Part) (string, bool) {
	switch p.Var {
	case table.VarNamespace, table.VarIngressName, table.VarServiceName, table.VarServicePort:
		v := x.Lookup(p.Var, p.Name)
		return v, v != ""
	case table.VarHost, table.VarServerName:
		return x.Host, named(x)
	case table.VarHTTPHost, table.VarBestHTTPHost:
		v := x.Lookup(p.Var, p.Name)
		name, at := h1.SplitHost([]byte(v))
		return v, named(x) && strings.EqualFold(string(name), x.Host) && (len(at) == 0 || string(at) == port(x))
	default:
		return "", false
	}
}

// named tells whether a rule names the host that was asked for, itself, with a wildcard, or as an alias.
func named(x *exchange.Exchange) bool {
	name := x.Server.Name
	return x.Host != "" && (x.Host == name || strings.HasPrefix(name, "*.") && strings.HasSuffix(x.Host, name[1:]) ||
		slices.ContainsFunc(x.Server.Options.Aliases, func(a string) bool { return strings.EqualFold(a, x.Host) }))
}

// signIn is where a client logs in (auth-signin), with the URL that it asked for as an argument unless the location has
// one of the name itself.
func signIn(x *exchange.Exchange, e *table.ExternalAuth) string {
	to := string(appendURL(nil, x, e.SignIn))
	param := e.RedirectParam
	if param == "" {
		param = "rd"
	}
	sep := "?"
	if _, query, ok := strings.Cut(literals(e.SignIn), "?"); ok {
		if args, err := url.ParseQuery(query); err == nil && len(args) > 0 {
			if args.Get(param) != "" {
				return escaped(to, inLocation)
			}
			sep = "&"
		}
	}
	return escaped(to+sep+param+"="+x.Scheme+"://"+x.BestHost+url.QueryEscape(uriOf(x)), inLocation)
}

// authCookies are cookies for the client.
type authCookies struct {
	always bool
	values []string
}

// add adds them to the answer: to 2xx and 3xx, or to all (auth-always-set-cookie).
func (c *authCookies) add(x *exchange.Exchange) {
	if !c.always && (x.Status < 200 || x.Status >= 400) {
		return
	}
	for _, v := range c.values {
		// One that can't be a field's value is left out.
		_ = x.Response.AddString(h1.SetCookie, v)
	}
}

// warn tells of authentication that doesn't work, at most once a second.
func (b *before) warn(x *exchange.Exchange, err error) {
	if b.said.pass(b.now()) {
		b.logger.Warn("External authentication fails, and requests are answered 500", "namespace", x.Route.Namespace,
			"ingress", x.Route.Ingress, "host", strings.Clone(x.Host), "error", err)
	}
}

// throttle lets one through each second.
type throttle struct{ last atomic.Int64 }

func (t *throttle) pass(now time.Time) bool {
	at, last := now.UnixNano(), t.last.Load()
	return at-last >= int64(time.Second) && t.last.CompareAndSwap(last, at)
}
