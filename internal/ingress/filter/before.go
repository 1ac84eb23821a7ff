package filter

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"time"

	"minato/internal/ingress/exchange"
	"minato/internal/ingress/table"
)

// before is what acts before the backend.
type before struct {
	logger    *slog.Logger
	now       func() time.Time
	epoch     time.Time
	prefixes  *prefixes
	limiter   *limiter
	passwords *passwords
	digests   *digests
	answers   *authCache
	transport *authTransport
	said      throttle
}

func newBefore(cfg Config) (*before, error) {
	b := &before{
		logger: cfg.Logger, now: cfg.Now, epoch: cfg.Now(), prefixes: &prefixes{},
		limiter: newLimiter(orDefault(cfg.LimitEntries, 1<<17)),
	}
	var keys [3][32]byte
	for i := range keys {
		if _, err := io.ReadFull(cfg.Random, keys[i][:]); err != nil {
			return nil, fmt.Errorf("make the filters' keys: %w", err)
		}
	}
	b.passwords = newPasswords(keys[0], orDefault(cfg.Verifications, max(runtime.GOMAXPROCS(0)/2, 1)))
	b.digests = newDigests(keys[1], cfg.Now)
	b.answers = newAuthCache(keys[2], cfg.Now)
	b.transport = newAuthTransport(cfg)
	return b, nil
}

func orDefault(n, def int) int {
	if n == 0 {
		return def
	}
	return n
}

// first acts before the location is known to be served. What is not asked for costs a comparison here, and no call.
func (b *before) first(_ context.Context, x *exchange.Exchange) *exchange.Answer {
	if s := x.Settings; len(s.BlockCIDRs)+len(s.BlockAgents)+len(s.BlockReferers) > 0 && b.blocked(x, s) {
		return x.Reply(403)
	}
	if x.Match.RedirectHost != "" {
		return www(x)
	}
	o := &x.Server.Options
	if o.ClientTLS != nil && otherName(x, o.ClientTLS) {
		return x.Reply(403)
	}
	if o.AppRoot != "" && x.Path == "/" {
		return appRoot(x, o.AppRoot)
	}
	return nil
}

// redirect answers what needs no backend, and rewrites the path.
func (b *before) redirect(_ context.Context, x *exchange.Exchange) *exchange.Answer {
	loc := x.Route.Location
	if loc.CORS != nil {
		if a := preflight(x, loc.CORS); a != nil {
			return a
		}
	}
	if loc.Redirect != nil {
		return elsewhere(x, loc)
	}
	if loc.Rewrite != nil && x.Route.Rewrites() {
		if a := rewrite(x, loc); a != nil {
			return a
		}
	}
	if (loc.SSLRedirect && x.Match.TLS || loc.ForceSSLRedirect) && x.Scheme == "http" {
		return toHTTPS(x, loc)
	}
	return nil
}

// access decides whether the backend is asked, and sets what it is told beyond what the proxy tells it.
func (b *before) access(ctx context.Context, x *exchange.Exchange) *exchange.Answer {
	loc := x.Route.Location
	if loc.Limits != nil {
		if a := b.limits(x, loc.Limits); a != nil {
			return a
		}
	}
	if guarded(loc) {
		if a := b.may(ctx, x, loc); a != nil {
			return a
		}
	}
	if loc.ForwardedPrefix != nil && loc.Rewrite != nil && x.Route.Rewrites() {
		forwardedPrefix(x, loc.ForwardedPrefix)
	}
	return nil
}

// guarded tells whether a location asks who it is that asks.
func guarded(loc *table.Location) bool {
	return len(loc.Deny) > 0 || loc.Allow != nil || loc.Basic != nil || loc.External != nil
}

// response adds the cookies of external authentication.
func (b *before) response(x *exchange.Exchange) {
	if c, ok := x.Slots[slotAuthCookies].(*authCookies); ok {
		c.add(x)
	}
}

func (b *before) close() { b.transport.closeIdle() }
