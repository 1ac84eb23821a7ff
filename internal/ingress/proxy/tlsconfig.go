package proxy

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"sync"
	"time"

	"minato/internal/ingress/exchange"
	"minato/internal/ingress/table"
)

// handshakeTimeout is how long a client may take for the TLS handshake.
const handshakeTimeout = 15 * time.Second

// tlsServer is how clients are spoken to that ask for one server by name.
type tlsServer struct {
	server *table.Server
	config *tls.Config
}

// tlsKey is what a tlsServer depends on: names of one server may have different certificates.
type tlsKey struct {
	server *table.Server
	cert   *table.Certificate
}

var (
	errUnknownName   = errors.New("no server has the name that the client asked for")
	errNoCertificate = errors.New("there is no certificate for the name")
)

// handshake speaks TLS with the client; it reports false if the connection is at its end.
func (c *clientConn) handshake(v *view) bool {
	c.within(min(handshakeTimeout, orDuration(v.settings.HeaderTimeout, handshakeTimeout)))
	base := c.conn
	if v.settings.Passthrough {
		peeked, name := peekHello(c.conn)
		if peeked == nil {
			return false
		}
		if u := v.passthrough(name); u != nil {
			c.srv.passThrough(c, peeked, v.backend(u, &c.srv.backends))
			return false
		}
		base = peeked
	}
	conn := tls.Server(base, &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			s, err := c.srv.tlsServer(v, hello.ServerName)
			if err != nil {
				return nil, err
			}
			c.sni = s
			return s.config, nil
		},
	})
	if conn.HandshakeContext(c.ctx) != nil {
		return false
	}
	state := conn.ConnectionState()
	c.conn, c.tls = conn, &state
	c.watch.mu.Lock()
	c.watch.conn = conn
	c.watch.mu.Unlock()
	c.set(0)
	return true
}

// tlsServer returns how a client is spoken to that asks for the name.
func (s *Server) tlsServer(v *view, name string) (*tlsServer, error) {
	server, cert := v.table.CertificateFor(name)
	if v.settings.TLS.RejectUnknown && server.Name == "" {
		return nil, errUnknownName
	}
	key := tlsKey{server, cert}
	if have, ok := v.tls.Load(key); ok {
		return have.(*tlsServer), nil
	}
	t := &tlsServer{server: server, config: s.tlsConfig(v, server, cert)}
	v.tls.Store(key, t)
	return t, nil
}

// tlsConfig makes the configuration of a server.
func (s *Server) tlsConfig(v *view, server *table.Server, own *table.Certificate) *tls.Config {
	set := &v.settings.TLS
	c := &tls.Config{
		MinVersion: tls.VersionTLS12, CipherSuites: set.Ciphers, SessionTicketsDisabled: !set.Tickets && !set.SessionCache,
		NextProtos: []string{"http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			if own != nil && own.Pair != nil {
				return own.Pair, nil
			}
			if cert := s.def.Load(); cert != nil {
				return cert, nil
			}
			return nil, errNoCertificate
		},
	}
	if set.Min != 0 {
		c.MinVersion = set.Min
	}
	c.MaxVersion = set.Max
	if v.settings.HTTP2 {
		c.NextProtos = []string{"h2", "http/1.1"}
	}
	trust := ""
	if len(server.Options.Ciphers) > 0 {
		c.CipherSuites = server.Options.Ciphers
	}
	if t := server.Options.ClientTLS; t != nil && t.Verify != table.VerifyOff {
		// The judgement is made for each request, so that a client can be told in HTTP what is wrong.
		c.ClientAuth = tls.RequestClientCert
		c.ClientCAs = t.CAs
		trust = t.Secret.String()
	}
	switch {
	case set.Tickets:
		c.SetSessionTicketKeys(s.tickets.of(trust))
	case set.SessionCache:
		s.sessions.use(c, set, trust)
	}
	return c
}

// ticketKeys are the keys of session tickets. What one trust has sealed another cannot open, so that a session which
// one host has verified is not taken up at another. They live as long as the process, and change every day.
type ticketKeys struct {
	mu  sync.Mutex
	all map[string]*ticketKey
}

func (k *ticketKeys) of(trust string) [][32]byte {
	k.mu.Lock()
	defer k.mu.Unlock()
	day := clock() / int64(24*time.Hour)
	have := k.all[trust]
	if have == nil || have.day != day {
		var key [32]byte
		_, _ = rand.Read(key[:]) // does not fail (crypto/rand)
		next := &ticketKey{day: day, keys: [][32]byte{key}}
		if have != nil {
			next.keys = append(next.keys, have.keys[0]) // sessions of yesterday are still taken up
		}
		if k.all == nil {
			k.all = map[string]*ticketKey{}
		}
		k.all[trust], have = next, next
	}
	return have.keys
}

