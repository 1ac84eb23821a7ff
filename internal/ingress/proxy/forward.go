package proxy

import (
	"net/netip"
	"strconv"
	"strings"

	"minato/internal/ingress/exchange"
	"minato/internal/ingress/h1"
	"minato/internal/ingress/table"
)

// ownFields are those that the proxy sets for the backend, or removes: a client's are not passed.
var ownFields = h1.Mask(h1.XForwardedFor, h1.XForwardedHost, h1.XForwardedPort, h1.XForwardedProto, h1.XForwardedScheme, h1.XScheme,
	h1.XRealIP, h1.XRequestID, h1.XOriginalForwardedFor, h1.XOriginalForwardedHost, h1.Forwarded, h1.Proxy, h1.Host,
	h1.ContentLength, h1.Expect, h1.SSLClientCert, h1.SSLClientVerify, h1.SSLClientSubjectDN, h1.SSLClientIssuerDN)

// trust takes what forwarding parties say of the client, as far as the settings believe them (use-forwarded-headers,
// enable-real-ip, use-proxy-protocol). As ingress-nginx has it, X-Forwarded-Proto, -Port and -Host are believed from
// anyone once use-forwarded-headers is set, and addresses from TrustedProxies alone.
func (f *flow) trust(port *portText) {
	x, s := &f.x, f.view.settings
	if s.ProxyProtocol && port.n == 443 {
		x.Scheme = "https"
	}
	if s.ForwardedHeaders || s.RealIP {
		f.trustAddress(s)
	}
	if !s.ForwardedHeaders {
		return
	}
	if v := first(f.header.Get(h1.XForwardedProto)); v == "https" || v == "http" {
		x.Scheme = v
	}
	if v := first(f.header.Get(h1.XForwardedPort)); v != "" {
		if _, err := strconv.ParseUint(v, 10, 16); err == nil {
			x.ForwardedPort = v
			if !f.header.Has(h1.XForwardedProto) && s.ProxyProtocol && v == "443" {
				x.Scheme = "https"
			}
		}
	}
	if v := first(f.header.Get(h1.XForwardedHost)); v != "" && h1.ValidHost([]byte(v)) {
		x.BestHost = v
	}
}

// first is the first element of a list.
func first(v []byte) string {
	s, _, _ := strings.Cut(str(v), ",")
	return strings.TrimSpace(s)
}

// trustAddress finds the client's address in the chain of forwarding parties, from the nearest on: the first that is
// not trusted, or the last there is.
func (f *flow) trustAddress(s *table.Settings) {
	name := s.ForwardedForHeader
	if name == "" {
		name = "X-Forwarded-For"
	}
	at := f.x.Peer.Addr()
	if !trusted(s.TrustedProxies, at) || !f.header.HasName(name) {
		return
	}
	var chain []byte
	for v := range f.header.Values(name) {
		if len(chain) > 0 {
			chain = append(chain, ',')
		}
		chain = append(chain, v...)
	}
	rest := string(chain)
	for rest != "" {
		element := rest
		if i := strings.LastIndexByte(rest, ','); i >= 0 {
			rest, element = rest[:i], rest[i+1:]
		} else {
			rest = ""
		}
		addr, port, ok := parseAddress(strings.TrimSpace(element))
		if !ok {
			return
		}
		f.x.Client = netip.AddrPortFrom(addr, port)
		if !trusted(s.TrustedProxies, addr) {
			return
		}
	}
}

// trusted tells whether a party may say where a request comes from. Without a list everyone may, and with an empty one
// nobody: none of proxy-real-ip-cidr could be read.
func trusted(list []netip.Prefix, a netip.Addr) bool {
	if list == nil {
		return true
	}
	for _, p := range list {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// parseAddress parses an address with or without a port.
func parseAddress(s string) (netip.Addr, uint16, bool) {
	if a, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
		return a.Unmap().WithZone(""), 0, true
	}
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return ap.Addr().Unmap().WithZone(""), ap.Port(), true
	}
	return netip.Addr{}, 0, false
}

