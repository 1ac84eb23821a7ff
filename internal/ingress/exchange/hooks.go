package exchange

import (
	"context"
	"io"
	"net/netip"

	"minato/internal/ingress/table"
)

// Hooks are where filters act on an Exchange, in this order. Each may be nil. A hook that returns an Answer ends the
// request with it: the hooks before Response that are left are not called. All are called from many goroutines at once,
// one for each Exchange.
//
//	          (the proxy: 421, client's certificate missing or bad 400/302, its authority's Secret broken 403)
//	First     block lists 403, client's name 403, app-root 302, from-to-www 308
//	          (the proxy: a pattern that took too many steps 500, Fault 503, 413 by Content-Length)
//	Redirect  CORS preflight 204, permanent and temporal redirect, rewrite, HTTPS redirect 308
//	Choose    the upstream: canaries. (the proxy: 503 without endpoints, the default backend in its place)
//	          (the proxy: makes Forward)
//	Access    limits 503, addresses 403, credentials 401/403/500, headers for the backend
//	Mirror    a copy of the request
//	Pick      an endpoint, once for each attempt
//	Replace   whether the answer is replaced by a default backend's (custom-http-errors)
//	Response  the answer's header: CORS, cookies, redirects, custom headers. For every answer, the proxy's own included
//	Encode    the answer's body: compression
//	Done      the end, after the last byte
type Hooks struct {
	First    func(ctx context.Context, x *Exchange) *Answer
	Redirect func(ctx context.Context, x *Exchange) *Answer
	Choose   func(x *Exchange)
	Access   func(ctx context.Context, x *Exchange) *Answer
	// Mirror is called when the request is about to be sent, if the location has a Mirror. The hook must copy what it keeps.
	Mirror func(x *Exchange, body Body)
	// Pick returns the number of an endpoint; a negative one leaves the choice to the proxy, which takes them in turn. With
	// a single endpoint it is called only where there is a cookie to set (UpstreamOptions.Affinity).
	Pick func(x *Exchange, candidates Candidates) int
	// Replace returns a backend whose answer is to be given in place of the status that an endpoint (or, with FromBackend
	// false, the proxy) answered, and adds to Forward what it shall know; nil keeps the answer. The body is kept only if it
	// was read ahead, and not for a request that was Refused. Without any Attempts and not Refused, it is a 503 for a
	// backend that has no endpoints, and the hook says by RewrittenTarget which path is asked for; it is called before Access
	// then. Otherwise the path is "/".
	Replace  func(x *Exchange, status int) *table.BackendRef
	Response func(x *Exchange)
	// Encode may change the body of an endpoint's answer on its way to the client: what is written to the Encoder that
	// it returns comes out at w. It is called after Response, for answers whose body the client gets; length is the
	// body's, -1 if it is not known. nil leaves the body as it is; else it is sent without a length.
	Encode func(x *Exchange, length int64, w io.Writer) Encoder
	Done   func(x *Exchange)
}

// Body is a request's body as far as it was read ahead, which is all of it or nothing.
type Body interface {
	// Size is the body's length, -1 if it was not read ahead.
	Size() int64
	// ReadAt reads from it, if it was read ahead.
	io.ReaderAt
}

// Encoder changes a body that is written to it.
type Encoder interface {
	io.Writer
	// Flush has come out what was written.
	Flush() error
	// Close has the rest come out, and ends the Encoder.
	Close() error
	// Abort ends the Encoder without that; it is called in place of Close.
	Abort()
}

// Candidates are the endpoints that one may be picked of.
type Candidates interface {
	// Len is at least 1. Endpoints keep their order as long as the set stays the same.
	Len() int
	Address(i int) netip.AddrPort
	// Tried tells whether the endpoint was asked for this request already, and Failing whether it refused a
	// connection within the last seconds. One that is neither is to be preferred.
	Tried(i int) bool
	Failing(i int) bool
	// Load is the number of requests at the endpoint, and Latency its moving average in nanoseconds, 0 if it is not known.
	Load(i int) int
	Latency(i int) int64
	// Generation changes with the set, for what is computed once for each set; State is where a filter keeps that.
	Generation() uint64
	State() *State
}
