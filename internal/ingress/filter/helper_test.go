package filter

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"minato/internal/ingress/exchange"
	"minato/internal/ingress/h1"
	"minato/internal/ingress/nginx"
	"minato/internal/ingress/table"
)

// bed is a table of Ingresses and the filters, with a clock that stands still unless a test moves it.
type bed struct {
	t          testing.TB
	now        time.Time
	settings   map[string]string
	secrets    map[string]map[string]string // by name
	configMaps map[string]map[string]string
	ingresses  []*networkingv1.Ingress
	class      table.Class
	cfg        Config
	adjust     func(*table.Ingress)
	forward    func(*h1.Header) // what else the proxy tells the backend

	table   *table.Table
	filters *Filters
}

func newBed(t testing.TB) *bed {
	b := &bed{t: t, now: time.Unix(1_700_000_000, 0), settings: map[string]string{}, secrets: map[string]map[string]string{}, configMaps: map[string]map[string]string{}}
	b.cfg = Config{Logger: slog.New(slog.NewTextHandler(io.Discard, nil)), Now: func() time.Time { return b.now }}
	return b
}

// on adds an Ingress for "host path" with annotations: names without prefix and values in turn. "tls" is no annotation:
// its value is a host of a tls section.
func (b *bed) on(rule string, pairs ...string) *bed {
	host, path, _ := strings.Cut(rule, " ")
	kind := networkingv1.PathTypeImplementationSpecific
	ing := &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{
		Namespace: "shop", Name: "web" + string(rune('a'+len(b.ingresses))), Annotations: map[string]string{},
		CreationTimestamp: metav1.NewTime(time.Unix(int64(1000+len(b.ingresses)), 0)),
	}}
	ing.Spec.Rules = []networkingv1.IngressRule{{Host: strings.TrimPrefix(host, "-"), IngressRuleValue: networkingv1.IngressRuleValue{HTTP: &networkingv1.HTTPIngressRuleValue{
		Paths: []networkingv1.HTTPIngressPath{{Path: path, PathType: &kind, Backend: networkingv1.IngressBackend{
			Service: &networkingv1.IngressServiceBackend{Name: "web", Port: networkingv1.ServiceBackendPort{Number: 80}},
		}}},
	}}}}
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i] == "tls" {
			ing.Spec.TLS = []networkingv1.IngressTLS{{Hosts: []string{pairs[i+1]}, SecretName: "none"}}
			continue
		}
		ing.Annotations[nginx.DefaultPrefix+"/"+pairs[i]] = pairs[i+1]
	}
	b.ingresses = append(b.ingresses, ing)
	return b
}

// set has a key of the settings.
func (b *bed) set(key, value string) *bed {
	b.settings[key] = value
	return b
}

// Secret, ConfigMap and Service implement nginx.Objects.
func (b *bed) Secret(n types.NamespacedName) *corev1.Secret {
	d, ok := b.secrets[n.Name]
	if !ok {
		return nil
	}
	s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: n.Namespace, Name: n.Name}, Data: map[string][]byte{}}
	for k, v := range d {
		s.Data[k] = []byte(v)
	}
	return s
}

func (b *bed) ConfigMap(n types.NamespacedName) *corev1.ConfigMap {
	d, ok := b.configMaps[n.Name]
	if !ok {
		return nil
	}
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: n.Namespace, Name: n.Name}, Data: d}
}

func (b *bed) Service(types.NamespacedName) *corev1.Service { return nil }

// build makes the table and the filters.
func (b *bed) build() *bed {
	b.t.Helper()
	cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "minato-ingress"}, Data: b.settings}
	s, defaults, findings, _ := nginx.ReadSettings(cm, nginx.Flags{}, b)
	for _, f := range findings {
		b.t.Logf("%s: %s", f.Field, f.Message)
	}
	builder := table.NewBuilder()
	builder.SetSettings(s)
	for _, ing := range b.ingresses {
		o, findings, _ := nginx.Read(ing, b.class, defaults, b)
		for _, f := range findings {
			b.t.Logf("%s: %s", f.Field, f.Message)
		}
		i := &table.Ingress{Object: ing, Class: b.class, Options: o}
		if b.adjust != nil {
			b.adjust(i)
		}
		builder.Set(i)
	}
	b.table = builder.Table()
	if b.filters == nil {
		f, err := New(b.cfg)
		if err != nil {
			b.t.Fatal(err)
		}
		b.filters = f
		b.t.Cleanup(f.Close)
	}
	return b
}