type ticketKey struct {
	day  int64
	keys [][32]byte
}

// verified judges the certificate that the client has shown.
func (t *tlsServer) verified(state *tls.ConnectionState) exchange.ClientVerify {
	if state == nil || t.server.Options.ClientTLS == nil || len(state.PeerCertificates) == 0 {
		return exchange.VerifyNone
	}
	return verifyClient(t.server.Options.ClientTLS, state.PeerCertificates, time.Now())
}

// verifyClient judges a chain of certificates by the host's authorities, depth and revocations.
func verifyClient(want *table.ClientTLS, chain []*x509.Certificate, now time.Time) exchange.ClientVerify {
	if want.CAs == nil {
		return exchange.VerifyFailed
	}
	rest := x509.NewCertPool()
	for _, c := range chain[1:] {
		rest.AddCert(c)
	}
	chains, err := chain[0].Verify(x509.VerifyOptions{
		Roots: want.CAs, Intermediates: rest, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		return exchange.VerifyFailed
	}
	for _, c := range chains {
		// The depth counts the authorities between the client's certificate and the root, and the root.
		if (want.Depth <= 0 || len(c)-1 <= want.Depth) && !revoked(want.CRL, c, now) {
			return exchange.VerifySuccess
		}
	}
	return exchange.VerifyFailed
}

// revoked tells whether a certificate of the chain was revoked by its issuer. With revocation lists, an authority that
// has none, or an outdated one, is not believed, as OpenSSL has it for nginx.
func revoked(lists []*x509.RevocationList, chain []*x509.Certificate, now time.Time) bool {
	if len(lists) == 0 {
		return false
	}
	for i, c := range chain[:len(chain)-1] {
		issuer := chain[i+1]
		covered := false
		for _, l := range lists {
			if l.CheckSignatureFrom(issuer) != nil || !l.NextUpdate.IsZero() && now.After(l.NextUpdate) {
				continue
			}
			covered = true
			for j := range l.RevokedCertificateEntries {
				if l.RevokedCertificateEntries[j].SerialNumber.Cmp(c.SerialNumber) == 0 {
					return true
				}
			}
		}
		if !covered {
			return true
		}
	}
	return false
}

// verifyBackend checks an endpoint's certificate for a name.
func verifyBackend(t *table.BackendTLS, name string) func(tls.ConnectionState) error {
	return func(state tls.ConnectionState) error {
		if len(state.PeerCertificates) == 0 {
			return errNoCertificate
		}
		rest := x509.NewCertPool()
		for _, c := range state.PeerCertificates[1:] {
			rest.AddCert(c)
		}
		chains, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: t.CAs, Intermediates: rest, DNSName: name})
		if err != nil {
			return err
		}
		for _, c := range chains {
			if t.Depth <= 0 || len(c)-1 <= t.Depth {
				return nil
			}
		}
		return errTooDeep
	}
}

var errTooDeep = errors.New("the endpoint's certificate is further from its authority than proxy-ssl-verify-depth allows")

// misdirected tells whether the request's host wants another trust than the connection was made with: 421 has the client
// come again on a connection of its own (RFC 9110, 15.5.20). An edit since the handshake that changes the trust counts.
func (f *flow) misdirected() bool {
	x := &f.x
	want := x.Server.Options.ClientTLS
	if x.TLS == nil || want == nil || want.Verify == table.VerifyOff && want.Broken == "" {
		return false
	}
	return !want.SameTrust(f.sni.server.Options.ClientTLS)
}

// certificate answers for hosts that want a client's certificate which there is not, or not a good one.
func (f *flow) certificate() *exchange.Answer {
	x := &f.x
	if x.TLS == nil || x.Server.Options.ClientTLS == nil {
		return nil
	}
	want := x.Server.Options.ClientTLS
	if want.Broken != "" {
		return x.Reply(403)
	}
	bad := false
	switch want.Verify {
	case table.VerifyOn:
		bad = x.Verify != exchange.VerifySuccess
	case table.VerifyOptional:
		bad = x.Verify == exchange.VerifyFailed
	}
	switch {
	case !bad:
		return nil
	case want.ErrorPage != nil:
		return x.Reply(302).With("Location", x.Expand(want.ErrorPage))
	default:
		return x.Reply(400)
	}
}