// forward makes the header that the backend gets: the client's without what concerns the connection and what is the
// proxy's to say, then that.
func (f *flow) forward(loc *table.Location) {
	x, h := &f.x, &f.x.Forward
	f.header.ShareTo(h)
	if loc.ConnectionHeader != "" {
		f.upgrade = false // connection-proxy-header takes the place of what an upgrade needs
	}
	h.RemoveHopByHop(f.upgrade)
	h.DelMask(ownFields)
	host := x.BestHost
	if loc.UpstreamVhost != nil {
		host = x.Expand(loc.UpstreamVhost)
	}
	// What cannot be a field's value is left out; the rest came from the client as such, or was made here.
	_ = h.AddString(h1.Host, host)
	if x.Settings.RequestID || f.header.Has(h1.XRequestID) {
		_ = h.AddString(h1.XRequestID, x.RequestID)
	}
	from := len(f.buf)
	f.buf = x.Client.Addr().AppendTo(f.buf)
	client := f.tail(from)
	_ = h.AddString(h1.XRealIP, client)
	f.forwardedFor(client)
	_ = h.AddString(h1.XForwardedHost, x.BestHost)
	_ = h.AddString(h1.XForwardedPort, x.ForwardedPort)
	_ = h.AddString(h1.XForwardedProto, x.Scheme)
	_ = h.AddString(h1.XForwardedScheme, x.Scheme)
	_ = h.AddString(h1.XScheme, x.Scheme)
	f.forwarded(client)
	if x.Settings.OriginalURIHeader {
		_ = h.SetString(h1.XOriginalURI, x.Target)
	}
	if loc.ConnectionHeader != "" {
		_ = h.SetString(h1.Connection, loc.ConnectionHeader)
	}
	for i := range x.Settings.SetHeaders {
		e := &x.Settings.SetHeaders[i]
		if value := x.Expand(&e.Value); value != "" || strings.EqualFold(e.Name, "Host") {
			_ = h.SetName(e.Name, value)
		} else {
			h.DelName(e.Name) // as nginx has it, a field without a value isn't passed
		}
	}
	f.clientCertificate()
}

// forwardedFor sets X-Forwarded-For to the client's address, or appends to what came if the settings say so.
func (f *flow) forwardedFor(client string) {
	x, h, s := &f.x, &f.x.Forward, f.view.settings
	if v := f.header.Get(h1.XForwardedFor); len(v) > 0 {
		_ = h.Add(h1.XOriginalForwardedFor, v)
		if s.ForwardedHeaders && s.FullForwardedFor {
			from := len(f.buf)
			f.buf = append(append(f.buf, v...), ", "...)
			f.buf = x.Peer.Addr().AppendTo(f.buf)
			client = f.tail(from)
		}
	}
	_ = h.AddString(h1.XForwardedFor, client)
	if v := f.header.Get(h1.XForwardedHost); len(v) > 0 {
		_ = h.Add(h1.XOriginalForwardedHost, v)
	}
}

// forwarded sets Forwarded (RFC 7239). A client's own is dropped unless forwarding parties are believed; then an element is
// appended to it.
func (f *flow) forwarded(client string) {
	x := &f.x
	from := len(f.buf)
	if v := f.header.Get(h1.Forwarded); len(v) > 0 && x.Settings.ForwardedHeaders && trusted(x.Settings.TrustedProxies, x.Peer.Addr()) {
		f.buf = append(append(f.buf, v...), ", "...)
	}
	if x.Client.Addr().Is6() {
		f.buf = append(append(append(f.buf, `for="[`...), client...), `]"`...)
	} else {
		f.buf = append(append(f.buf, "for="...), client...)
	}
	if x.BestHost != "" {
		f.buf = append(append(append(f.buf, `;host="`...), x.BestHost...), '"')
	}
	f.buf = append(append(f.buf, ";proto="...), x.Scheme...)
	_ = x.Forward.Add(h1.Forwarded, f.buf[from:])
}

// clientCertificate tells the backend how the client's certificate was judged (auth-tls-*).
func (f *flow) clientCertificate() {
	x := &f.x
	if x.TLS == nil || x.Server.Options.ClientTLS == nil {
		return
	}
	want := x.Server.Options.ClientTLS
	h := &x.Forward
	_ = h.AddString(h1.SSLClientVerify, x.Lookup(table.VarSSLClientVerify, ""))
	if name := x.Lookup(table.VarSSLClientSDN, ""); name != "" {
		_ = h.AddString(h1.SSLClientSubjectDN, name)
	}
	if name := x.Lookup(table.VarSSLClientIDN, ""); name != "" {
		_ = h.AddString(h1.SSLClientIssuerDN, name)
	}
	if want.PassUpstream && len(x.TLS.PeerCertificates) > 0 {
		_ = h.AddString(h1.SSLClientCert, exchange.EscapedPEM(x.TLS.PeerCertificates[0].Raw))
	}
}