// exchange makes one of a method and a URL, and fields "Name: value". Those with a plus before them come past what the
// reader of HTTP/1 refuses, as by HTTP/2.
func (b *bed) exchange(method, rawURL string, fields ...string) *exchange.Exchange {
	b.t.Helper()
	if b.table == nil {
		b.build()
	}
	scheme, rest, _ := strings.Cut(rawURL, "://")
	host, target := rest, "/"
	if i := strings.IndexAny(rest, "/?"); i >= 0 {
		host, target = rest[:i], rest[i:]
	}
	if method == "OPTIONS" && target == "/*" {
		target = "*"
	}
	var text strings.Builder
	text.WriteString(method + " " + target + " HTTP/1.1\r\nHost: " + host + "\r\n")
	for _, f := range fields {
		if !strings.HasPrefix(f, "+") {
			text.WriteString(f + "\r\n")
		}
	}
	text.WriteString("\r\n")
	r := h1.NewReader(strings.NewReader(text.String()), &h1.Buffers{})
	q := &h1.Request{}
	lim := h1.RequestLimits(1<<10, 4, 8<<10)
	lim.PassUnderscores = b.table.Settings().Underscores
	lim.PassInvalid = b.table.Settings().KeepInvalidHeaders
	if err := r.ReadRequest(q, &lim); err != nil {
		b.t.Fatalf("%q: %v", text.String(), err)
	}
	for _, f := range fields {
		if rest, ok := strings.CutPrefix(f, "+"); ok {
			n, v, _ := strings.Cut(rest, ": ")
			if err := q.Header.AddName(n, v); err != nil {
				b.t.Fatal(err)
			}
		}
	}
	name, _ := h1.SplitHost(q.Host)
	x := &exchange.Exchange{
		Method: method, Target: view(q.Target), Path: decoded(view(q.Path)), Query: view(q.Query), HasQuery: q.HasQuery,
		HTTPHost: view(q.Host), BestHost: view(q.Host), Host: strings.ToLower(string(name)), Version: exchange.HTTP11,
		Scheme: scheme, ForwardedPort: map[string]string{"http": "80", "https": "443"}[scheme], Header: &q.Header,
		Client: netip.MustParseAddrPort("192.0.2.1:4000"), Peer: netip.MustParseAddrPort("192.0.2.1:4000"), RequestID: "id",
		Start: b.now, Settings: b.table.Settings(),
	}
	x.Subject = x.Path
	b.table.Match(x.Host, x.Path, &x.Match)
	x.Route, x.Server = x.Match.Route, x.Match.Server
	return x
}

// decoded is a path as the proxy decodes it, without dot segments, which these tests don't have.
func decoded(path string) string {
	p, err := url.PathUnescape(path)
	if err != nil {
		panic(err)
	}
	for strings.Contains(p, "//") {
		p = strings.ReplaceAll(p, "//", "/")
	}
	return p
}

// result is what became of a request: an answer, or 0 and what the backend gets.
type result struct {
	status int
	header http.Header
	x      *exchange.Exchange
}

// run calls the hooks as the proxy does, up to the backend.
func (b *bed) run(x *exchange.Exchange) result {
	b.t.Helper()
	h := b.filters.Hooks()
	a := b.decide(x, &h)
	res := result{x: x, header: http.Header{}}
	if a != nil {
		res.status = a.Status
		x.Status, x.Response = a.Status, &h1.Header{}
		for _, f := range a.Headers {
			_ = x.Response.AddName(f.Name, f.Value)
		}
		h.Response(x)
		x.Response.ToHTTP(res.header)
	}
	return res
}

func (b *bed) decide(x *exchange.Exchange, h *exchange.Hooks) *exchange.Answer {
	ctx := context.Background()
	if a := h.First(ctx, x); a != nil {
		return a
	}
	switch {
	case x.Match.Err != nil:
		return x.Reply(500)
	case x.Route == nil || x.Route.Location == nil:
		return x.Reply(404)
	case x.Route.Fault != "":
		return x.Reply(503)
	}
	if a := h.Redirect(ctx, x); a != nil {
		return a
	}
	x.Header.ShareTo(&x.Forward)
	x.Forward.RemoveHopByHop(false)
	x.Forward.DelMask(h1.Mask(h1.XRealIP, h1.XForwardedFor, h1.XForwardedProto, h1.ContentLength))
	for _, f := range [][2]string{
		{"X-Real-IP", x.Client.Addr().String()}, {"X-Forwarded-For", x.Client.Addr().String()}, {"X-Forwarded-Proto", x.Scheme}, {"X-Request-ID", x.RequestID},
	} {
		if err := x.Forward.SetName(f[0], f[1]); err != nil {
			b.t.Fatal(err)
		}
	}
	if b.forward != nil {
		b.forward(&x.Forward)
	}
	return h.Access(ctx, x)
}

// ask is run of a new exchange.
func (b *bed) ask(method, rawURL string, fields ...string) result {
	b.t.Helper()
	return b.run(b.exchange(method, rawURL, fields...))
}

// from is ask of a client.
func (b *bed) from(client, method, rawURL string, fields ...string) result {
	b.t.Helper()
	x := b.exchange(method, rawURL, fields...)
	x.Client = netip.AddrPortFrom(netip.MustParseAddr(client), 4000)
	return b.run(x)
}

// want checks a status, and a Location if it isn't "".
func (r result) want(t testing.TB, status int, location string) result {
	t.Helper()
	if r.status != status || r.header.Get("Location") != location {
		t.Errorf("%s %s: %d to %q, want %d to %q", r.x.Method, r.x.Target, r.status, r.header.Get("Location"), status, location)
	}
	return r
}

// backend is what a field that the backend gets is; "-" if it gets none.
func (r result) backend(name string) string {
	if !r.x.Forward.HasName(name) {
		return "-"
	}
	var all []string
	for v := range r.x.Forward.Values(name) {
		all = append(all, string(v))
	}
	return strings.Join(all, "|")
}

// answered is the Set-Cookie that a client gets with a backend's answer.
func (r result) answered(h *exchange.Hooks, status int) string {
	r.x.Status, r.x.Response, r.x.FromBackend = status, &h1.Header{}, true
	h.Response(r.x)
	var all []string
	for v := range r.x.Response.Values("Set-Cookie") {
		all = append(all, string(v))
	}
	return strings.Join(all, "|")
}

// ha1 is what digest authentication keeps of a password.
func ha1(user, realm, password string) string {
	sum := md5.Sum([]byte(user + ":" + realm + ":" + password))
	return hex.EncodeToString(sum[:])
}
