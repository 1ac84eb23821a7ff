package table

import (
	"crypto/x509"
	"net/netip"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"minato/internal/ingress/regex"
)

// Options are what one Ingress asks for besides its rules, typed and checked. Each field says which annotation of
// ingress-nginx (without its prefix) it comes from. The zero Options ask for nothing; package nginx fills in defaults.
type Options struct {
	// Location holds what applies to each path of the Ingress.
	Location Location
	// Host holds what applies to the Ingress's hosts as a whole: for each field, the oldest Ingress that sets it wins.
	Host HostOptions
	// Upstream holds what applies to the Services that the Ingress names, wherever they are used: the oldest Ingress wins.
	Upstream UpstreamOptions
	// Canary makes the Ingress a canary of another one (canary*).
	Canary *Canary
	// Fault has all paths of the Ingress answer 503: something about credentials or references can't be honoured, and
	// serving without it would open what shall be closed.
	Fault string
}

// Location is what is done with requests of one path. Its fields are in the order in which they act.
type Location struct {
	BodySize int64 // proxy-body-size in bytes; 0 is no limit

	CORS     *CORS     // enable-cors, cors-*
	Redirect *Redirect // permanent-redirect, temporal-redirect

	Rewrite         *Rewrite // rewrite-target
	UseRegex        bool     // use-regex
	ForwardedPrefix *Text    // x-forwarded-prefix; acts only with Rewrite

	SSLRedirect, ForceSSLRedirect bool // ssl-redirect, force-ssl-redirect
	PreserveTrailingSlash         bool // preserve-trailing-slash
	UsePortInRedirects            bool // use-port-in-redirects
	RelativeRedirects             bool // relative-redirects

	Limits   *Limits        // limit-*
	Pace     *Pace          // limit-rate, limit-rate-after
	Deny     []netip.Prefix // denylist-source-range
	Allow    []netip.Prefix // allowlist-source-range, whitelist-source-range; nil allows all
	Satisfy  Satisfy        // satisfy
	Basic    *BasicAuth     // auth-type, auth-secret, auth-secret-type, auth-realm
	External *ExternalAuth  // auth-url and its kin, or the global one
	NoGlobal bool           // enable-global-auth: "false"

	Protocol         Protocol // backend-protocol
	FastCGI          *FastCGI // fastcgi-*; with ProtocolFCGI
	HTTP10           bool     // proxy-http-version: "1.0"
	UpstreamVhost    *Text    // upstream-vhost
	ConnectionHeader string   // connection-proxy-header
	BackendTLS       *BackendTLS
	ConnectTimeout   time.Duration // proxy-connect-timeout
	ReadTimeout      time.Duration // proxy-read-timeout
	SendTimeout      time.Duration // proxy-send-timeout
	Retry            Retry         // proxy-next-upstream*
	RequestBuffering bool          // proxy-request-buffering
	RequestBuffer    int64         // client-body-buffer-size in bytes: what is kept in memory
	Buffering        Buffering     // proxy-buffering and its kin
	Mirror           *Mirror       // mirror-*

	ResponseHeaders []HeaderField // custom-headers: set on every answer
	ProxyRedirect   *Replacement  // proxy-redirect-from, -to
	CookieDomain    *Replacement  // proxy-cookie-domain
	CookiePath      *Replacement  // proxy-cookie-path

	CustomErrors  []int       // custom-http-errors: such answers are replaced by the default backend's
	KeepErrors    bool        // disable-proxy-intercept-errors
	ErrorsBackend *BackendRef // default-backend; nil is that of the Settings
	NoAccessLog   bool        // enable-access-log: "false"
	RewriteLog    bool        // enable-rewrite-log
	Tracing       *bool       // enable-opentelemetry
	TracingTrust  *bool       // opentelemetry-trust-incoming-span
}

// HeaderField is a header's name and value.
type HeaderField struct{ Name, Value string }

// CORS answers preflights and marks answers (enable-cors, cors-allow-*, cors-expose-headers, cors-max-age).
type CORS struct {
	// Origins are patterns such as https://*.example.com, or *.
	Origins                         []string
	Methods, Headers, ExposeHeaders string
	Credentials                     bool
	MaxAge                          int // seconds
}

// Redirect answers with a Location.
type Redirect struct {
	Target Text
	Code   int
}

// Rewrite replaces the path. With URL the answer is a redirect (302) to the expanded Target instead.
type Rewrite struct {
	Target Text
	URL    bool
}

// Limits bound what one client may do, for each Ingress and node. A zero bounds nothing.
type Limits struct {
	RPS, RPM, Connections, Burst int // limit-rps, limit-rpm, limit-connections, limit-burst-multiplier
	Exempt                       []netip.Prefix
}

// Pace bounds the speed of an answer: bytes per second, after the first After bytes.
type Pace struct{ Rate, After int64 }

// Satisfy says whether a client needs all of address and credentials, or one.
type Satisfy uint8

// All is the default.
const (
	SatisfyAll Satisfy = iota
	SatisfyAny
)

// BasicAuth asks for a name and a password.
type BasicAuth struct {
	Digest bool
	Realm  string
	Secret types.NamespacedName
	// Users maps names to hashes as htpasswd (or htdigest, "HA1" for the realm) has them.
	Users map[string]string
}

// ExternalAuth asks another server about each request (auth-url and its kin, global-auth-*).
type ExternalAuth struct {
	URL             Text
	Method          string // "" is the request's own: GET for ingress-nginx
	SignIn          *Text
	RedirectParam   string // auth-signin-redirect-param; "rd"
	ResponseHeaders []string
	AlwaysSetCookie bool
	RequestRedirect *Text
	SetHeaders      []ExpandedHeader // auth-proxy-set-headers
	CacheKey        *Text
	CacheDurations  []CacheDuration
	Keepalive       int // auth-keepalive; connections kept
	KeepaliveReqs   int
	KeepaliveTime   time.Duration
}

