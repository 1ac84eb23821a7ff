package exchange

import (
	"crypto/tls"
	"net/netip"
	"time"

	"minato/internal/ingress/h1"
	"minato/internal/ingress/table"
)

// Version is the version of HTTP that the client speaks.
type Version uint8

// The versions.
const (
	HTTP10 Version = iota
	HTTP11
	HTTP2
)

// String returns the version as nginx's $server_protocol has it.
func (v Version) String() string {
	switch v {
	case HTTP10:
		return "HTTP/1.0"
	case HTTP2:
		return "HTTP/2.0"
	default:
		return "HTTP/1.1"
	}
}

// Exchange is one request and its answer. It belongs to one goroutine at a time, and is used again for another request
// after it has ended: whoever keeps a text of it clones it, since most are views into a buffer of the connection.
type Exchange struct {
	// Method is the request's method. Target is the request target as it was received, in origin form, and Path the decoded
	// path with its slashes merged and its dot segments resolved, which routes are matched against. A rewrite
	// changes Path and sets RewrittenTarget. Query is what follows the target's first question mark; HasQuery is set for
	// an empty one, too.
	Method, Target, Path, Query string
	HasQuery                    bool
	// HTTPHost is the host as it was received, and Host the same in lower case, without port and final dot.
	HTTPHost, Host string
	Version        Version
	// Scheme is "https" if the client spoke TLS to the proxy or to a balancer before it that is believed, else "http"
	// ($pass_access_scheme). BestHost and ForwardedPort are the same for X-Forwarded-Host and X-Forwarded-Port.
	Scheme, BestHost, ForwardedPort string
	// Header is the request's header as it was received; it is not changed.
	Header *h1.Header
	// ContentLength is -1 where the length is not known before the body's end.
	ContentLength int64
	// Client is the client's address as far as forwarding parties are trusted; Peer is the other end of the connection (or
	// what the PROXY protocol says), and Local is this end.
	Client, Peer, Local netip.AddrPort
	// Socket is the other end of the connection as the kernel has it; ViaProxy tells that Peer is from the PROXY protocol.
	Socket   netip.AddrPort
	ViaProxy bool
	// Connection is the connection's number, ConnectionRequests how many requests it has had, this one included, and Hostname
	// the node's name.
	Connection         uint64
	ConnectionRequests int
	Hostname           string
	// TLS is nil where the connection is not encrypted. Verify says how the client's certificate was judged.
	TLS    *tls.ConnectionState
	Verify ClientVerify
	// RequestID is the client's X-Request-ID or a new one, 32 hexadecimal digits.
	RequestID string
	Start     time.Time

	// Settings, Match, Route and Server are set before any hook is called. Route is nil only where Match has a RedirectHost.
	Settings *table.Settings
	Match    table.Match
	Route    *table.Route
	Server   *table.Server
	// Subject is the text that the route's pattern was matched against, which Match.Captures are offsets in.
	Subject string

	// RewrittenTarget is the target that the backend gets if it is not "".
	RewrittenTarget string
	// Upstream is the backend that is asked: the route's, or a canary's. Canary is set for the latter.
	Upstream *table.Upstream
	Canary   *table.CanaryUpstream
	// User is the name that a credential proved.
	User string
	// Forward is the header that the backend gets. It is there from Hooks.Access on, complete but for what later hooks
	// change; the fields that frame the message are written by the proxy.
	Forward h1.Header

	// Status and Response are the answer's, from Hooks.Response on.
	Status   int
	Response *h1.Header
	// FromBackend tells whether the answer is an endpoint's. Refused tells Hooks.Replace that the proxy has refused the request
	// before an endpoint was asked.
	FromBackend, Refused bool
	// Attempts are the endpoints that were asked, in their order.
	Attempts []Attempt
	// Sent is the number of bytes sent to the client, and SentBody those of the answer's body; Received counts the request.
	Sent, SentBody, Received int64

	// Pace bounds the speed of the answer's body if Rate is positive.
	Pace table.Pace

	// Slots are for filters to keep what they know of this request from one hook to the next. The proxy empties them.
	Slots [4]any

	answer  Answer
	release []func()
	scratch []byte
}

// Attempt is one endpoint that was asked.
type Attempt struct {
	Endpoint netip.AddrPort
	// Status is 0 without an answer, 502 or 504 where there was none for the log.
	Status int
	// Connect is how long it took to have a connection, Header until the answer's header had come, and Duration until its end.
	Connect, Header, Duration time.Duration
	// Bytes is the length of the answer's body.
	Bytes int64
}

// ClientVerify is how a client's certificate was judged.
type ClientVerify uint8

// The judgements.
const (
	VerifyNone    ClientVerify = iota // none was presented
	VerifySuccess                     // it is good
	VerifyFailed                      // it is not, or it was revoked
)

// Reset makes the Exchange ready for another request.
func (x *Exchange) Reset() {
	forward, captures, attempts, release, scratch, headers := x.Forward, x.Match.Captures, x.Attempts, x.release, x.scratch, x.answer.Headers
	forward.Reset()
	clear(release)
	clear(headers)
	*x = Exchange{
		Forward: forward, Match: table.Match{Captures: captures[:0]}, Attempts: attempts[:0], release: release[:0], scratch: scratch[:0],
		answer: Answer{Headers: headers[:0]},
	}
}

// OnDone has f called once when the exchange has ended, whatever its end is.
func (x *Exchange) OnDone(f func()) { x.release = append(x.release, f) }

// Done calls what was given to OnDone, the last first. The proxy calls it.
func (x *Exchange) Done() {
	for i := len(x.release) - 1; i >= 0; i-- {
		x.release[i]()
	}
	clear(x.release)
	x.release = x.release[:0]
}

// Capture returns a group of the route's pattern, "" where it did not take part.
func (x *Exchange) Capture(n int) string {
	if n < 0 || 2*n+1 >= len(x.Match.Captures) {
		return ""
	}
	from, to := x.Match.Captures[2*n], x.Match.Captures[2*n+1]
	if from < 0 || to < from || to > len(x.Subject) {
		return ""
	}
	return x.Subject[from:to]
}

// Location is the route's location, or nil.
func (x *Exchange) Location() *table.Location {
	if x.Route == nil {
		return nil
	}
	return x.Route.Location
}
