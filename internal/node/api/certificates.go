package api

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"math"
	"sync"
	"time"

	"k8s.io/utils/clock"
)

// refreshEvery is how often clients' handshakes make the server ask for its
// certificate again.
const refreshEvery = 10 * time.Second

// certificates keeps the TLS configuration in step with the node's certificates.
type certificates struct {
	source func() (tls.Certificate, *x509.CertPool, error)
	clock  clock.PassiveClock
	log    *slog.Logger

	mu     sync.Mutex
	at     time.Time
	config *tls.Config // nil before the first success
}

// forClient is tls.Config.GetConfigForClient.
func (c *certificates) forClient(*tls.ClientHelloInfo) (*tls.Config, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.clock.Now()
	if c.config != nil && now.Sub(c.at) < refreshEvery {
		return c.config, nil
	}
	cert, clients, err := c.source()
	if err == nil && len(cert.Certificate) == 0 {
		err = errors.New("the node has no serving certificate")
	}
	switch {
	case err != nil && c.config == nil:
		return nil, err
	case err != nil:
		c.log.Warn("The node API's serving certificate cannot be renewed; the one before stays in use", "error", err)
	case c.config == nil || !sameCertificate(c.config.Certificates[0], cert) || !c.config.ClientCAs.Equal(clients):
		c.config = tlsConfig(cert, clients)
	}
	c.at = now
	return c.config, nil
}

// left is how long the serving certificate is valid from now on, in seconds, and
// less than nothing once it has expired; infinite without one. It is what kubelets
// call kubelet_certificate_manager_server_ttl_seconds.
func (c *certificates) left() float64 {
	config, err := c.forClient(nil)
	if err != nil {
		return math.Inf(1)
	}
	leaf := config.Certificates[0].Leaf
	if leaf == nil {
		if leaf, err = x509.ParseCertificate(config.Certificates[0].Certificate[0]); err != nil {
			return math.Inf(1)
		}
	}
	return math.Trunc(leaf.NotAfter.Sub(c.clock.Now()).Seconds())
}

func sameCertificate(a, b tls.Certificate) bool {
	return len(a.Certificate) == len(b.Certificate) && bytes.Equal(a.Certificate[0], b.Certificate[0])
}

func tlsConfig(cert tls.Certificate, clients *x509.CertPool) *tls.Config {
	return &tls.Config{
		Certificates: []tls.Certificate{cert},
		ClientCAs:    clients,
		ClientAuth:   tls.VerifyClientCertIfGiven,
		MinVersion:   tls.VersionTLS12,
		// Not HTTP/2: exec, attach and port-forward take the connection over.
		NextProtos: []string{"http/1.1"},
	}
}