// ExpandedHeader is a header whose value may have variables.
type ExpandedHeader struct {
	Name  string
	Value Text
}

// CacheDuration says how long an answer with one of Codes is kept; without Codes, as in nginx, one with 200, 301 or 302.
type CacheDuration struct {
	Codes    []int
	Duration time.Duration
}

// Protocol is what is spoken with the endpoints.
type Protocol uint8

// The protocols of backend-protocol.
const (
	ProtocolHTTP Protocol = iota
	ProtocolHTTPS
	ProtocolGRPC
	ProtocolGRPCS
	ProtocolAuto // the client's scheme
	ProtocolFCGI
)

// FastCGI are the settings of ProtocolFCGI.
type FastCGI struct {
	Index  string
	Params []ExpandedHeader
}

// BackendTLS is how endpoints are spoken to over TLS (proxy-ssl-*). Without it, their certificates are not verified.
type BackendTLS struct {
	Secret      types.NamespacedName
	Certificate []byte // PEM: the client's certificate and key; may be empty
	Key         []byte
	CAs         *x509.CertPool
	Verify      bool
	Depth       int
	Name        *Text // proxy-ssl-name
	ServerName  bool  // proxy-ssl-server-name: send SNI
	MinVersion  uint16
	MaxVersion  uint16
	Ciphers     []uint16
}

// Retry says when a request is sent to another endpoint.
type Retry struct {
	Error, Timeout, InvalidHeader, NonIdempotent bool
	Statuses                                     []int // http_502 and the like
	Tries                                        int   // in all; 0 is without bound, up to the number of endpoints
	Total                                        time.Duration
}

// Buffering is how answers are held back for slow clients.
type Buffering struct {
	Enabled     bool
	HeaderSize  int64 // proxy-buffer-size: bytes of an answer's header at most
	Buffers     int
	Busy        int64
	MaxTempFile int64
}

// Mirror sends a copy of each request elsewhere.
type Mirror struct {
	Target Text
	Host   Text
	Body   bool
}

// Replacement rewrites part of a header of the answer.
type Replacement struct {
	// Off leaves everything; Default is nginx's "default" of proxy_redirect.
	Off, Default bool
	From, To     string
	Pattern      *regex.Regexp // From as a pattern ("~…")
	// Expand is To if it has variables or captures of Pattern, else nil.
	Expand *Text
}

// HostOptions apply to a host as a whole.
type HostOptions struct {
	AppRoot       string   // app-root
	Aliases       []string // server-alias: names
	AliasPatterns []*regex.Regexp
	FromToWWW     bool // from-to-www-redirect
	ClientTLS     *ClientTLS
	Passthrough   bool     // ssl-passthrough
	Ciphers       []uint16 // ssl-ciphers, those that this TLS library has
	PreferCiphers *bool    // ssl-prefer-server-ciphers
}

// ClientTLS asks clients for certificates (auth-tls-*).
type ClientTLS struct {
	Secret types.NamespacedName
	CAs    *x509.CertPool
	CAList [][]byte // subjects, DER
	CRL    []*x509.RevocationList
	// Broken closes the whole host with 403: the Secret can't be used.
	Broken       string
	Verify       ClientVerify
	Depth        int
	ErrorPage    *Text
	MatchCN      *regex.Regexp
	PassUpstream bool
}

// ClientVerify is auth-tls-verify-client.
type ClientVerify uint8

// The values of auth-tls-verify-client.
const (
	VerifyOn ClientVerify = iota
	VerifyOff
	VerifyOptional
	VerifyOptionalNoCA
)

// UpstreamOptions apply to a Service's port wherever it is used.
type UpstreamOptions struct {
	// Set has a bit for each field that an annotation of the Ingress itself sets: it wins over what younger Ingresses
	// set and over what others have by default.
	Set             UpstreamFields
	ServiceUpstream bool          // service-upstream: the cluster IP is the one endpoint
	LoadBalance     LoadBalance   // load-balance
	HashBy          *Text         // upstream-hash-by
	HashSubset      int           // upstream-hash-by-subset-size; 0 without subsets
	Affinity        *CookieOption // affinity: cookie
}

// UpstreamFields is a set of fields of UpstreamOptions.
type UpstreamFields uint8

// The fields of UpstreamOptions; SetHashBy stands for HashBy and HashSubset.
const (
	SetServiceUpstream UpstreamFields = 1 << iota
	SetLoadBalance
	SetHashBy
	SetAffinity
)

// LoadBalance is how endpoints are picked.
type LoadBalance uint8

// The values of load-balance.
const (
	RoundRobin LoadBalance = iota
	EWMA
)

// CookieOption keeps a client at an endpoint (affinity, affinity-mode, session-cookie-*).
type CookieOption struct {
	Persistent      bool // affinity-mode: persistent
	CanaryLegacy    bool // affinity-canary-behavior: legacy
	Name            string
	Path            string // "" is the rule's path
	Domain          string
	SameSite        string // "None", "Lax", "Strict"; "" without the attribute
	ConditionalNone bool   // session-cookie-conditional-samesite-none
	Secure          *bool
	MaxAge          int // seconds; 0 is none
	Expires         int // seconds; 0 is none
	ChangeOnFailure bool
	Partitioned     bool // session-cookie-partitioned
}

// Canary takes part of the requests of another Ingress (canary-*).
type Canary struct {
	Header, HeaderValue string
	HeaderPattern       *regex.Regexp
	// PatternBroken has requests with the header go to the primary: the pattern can't be read.
	PatternBroken bool
	Cookie        string
	Weight, Total int
}
