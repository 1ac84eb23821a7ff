package proxy

import (
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"minato/internal/ingress/exchange"
	"minato/internal/ingress/h1"
	"minato/internal/ingress/table"
)

// view is a Table with what the proxy derives from it. It is replaced as a whole.
type view struct {
	table    *table.Table
	settings *table.Settings
	limits   h1.Limits
	pool     poolLimits
	hsts     string
	hide     []string
	backends sync.Map // *table.Upstream to *backend, so that a request needs no search by name
	tls      sync.Map // *table.Server to *tlsServer
	fallback *backend
}

func newView(t *table.Table, b *backends) *view {
	s := t.Settings()
	v := &view{
		table: t, settings: s,
		limits: h1.RequestLimits(orInt(s.HeaderBuffer, 1<<10), orInt(s.LargeHeaderBuffers, 4), orInt(s.LargeHeaderSize, 8<<10)),
		pool: poolLimits{
			// ingress-nginx keeps so many for each worker, of which there is one for each CPU.
			idle: s.UpstreamIdle * orInt(s.Workers, runtime.GOMAXPROCS(0)), timeout: s.UpstreamIdleTimeout, requests: s.UpstreamRequests, age: s.UpstreamTime,
		},
		hsts: hstsValue(s.HSTS),
		hide: s.HideHeaders,
	}
	v.limits.PassUnderscores, v.limits.PassInvalid = s.Underscores, s.KeepInvalidHeaders
	if s.DefaultBackend != nil {
		v.fallback = b.get(*s.DefaultBackend)
	}
	return v
}

func orInt(n, other int) int {
	if n > 0 {
		return n
	}
	return other
}

func orDuration(d, other time.Duration) time.Duration {
	if d > 0 {
		return d
	}
	return other
}

// hstsValue is the value of Strict-Transport-Security, "" where it is off.
func hstsValue(h table.HSTS) string {
	if !h.Enabled {
		return ""
	}
	var b strings.Builder
	b.WriteString("max-age=" + strconv.FormatInt(h.MaxAge, 10))
	if h.SubDomains {
		b.WriteString("; includeSubDomains")
	}
	if h.Preload {
		b.WriteString("; preload")
	}
	return b.String()
}

// backend returns the backend of an upstream.
func (v *view) backend(u *table.Upstream, all *backends) *backend {
	if b, ok := v.backends.Load(u); ok {
		return b.(*backend)
	}
	b := all.get(u.BackendRef)
	v.backends.Store(u, b)
	return b
}

// hooks may be replaced while requests are under way.
type hooks struct {
	p atomic.Pointer[exchange.Hooks]
}

func (h *hooks) load() *exchange.Hooks { return h.p.Load() }
