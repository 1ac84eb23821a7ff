package h1

import "encoding/binary"

// ID names a field that the ingress knows; 0 is any other. A Header finds the
// fields it has an ID for without a search by name.
type ID uint8

// IDs of the known fields.
const (
	Unknown ID = iota
	Host
	Connection
	ContentLength
	TransferEncoding
	Expect
	Upgrade
	TE
	Trailer
	KeepAlive
	ProxyConnection
	ProxyAuthenticate
	ProxyAuthorization
	HTTP2Settings
	Proxy
	Cookie
	Authorization
	UserAgent
	Referer
	Accept
	AcceptEncoding
	AcceptLanguage
	ContentType
	ContentEncoding
	Origin
	Range
	Forwarded
	XForwardedFor
	XForwardedHost
	XForwardedPort
	XForwardedProto
	XForwardedScheme
	XForwardedPrefix
	XRealIP
	XRequestID
	XScheme
	XOriginalForwardedFor
	XOriginalForwardedHost
	XOriginalURI
	Traceparent
	AccessControlRequestMethod
	SSLClientCert
	SSLClientVerify
	SSLClientSubjectDN
	SSLClientIssuerDN
	Server
	Date
	Location
	Refresh
	SetCookie
	CacheControl
	Vary
	StrictTransportSecurity
	XPoweredBy
	WWWAuthenticate
	ETag
	AccessControlAllowOrigin
	AccessControlAllowMethods
	AccessControlAllowHeaders
	AccessControlAllowCredentials
	AccessControlExposeHeaders
	AccessControlMaxAge
	XAccelBuffering
	idCount
)

// idNames are the names as they are written.
var idNames = [idCount]string{
	Host:                          "Host",
	Connection:                    "Connection",
	ContentLength:                 "Content-Length",
	TransferEncoding:              "Transfer-Encoding",
	Expect:                        "Expect",
	Upgrade:                       "Upgrade",
	TE:                            "TE",
	Trailer:                       "Trailer",
	KeepAlive:                     "Keep-Alive",
	ProxyConnection:               "Proxy-Connection",
	ProxyAuthenticate:             "Proxy-Authenticate",
	ProxyAuthorization:            "Proxy-Authorization",
	HTTP2Settings:                 "HTTP2-Settings",
	Proxy:                         "Proxy",
	Cookie:                        "Cookie",
	Authorization:                 "Authorization",
	UserAgent:                     "User-Agent",
	Referer:                       "Referer",
	Accept:                        "Accept",
	AcceptEncoding:                "Accept-Encoding",
	AcceptLanguage:                "Accept-Language",
	ContentType:                   "Content-Type",
	ContentEncoding:               "Content-Encoding",
	Origin:                        "Origin",
	Range:                         "Range",
	Forwarded:                     "Forwarded",
	XForwardedFor:                 "X-Forwarded-For",
	XForwardedHost:                "X-Forwarded-Host",
	XForwardedPort:                "X-Forwarded-Port",
	XForwardedProto:               "X-Forwarded-Proto",
	XForwardedScheme:              "X-Forwarded-Scheme",
	XForwardedPrefix:              "X-Forwarded-Prefix",
	XRealIP:                       "X-Real-IP",
	XRequestID:                    "X-Request-ID",
	XScheme:                       "X-Scheme",
	XOriginalForwardedFor:         "X-Original-Forwarded-For",
	XOriginalForwardedHost:        "X-Original-Forwarded-Host",
	XOriginalURI:                  "X-Original-URI",
	Traceparent:                   "Traceparent",
	AccessControlRequestMethod:    "Access-Control-Request-Method",
	SSLClientCert:                 "ssl-client-cert",
	SSLClientVerify:               "ssl-client-verify",
	SSLClientSubjectDN:            "ssl-client-subject-dn",
	SSLClientIssuerDN:             "ssl-client-issuer-dn",
	Server:                        "Server",
	Date:                          "Date",
	Location:                      "Location",
	Refresh:                       "Refresh",
	SetCookie:                     "Set-Cookie",
	CacheControl:                  "Cache-Control",
	Vary:                          "Vary",
	StrictTransportSecurity:       "Strict-Transport-Security",
	XPoweredBy:                    "X-Powered-By",
	WWWAuthenticate:               "WWW-Authenticate",
	ETag:                          "ETag",
	AccessControlAllowOrigin:      "Access-Control-Allow-Origin",
	AccessControlAllowMethods:     "Access-Control-Allow-Methods",
	AccessControlAllowHeaders:     "Access-Control-Allow-Headers",
	AccessControlAllowCredentials: "Access-Control-Allow-Credentials",
	AccessControlExposeHeaders:    "Access-Control-Expose-Headers",
	AccessControlMaxAge:           "Access-Control-Max-Age",
	XAccelBuffering:               "X-Accel-Buffering",
}

// String returns the field's name as it is written, or "" for Unknown.
func (id ID) String() string {
	if id >= idCount {
		return ""
	}
	return idNames[id]
}

// idTable holds the known fields in lower case at their nameHash, each in a slot
// of its own.
var idTable = buildIDTable()

type idEntry struct {
	id    ID
	lower string
}

func buildIDTable() *[256]idEntry {
	var t [256]idEntry
	for id := ID(1); id < idCount; id++ {
		name := idNames[id]
		t[nameHash(name)] = idEntry{id: id, lower: string(appendLower(nil, name))}
	}
	return &t
}

// nameHash is free of collisions among the known names: its factors were searched
// for, and a test holds them to it. The name is not empty.
func nameHash[T []byte | string](name T) uint8 {
	l := len(name)
	h := uint32(l)*782 + uint32(name[0]|0x20)*960 + uint32(name[l-1]|0x20)*500 + uint32(name[max(0, l-4)]|0x20)*917
	return uint8(h ^ h>>8)
}

// idOf returns the ID of a name that is a token, in any case of its letters.
func idOf[T []byte | string](name T) ID {
	if len(name) == 0 {
		return Unknown
	}
	e := &idTable[nameHash(name)]
	if len(e.lower) != len(name) {
		return Unknown
	}
	for i := range len(name) {
		// Of the bytes of a token, setting bit 5 makes only a letter's two cases equal.
		if name[i]|0x20 != e.lower[i] {
			return Unknown
		}
	}
	return e.id
}

// lookup is idOf for the parser, eight bytes at a time.
func lookup(name []byte) ID {
	e := &idTable[nameHash(name)]
	l := len(name)
	if len(e.lower) != l {
		return Unknown
	}
	known := e.lower
	if l < 8 {
		for i, c := range name {
			if c|0x20 != known[i] {
				return Unknown
			}
		}
		return e.id
	}
	const bit5 = 0x2020202020202020
	for i := 0; ; i += 8 {
		i = min(i, l-8)
		if binary.LittleEndian.Uint64(name[i:])|bit5 != load64(known, i) {
			return Unknown
		}
		if i == l-8 {
			return e.id
		}
	}
}

// load64 returns the eight bytes of s from i on as a little-endian word.
func load64(s string, i int) uint64 {
	s = s[i : i+8]
	return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
		uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
}
