package nginx

import (
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"minato/internal/ingress/table"
)

// The reasons of findings about settings.
const (
	ReasonSettingInvalid = "SettingInvalid"
	ReasonSettingRefused = "SettingRefused"
	ReasonSettingDiffers = "SettingDiffers"
	ReasonSettingUnknown = "SettingUnknown"
)

// Flags are the flags of ingress-nginx's controller that say what is done with requests, as they are written.
type Flags struct {
	AnnotationsPrefix  string // --annotations-prefix
	DefaultBackend     string // --default-backend-service: namespace/name
	DefaultCertificate string // --default-ssl-certificate: namespace/name
	Passthrough        bool   // --enable-ssl-passthrough
	NoCatchAll         bool   // --disable-catch-all
}

// settingsReader reads one ConfigMap of settings.
type settingsReader struct {
	cm       types.NamespacedName
	values   map[string]string
	s        *table.Settings
	d        *Defaults
	objects  Objects
	findings []table.Finding
	refs     []Ref
}

// NewSettings returns ingress-nginx's settings without any ConfigMap.
func NewSettings() *table.Settings {
	return &table.Settings{
		ForwardedForHeader: "X-Forwarded-For",
		TrustedProxies:     []netip.Prefix{netip.PrefixFrom(netip.IPv4Unspecified(), 0)},
		ProxyHeaderTimeout: 5 * time.Second,
		HSTS:               table.HSTS{Enabled: true, SubDomains: true, MaxAge: 31536000},
		TLS:                table.TLSSettings{Min: tls.VersionTLS12, Max: tls.VersionTLS13, Ciphers: defaultCiphers(), SessionCache: true, SessionCacheSize: 10 << 20, SessionTimeout: 10 * time.Minute, RedirectToHTTPS: true},
		HTTP2:              true, HTTP2Streams: 128,
		KeepAlive: 75 * time.Second, KeepAliveRequests: 1000,
		UpstreamIdle: 320, UpstreamIdleTimeout: time.Minute, UpstreamRequests: 10000, UpstreamTime: time.Hour,
		HeaderBuffer: 1 << 10, LargeHeaderBuffers: 4, LargeHeaderSize: 8 << 10,
		HeaderTimeout: time.Minute, BodyTimeout: time.Minute,
		RequestID: true, RedirectCode: 308, LimitRequestStatus: 503, LimitConnStatus: 503,
		NoTLSRedirect: []string{"/.well-known/acme-challenge"}, NoAuth: []string{"/.well-known/acme-challenge"},
		MaxConnections: 16384, ShutdownTimeout: 240 * time.Second,
		StreamTimeout: 10 * time.Minute, StreamTries: 3, StreamRetryTime: 10 * time.Minute,
	}
}

// ReadSettings reads ingress-nginx's ConfigMap; nil has the defaults. Findings about it have Kind ConfigMap, and the key
// as field; those about flags have the flag's name. The references are ConfigMaps that keys name.
func ReadSettings(cm *corev1.ConfigMap, flags Flags, objects Objects) (*table.Settings, *Defaults, []table.Finding, []Ref) {
	r := &settingsReader{s: NewSettings(), d: NewDefaults(), objects: objects, values: map[string]string{}}
	if cm != nil {
		r.cm = types.NamespacedName{Namespace: cm.Namespace, Name: cm.Name}
		r.collect(cm.Data)
	}
	r.flags(flags)
	for _, read := range [...]func(){r.clients, r.tls, r.connections, r.headers, r.compression, r.access, r.logs, r.streams, r.location, r.upstream, r.globalAuth} {
		read()
	}
	l := r.d.Minato.Location
	r.s.Location = &l
	slices.SortStableFunc(r.findings, func(a, b table.Finding) int { return strings.Compare(a.Field, b.Field) })
	return r.s, r.d, r.findings, sortRefs(r.refs)
}

// collect takes the keys, and tells of those that are unknown or refused.
func (r *settingsReader) collect(data map[string]string) {
	for _, key := range slices.Sorted(maps.Keys(data)) {
		v := strings.TrimSpace(data[key])
		k, ok := knownKeys().byName[key]
		switch {
		case !ok:
			r.find(key, ReasonSettingUnknown, true, "ingress-nginx has no key of this name; it does nothing. Correct or remove it.")
		case v == "":
		case k.Support == Refused:
			r.refuse(key, v, k.Note)
		default:
			r.values[key] = v
		}
	}
}

// refuse tells of a key that is not honoured; of snippets, with what to use in their place.
func (r *settingsReader) refuse(key, value, note string) {
	if on, err := parseBool(value); err == nil && !on && key != "proxy-ssl-location-only" {
		return // it asks for what is so already
	}
	if strings.HasSuffix(key, "-snippet") {
		if lines := snippetAdvice(value); len(lines) > 0 {
			note += " In their place: " + joined(lines) + "."
		}
	}
	r.find(key, ReasonSettingRefused, true, "it is not honoured. "+note)
}

