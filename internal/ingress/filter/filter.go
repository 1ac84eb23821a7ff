package filter

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	"minato/internal/ingress/exchange"
)

// Config describes Filters.
type Config struct {
	Logger *slog.Logger
	// Now is the clock; nil is time.Now.
	Now func() time.Time
	// Random is where keys come from; nil is crypto/rand.
	Random io.Reader
	// Dial connects to servers of external authentication; nil is TCP.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// AuthTLS is how such servers are spoken to over TLS; nil verifies them against the system's authorities.
	AuthTLS *tls.Config
	// AuthTransport sends the requests of external authentication in place of the connections that Filters keep. It
	// must not follow redirects and has to bound what it reads of a header.
	AuthTransport http.RoundTripper
	// LimitEntries is how many clients are counted for limit-* at a time, over all Ingresses; 0 is 131,072.
	LimitEntries int
	// Verifications is how many passwords are verified at a time; 0 is half the CPUs, at least one.
	Verifications int
}

// Filters are what Hooks are made of. They may be used by many goroutines, and keep what they count and remember for as
// long as they live, whatever tables come and go.
type Filters struct {
	before *before
}

// New checks the configuration. It starts nothing.
func New(cfg Config) (*Filters, error) {
	if cfg.Logger == nil {
		return nil, errors.New("the filters need a logger")
	}
	if cfg.LimitEntries < 0 || cfg.Verifications < 0 {
		return nil, errors.New("the filters' LimitEntries and Verifications can't be negative")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Random == nil {
		cfg.Random = rand.Reader
	}
	b, err := newBefore(cfg)
	if err != nil {
		return nil, err
	}
	return &Filters{before: b}, nil
}

// Hooks returns the hooks for a proxy.
func (f *Filters) Hooks() exchange.Hooks {
	return exchange.Hooks{
		First:    f.before.first,
		Redirect: f.before.redirect,
		Access:   f.before.access,
		Response: f.before.response,
	}
}

// Close drops the idle connections to servers of external authentication. The Filters can be used afterwards.
func (f *Filters) Close() { f.before.close() }
