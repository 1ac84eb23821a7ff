package table

import (
	"net/netip"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"minato/internal/ingress/regex"
)

// Class is the kind of defaults that an Ingress has.
type Class uint8

// The two classes of Ingresses that are served.
const (
	// ClassMinato is the Ingress API as it is specified.
	ClassMinato Class = iota
	// ClassNginx has ingress-nginx's defaults.
	ClassNginx
)

// Settings are what applies to all Ingresses, as ingress-nginx has it in its ConfigMap. Each field says which key it comes
// from; package nginx fills in the defaults. What an annotation can set too is in the defaults of Location instead.
type Settings struct {
	// Location is what is done with requests that no Ingress asks for; nil is the zero Location.
	Location            *Location
	ForwardedHeaders    bool                 // use-forwarded-headers
	FullForwardedFor    bool                 // compute-full-forwarded-for
	RealIP              bool                 // enable-real-ip
	ForwardedForHeader  string               // forwarded-for-header
	ProxyProtocol       bool                 // use-proxy-protocol
	TrustedProxies      []netip.Prefix       // proxy-real-ip-cidr
	ProxyHeaderTimeout  time.Duration        // proxy-protocol-header-timeout
	HSTS                HSTS                 // hsts*
	TLS                 TLSSettings          // ssl-*
	HTTP2               bool                 // use-http2
	HTTP2Streams        int                  // http2-max-concurrent-streams
	KeepAlive           time.Duration        // keep-alive: how long an idle connection of a client is kept
	KeepAliveRequests   int                  // keep-alive-requests
	UpstreamIdle        int                  // upstream-keepalive-connections
	UpstreamIdleTimeout time.Duration        // upstream-keepalive-timeout
	UpstreamRequests    int                  // upstream-keepalive-requests
	UpstreamTime        time.Duration        // upstream-keepalive-time
	HeaderBuffer        int                  // client-header-buffer-size
	LargeHeaderBuffers  int                  // large-client-header-buffers: how many
	LargeHeaderSize     int                  // large-client-header-buffers: bytes of each
	HeaderTimeout       time.Duration        // client-header-timeout
	BodyTimeout         time.Duration        // client-body-timeout
	ServerTokens        bool                 // server-tokens
	BackendServerHeader bool                 // allow-backend-server-header
	HideHeaders         []string             // hide-headers
	Underscores         bool                 // enable-underscores-in-headers
	KeepInvalidHeaders  bool                 // ignore-invalid-headers: "false"
	RequestID           bool                 // generate-request-id
	OriginalURIHeader   bool                 // proxy-add-original-uri-header
	SetHeaders          []ExpandedHeader     // proxy-set-headers
	AddHeaders          []HeaderField        // add-headers
	Gzip                *Compression         // use-gzip, gzip-*
	Brotli              *Compression         // enable-brotli, brotli-*
	BlockCIDRs          []netip.Prefix       // block-cidrs
	BlockAgents         []*regex.Regexp      // block-user-agents
	BlockReferers       []*regex.Regexp      // block-referers
	RedirectCode        int                  // http-redirect-code
	LimitRequestStatus  int                  // limit-req-status-code
	LimitConnStatus     int                  // limit-conn-status-code
	NoTLSRedirect       []string             // no-tls-redirect-locations: prefixes of paths
	NoAuth              []string             // no-auth-locations
	GlobalAuth          *ExternalAuth        // global-auth-*
	Log                 LogSettings          // log-format-*, disable-access-log, …
	Workers             int                  // worker-processes; 0 is one for each CPU
	MaxConnections      int                  // max-worker-connections
	ShutdownTimeout     time.Duration        // worker-shutdown-timeout
	StreamTimeout       time.Duration        // proxy-stream-timeout
	StreamTries         int                  // proxy-stream-next-upstream-tries; 1 with proxy-stream-next-upstream: "false", 0 without bound
	StreamRetryTime     time.Duration        // proxy-stream-next-upstream-timeout; 0 without bound
	Streams             []Stream             // tcp-services, udp-services
	DefaultBackend      *BackendRef          // --default-backend-service
	DefaultCertificate  types.NamespacedName // --default-ssl-certificate
	Passthrough         bool                 // --enable-ssl-passthrough
	NoCatchAll          bool                 // --disable-catch-all
}

// HSTS is Strict-Transport-Security on answers over TLS.
type HSTS struct {
	Enabled, SubDomains, Preload bool
	// AllClasses extends it to hosts of ClassMinato: the settings ask for it, which is more than a default.
	AllClasses bool
	MaxAge     int64 // seconds
}

// For tells whether a host's answers over TLS get the header: those of class nginx, unless the settings ask for all. The
// server is nil for a request that could not be read.
func (h *HSTS) For(s *Server) bool {
	return h.Enabled && (h.AllClasses || s != nil && s.Class == ClassNginx)
}

// TLSSettings are how clients are spoken to over TLS.
type TLSSettings struct {
	Min, Max uint16 // versions of crypto/tls
	Ciphers  []uint16
	Tickets  bool
	// SessionCache has sessions taken up again that the proxy remembers: up to so many
	// bytes of them, for so long.
	SessionCache     bool
	SessionCacheSize int64
	SessionTimeout   time.Duration
	RejectUnknown    bool // ssl-reject-handshake
	RedirectToHTTPS  bool // ssl-redirect
	ForceRedirect    bool // force-ssl-redirect
}

// Compression says which answers are compressed.
type Compression struct {
	Level     int
	MinLength int64
	Types     []string
}

// LogSettings say how requests are logged.
type LogSettings struct {
	Off, HTTPOff, StreamOff bool
	// Format is nil for ingress-nginx's default (upstreaminfo). JSON escapes values for JSON (log-format-escape-json).
	Format       *Text
	JSON         bool
	EscapeNone   bool
	StreamFormat *Text
	SkipPaths    []string // skip-access-log-urls
}

// Stream is a port that is passed to a Service as it is.
type Stream struct {
	Port        uint16
	UDP         bool
	Backend     BackendRef
	DecodeProxy bool
	EncodeProxy bool
}