func (r *settingsReader) find(key, reason string, warning bool, message string) {
	r.findings = append(r.findings, table.Finding{Kind: "ConfigMap", Ingress: r.cm, Field: key, Reason: reason, Warning: warning, Message: limited(key + ": " + message)})
}

func (r *settingsReader) bad(key string, err error) {
	r.find(key, ReasonSettingInvalid, true, fmt.Sprintf("the value %s can't be used: %v. It is as if the key were absent.", quoted(r.values[key]), err))
}

// set parses a key's value and hands it on; absent or bad, nothing is done.
func set[T any](r *settingsReader, key string, parse func(string) (T, error), to func(T)) bool {
	v, ok := r.values[key]
	if !ok {
		return false
	}
	parsed, err := parse(v)
	if err != nil {
		r.bad(key, err)
		return false
	}
	to(parsed)
	return true
}

// field is set for a field.
func field[T any](r *settingsReader, key string, f *T, parse func(string) (T, error)) bool {
	return set(r, key, parse, func(v T) { *f = v })
}

func (r *settingsReader) flags(f Flags) {
	r.d.Prefix, r.d.Passthrough = f.AnnotationsPrefix, f.Passthrough
	r.s.Passthrough, r.s.NoCatchAll = f.Passthrough, f.NoCatchAll
	flag := func(name, value string, to func(types.NamespacedName)) {
		if value == "" {
			return
		}
		n, err := objectName(value, "", true)
		if err != nil {
			r.find(name, ReasonSettingInvalid, true, fmt.Sprintf("the value %q can't be used: write namespace/name.", value))
			return
		}
		to(n)
	}
	flag("--default-backend-service", f.DefaultBackend, func(n types.NamespacedName) {
		r.s.DefaultBackend = &table.BackendRef{Namespace: n.Namespace, Service: n.Name}
	})
	flag("--default-ssl-certificate", f.DefaultCertificate, func(n types.NamespacedName) { r.s.DefaultCertificate = n })
}

func (r *settingsReader) clients() {
	s := r.s
	field(r, "use-forwarded-headers", &s.ForwardedHeaders, parseBool)
	field(r, "compute-full-forwarded-for", &s.FullForwardedFor, parseBool)
	field(r, "enable-real-ip", &s.RealIP, parseBool)
	field(r, "forwarded-for-header", &s.ForwardedForHeader, func(v string) (string, error) {
		if !isHeaderName(v) {
			return "", errors.New("it is not a header's name")
		}
		return v, nil
	})
	field(r, "use-proxy-protocol", &s.ProxyProtocol, parseBool)
	field(r, "proxy-protocol-header-timeout", &s.ProxyHeaderTimeout, parseGoDuration)
	if v, ok := r.values["proxy-real-ip-cidr"]; ok {
		s.TrustedProxies = r.prefixes("proxy-real-ip-cidr", v)
	}
}

// prefixes reads a list of which the items that can't be read are left out and told of.
func (r *settingsReader) prefixes(key, v string) []netip.Prefix {
	out := []netip.Prefix{}
	for _, item := range splitList(v) {
		p, err := parsePrefix(item)
		if err != nil {
			r.find(key, ReasonSettingInvalid, true, err.Error()+". It is left out.")
			continue
		}
		out = append(out, p)
	}
	slices.SortFunc(out, netip.Prefix.Compare)
	return slices.Compact(out)
}

func (r *settingsReader) tls() {
	s := r.s
	if v, ok := r.values["ssl-protocols"]; ok {
		if lowest, highest, err := parseProtocols(strings.ReplaceAll(v, ",", " ")); err != nil {
			r.bad("ssl-protocols", err)
		} else {
			s.TLS.Min, s.TLS.Max = lowest, highest
		}
	}
	if v, ok := r.values["ssl-ciphers"]; ok {
		ids, unknown := parseCiphers(v)
		if len(unknown) > 0 {
			r.find("ssl-ciphers", ReasonSettingDiffers, true, "the TLS library doesn't have "+strings.Join(unknown, ", ")+"; they are left out.")
		}
		if len(ids) > 0 {
			s.TLS.Ciphers = ids
		}
	}
	field(r, "ssl-session-tickets", &s.TLS.Tickets, parseBool)
	field(r, "ssl-session-cache", &s.TLS.SessionCache, parseBool)
	field(r, "ssl-session-cache-size", &s.TLS.SessionCacheSize, parseSize)
	field(r, "ssl-session-timeout", &s.TLS.SessionTimeout, parseTime)
	field(r, "ssl-reject-handshake", &s.TLS.RejectUnknown, parseBool)
	if field(r, "hsts", &s.HSTS.Enabled, parseBool) {
		s.HSTS.AllClasses = s.HSTS.Enabled
	}
	field(r, "hsts-max-age", &s.HSTS.MaxAge, parseDigits)
	field(r, "hsts-include-subdomains", &s.HSTS.SubDomains, parseBool)
	field(r, "hsts-preload", &s.HSTS.Preload, parseBool)
	field(r, "use-http2", &s.HTTP2, parseBool)
	field(r, "http2-max-concurrent-streams", &s.HTTP2Streams, positive(parseInt))
	set(r, "ssl-redirect", parseBool, func(v bool) {
		s.TLS.RedirectToHTTPS = v
		r.d.each(func(c *ClassDefaults) { c.Location.SSLRedirect = v })
	})
	set(r, "force-ssl-redirect", parseBool, func(v bool) {
		s.TLS.ForceRedirect = v
		r.d.each(func(c *ClassDefaults) { c.Location.ForceSSLRedirect = v })
	})
}

