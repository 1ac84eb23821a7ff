package registry

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"
)

// defaultTransport is shared by all endpoints with no settings of their own.
func newDefaultTransport() *http.Transport {
	return &http.Transport{
		Proxy: http.ProxyFromEnvironment,
		// Whoever waits for a Pod wants to know soon that a registry is out of reach.
		DialContext:           (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		ForceAttemptHTTP2:     true,
		MaxIdleConns:          100,
		MaxIdleConnsPerHost:   50,
		IdleConnTimeout:       90 * time.Second,
		TLSHandshakeTimeout:   10 * time.Second,
		ExpectContinueTimeout: time.Second,
	}
}

// transport returns what carries requests to the endpoint; own says that it is
// the endpoint's own, with connections that have to be closed.
func (e *endpoint) transport(base http.RoundTripper) (rt http.RoundTripper, own bool, err error) {
	if !e.ownTLS() && e.dialTimeout == 0 {
		return base, false, nil
	}
	t, ok := base.(*http.Transport)
	if !ok {
		t = newDefaultTransport()
	}
	t = t.Clone()
	if t.TLSClientConfig, err = e.tlsConfig(); err != nil {
		return nil, false, err
	}
	if e.dialTimeout > 0 {
		t.DialContext = (&net.Dialer{Timeout: e.dialTimeout, KeepAlive: 30 * time.Second}).DialContext
	}
	return t, true, nil
}

// tlsConfig reads the endpoint's certificates. CAs are trusted beside the
// machine's.
func (e *endpoint) tlsConfig() (*tls.Config, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if e.skipVerify != nil {
		cfg.InsecureSkipVerify = *e.skipVerify
	}
	if len(e.caFiles) > 0 {
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool()
		}
		for _, file := range e.caFiles {
			data, err := os.ReadFile(file)
			if err != nil {
				return nil, fmt.Errorf("ca: %w", err)
			}
			if !pool.AppendCertsFromPEM(data) {
				return nil, fmt.Errorf("ca %s: holds no certificate in PEM form", file)
			}
		}
		cfg.RootCAs = pool
	}
	for _, pair := range e.clientPairs {
		cert, err := tls.LoadX509KeyPair(pair[0], pair[1])
		if err != nil {
			return nil, fmt.Errorf("client %s: %w", pair[0], err)
		}
		cfg.Certificates = append(cfg.Certificates, cert)
	}
	return cfg, nil
}

// speaksNoTLS tells whether an error says that the other side answered a TLS
// handshake in plain HTTP.
func speaksNoTLS(err error) bool {
	var header tls.RecordHeaderError
	return errors.Is(err, http.ErrSchemeMismatch) || errors.As(err, &header) && string(header.RecordHeader[:]) == "HTTP/"
}
