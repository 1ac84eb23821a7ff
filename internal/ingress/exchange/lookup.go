package exchange

import (
	"crypto/sha1" //nolint:gosec // the fingerprint that nginx's variable has
	"crypto/tls"
	"encoding/hex"
	"encoding/pem"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"minato/internal/ingress/h1"
	"minato/internal/ingress/table"
)

// text returns bytes as a string without a copy; it is valid as long as they are.
func text(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// Lookup implements table.Lookup. Values are as nginx has them; most are views, valid until the Exchange ends.
func (x *Exchange) Lookup(v table.Var, name string) string {
	switch v {
	case table.VarHost, table.VarServerName:
		return x.Host
	case table.VarBestHTTPHost:
		return x.BestHost
	case table.VarHTTPHost:
		return x.HTTPHost
	case table.VarHeader:
		return text(x.Header.GetName(name))
	case table.VarRequestURI:
		return x.Target
	case table.VarEscapedRequestURI:
		return url.QueryEscape(x.Target)
	case table.VarURI:
		return x.Path
	case table.VarScheme:
		return x.Scheme
	case table.VarArgs:
		return x.Query
	case table.VarIsArgs:
		if x.Query != "" {
			return "?"
		}
		return ""
	case table.VarArg:
		return Arg(x.Query, name)
	case table.VarCookie:
		return x.Cookie(name)
	case table.VarRequestMethod:
		return x.Method
	case table.VarServerProtocol:
		return x.Version.String()
	case table.VarRequestID:
		return x.RequestID
	case table.VarRemoteUser:
		return x.User
	case table.VarCapture:
		n, err := strconv.Atoi(name)
		if err != nil {
			return ""
		}
		return x.Capture(n)
	case table.VarContentType:
		return text(x.Header.Get(h1.ContentType))
	case table.VarContentLength:
		return text(x.Header.Get(h1.ContentLength))
	case table.VarMsec:
		return Msec(time.Now())
	case table.VarHostname:
		return x.Hostname
	case table.VarRemoteAddr, table.VarRemotePort, table.VarServerAddr, table.VarProxyProtocolAddr, table.VarRealIPRemoteAddr,
		table.VarServerPort, table.VarProxyAddXForwardedFor:
		return x.addressVar(v)
	case table.VarNamespace, table.VarIngressName, table.VarServiceName, table.VarServicePort, table.VarUpstreamName:
		return x.routeVar(v)
	case table.VarSSLClientSDN, table.VarSSLClientIDN, table.VarSSLClientVerify, table.VarSSLClientFingerprint,
		table.VarSSLClientSerial, table.VarSSLProtocol, table.VarSSLCipher,
		table.VarSSLServerName, table.VarSSLClientCert:
		return x.tlsVar(v)
	default:
		return ""
	}
}

func (x *Exchange) addressVar(v table.Var) string {
	switch v {
	case table.VarRemoteAddr:
		return x.Client.Addr().String()
	case table.VarRemotePort:
		return strconv.Itoa(int(x.Client.Port()))
	case table.VarServerPort:
		return strconv.Itoa(int(x.Local.Port()))
	case table.VarServerAddr:
		return x.Local.Addr().String()
	case table.VarRealIPRemoteAddr:
		return x.Socket.Addr().String()
	case table.VarProxyProtocolAddr:
		if !x.ViaProxy {
			return ""
		}
		return x.Peer.Addr().String()
	default:
		if got := x.Header.Get(h1.XForwardedFor); len(got) > 0 {
			return string(got) + ", " + x.Peer.Addr().String()
		}
		return x.Peer.Addr().String()
	}
}

func (x *Exchange) routeVar(v table.Var) string {
	switch {
	case x.Route == nil:
		return ""
	case v == table.VarNamespace:
		return x.Route.Namespace
	case v == table.VarIngressName:
		return x.Route.Ingress
	case x.Route.Backend == nil:
		return ""
	case v == table.VarServiceName:
		return x.Route.Backend.Service
	case v == table.VarUpstreamName:
		return UpstreamName(x.Route.Backend)
	default:
		return x.Route.Backend.Port
	}
}

func (x *Exchange) tlsVar(v table.Var) string {
	if x.TLS == nil {
		return ""
	}
	switch v {
	case table.VarSSLProtocol:
		return Protocol(x.TLS.Version)
	case table.VarSSLCipher:
		return tls.CipherSuiteName(x.TLS.CipherSuite)
	case table.VarSSLClientVerify:
		switch x.Verify {
		case VerifySuccess:
			return "SUCCESS"
		case VerifyFailed:
			return "FAILED"
		default:
			return "NONE"
		}
	}
	if v == table.VarSSLServerName {
		return x.TLS.ServerName
	}
	if len(x.TLS.PeerCertificates) == 0 {
		return ""
	}
	cert := x.TLS.PeerCertificates[0]
	switch v {
	case table.VarSSLClientSDN:
		return cert.Subject.String()
	case table.VarSSLClientIDN:
		return cert.Issuer.String()
	case table.VarSSLClientCert:
		return EscapedPEM(cert.Raw)
	case table.VarSSLClientSerial:
		return strings.ToUpper(hex.EncodeToString(cert.SerialNumber.Bytes()))
	default:
		sum := sha1.Sum(cert.Raw) //nolint:gosec // see the import
		return hex.EncodeToString(sum[:])
	}
}

// Protocol returns a version of TLS as nginx's $ssl_protocol has it.
func Protocol(version uint16) string {
	switch version {
	case tls.VersionTLS10:
		return "TLSv1"
	case tls.VersionTLS11:
		return "TLSv1.1"
	case tls.VersionTLS12:
		return "TLSv1.2"
	case tls.VersionTLS13:
		return "TLSv1.3"
	default:
		return ""
	}
}

// Arg returns a parameter of a query as it is written in it, "" if it is not there ($arg_NAME; the name in any case).
func Arg(query, name string) string {
	for query != "" {
		var pair string
		pair, query, _ = strings.Cut(query, "&")
		if key, value, found := strings.Cut(pair, "="); found && strings.EqualFold(key, name) {
			return value
		}
	}
	return ""
}

// Cookie returns the value of the first cookie of the name that the request brings, "" without one.
func (x *Exchange) Cookie(name string) string {
	if !x.Header.Has(h1.Cookie) {
		return ""
	}
	for line := range x.Header.Values("Cookie") {
		rest := text(line)
		for rest != "" {
			var pair string
			pair, rest, _ = strings.Cut(rest, ";")
			if key, value, found := strings.Cut(strings.TrimLeft(pair, " \t"), "="); found && key == name {
				return value
			}
		}
	}
	return ""
}

// Msec returns a time as nginx's $msec has it: seconds with milliseconds.
func Msec(t time.Time) string {
	b := strconv.AppendInt(nil, t.Unix(), 10)
	ms := t.Nanosecond() / int(time.Millisecond)
	return string(append(b, '.', byte('0'+ms/100), byte('0'+ms/10%10), byte('0'+ms%10)))
}

// UpstreamName is ingress-nginx's name of an upstream: namespace-service-port.
func UpstreamName(u *table.Upstream) string {
	return u.Namespace + "-" + u.Service + "-" + u.Port
}

// EscapedPEM is a certificate as nginx's $ssl_client_escaped_cert has it: PEM, URL-encoded.
func EscapedPEM(raw []byte) string {
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw})
	return strings.ReplaceAll(url.QueryEscape(string(text)), "+", "%20")
}