func (r *settingsReader) connections() {
	s := r.s
	field(r, "keep-alive", &s.KeepAlive, parseSeconds)
	field(r, "keep-alive-requests", &s.KeepAliveRequests, positive(parseInt))
	field(r, "upstream-keepalive-connections", &s.UpstreamIdle, parseInt)
	field(r, "upstream-keepalive-timeout", &s.UpstreamIdleTimeout, parseSeconds)
	field(r, "upstream-keepalive-requests", &s.UpstreamRequests, positive(parseInt))
	field(r, "upstream-keepalive-time", &s.UpstreamTime, positive(parseTime))
	field(r, "client-header-buffer-size", &s.HeaderBuffer, bufferSize)
	set(r, "large-client-header-buffers", largeBuffers, func(v [2]int) { s.LargeHeaderBuffers, s.LargeHeaderSize = v[0], v[1] })
	field(r, "client-header-timeout", &s.HeaderTimeout, positive(parseSeconds))
	field(r, "client-body-timeout", &s.BodyTimeout, positive(parseSeconds))
	field(r, "worker-processes", &s.Workers, func(v string) (int, error) {
		if v == "auto" {
			return 0, nil
		}
		return positive(parseInt)(v)
	})
	field(r, "max-worker-connections", &s.MaxConnections, positive(parseInt))
	field(r, "worker-shutdown-timeout", &s.ShutdownTimeout, parseTime)
}

// bufferSize parses the size of a buffer that each connection may have: 16 MB at most.
func bufferSize(s string) (int, error) {
	v, err := parseSize(s)
	if err == nil && (v == 0 || v > 16<<20) {
		err = errors.New("it must be more than 0 and at most 16m")
	}
	return int(v), err
}

// largeBuffers parses a number and a size.
func largeBuffers(s string) (out [2]int, err error) {
	number, size, _ := strings.Cut(s, " ")
	if out[0], err = positive(parseInt)(number); err != nil || out[0] > 1024 {
		return out, errors.New("it is not a number up to 1024 and a size, such as 4 8k")
	}
	out[1], err = bufferSize(strings.TrimSpace(size))
	return out, err
}

// parseGoDuration parses a duration as Go has it.
func parseGoDuration(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if err != nil || d <= 0 {
		return 0, errors.New("it is not a duration such as 5s")
	}
	return d, nil
}

func (r *settingsReader) headers() {
	s := r.s
	field(r, "server-tokens", &s.ServerTokens, parseBool)
	field(r, "allow-backend-server-header", &s.BackendServerHeader, parseBool)
	field(r, "hide-headers", &s.HideHeaders, headerNames)
	field(r, "enable-underscores-in-headers", &s.Underscores, parseBool)
	set(r, "ignore-invalid-headers", parseBool, func(v bool) { s.KeepInvalidHeaders = !v })
	field(r, "generate-request-id", &s.RequestID, parseBool)
	field(r, "proxy-add-original-uri-header", &s.OriginalURIHeader, parseBool)
	field(r, "proxy-set-headers", &s.SetHeaders, func(v string) ([]table.ExpandedHeader, error) {
		m, err := r.configMap(v)
		if err != nil {
			return nil, err
		}
		return expandedHeaders(m)
	})
	field(r, "add-headers", &s.AddHeaders, func(v string) ([]table.HeaderField, error) {
		m, err := r.configMap(v)
		if err != nil {
			return nil, err
		}
		return headerFields(m)
	})
}

func (r *settingsReader) configMap(v string) (*corev1.ConfigMap, error) {
	n, err := objectName(v, r.cm.Namespace, true)
	if err != nil {
		return nil, err
	}
	r.refs = append(r.refs, Ref{Kind: "ConfigMap", NamespacedName: n})
	if m := r.objects.ConfigMap(n); m != nil {
		return m, nil
	}
	return nil, &missingError{"ConfigMap", n}
}
