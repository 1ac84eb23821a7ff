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
	// Chance decides about canaries and endpoints, and makes session keys and trace IDs; nil is math/rand/v2. None of
	// them is a secret.
	Chance func() uint64
	// Mirror sends copies of requests; nil is a client that, as nginx does, verifies no certificate. It must not follow
	// redirects.
	Mirror *http.Client
	// MirrorQueue is how many copies may wait, MirrorWorkers how many may be under way, MirrorBody how large a copied
	// body may be in bytes, and MirrorMemory how much all copies may hold. Zeros are 1024, 64, 1 MiB and 64 MiB.
	MirrorQueue, MirrorWorkers int
	MirrorBody, MirrorMemory   int64
	// Compressions is how many answers may be compressed at a time; others are sent as they are. 0 is 512.
	Compressions int
}

// Filters are what Hooks are made of. They may be used by many goroutines, and keep what they count and remember for as
// long as they live, whatever tables come and go.
type Filters struct {
	before *before
	after  *after
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
	a, err := newAfter(afterConfig{
		Logger: cfg.Logger, Now: cfg.Now, Random: cfg.Chance, Mirror: cfg.Mirror, MirrorQueue: cfg.MirrorQueue, MirrorWorkers: cfg.MirrorWorkers,
		MirrorBody: cfg.MirrorBody, MirrorMemory: cfg.MirrorMemory, Compressions: cfg.Compressions,
	})
	if err != nil {
		return nil, err
	}
	return &Filters{before: b, after: a}, nil
}

// Run sends copies of requests to mirrors until the context ends; without it, none is sent.
func (f *Filters) Run(ctx context.Context) error {
	defer f.before.close()
	return f.after.run(ctx)
}

// Hooks returns the hooks for a proxy.
func (f *Filters) Hooks() exchange.Hooks {
	return exchange.Hooks{
		First: f.before.first, Redirect: f.before.redirect, Choose: f.after.choose, Access: f.access, Mirror: f.after.mirror,
		Pick: f.after.pick, Replace: f.after.replace, Response: f.response, Encode: f.after.encode, Done: f.after.done,
	}
}

func (f *Filters) access(ctx context.Context, x *exchange.Exchange) *exchange.Answer {
	if a := f.before.access(ctx, x); a != nil {
		return a
	}
	if loc := x.Route.Location; loc.Tracing != nil {
		f.after.trace(x, loc)
	}
	return nil
}

func (f *Filters) response(x *exchange.Exchange) {
	f.after.response(x)
	f.before.response(x)
}

// Mirrored counts the copies of requests.
func (f *Filters) Mirrored() MirrorCounts { return f.after.mirrors.counts() }

// Close drops the idle connections to servers of external authentication. The Filters can be used afterwards.
func (f *Filters) Close() { f.before.close() }
