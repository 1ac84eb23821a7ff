package registry

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"path"
	"strings"
	"time"
)

// endpoint is one place that has the images of a registry: the registry itself,
// or a mirror of it.
type endpoint struct {
	scheme string // "http" or "https"
	host   string // with a port where there is one
	path   string // what requests begin with, such as "/v2"
	// fallback says that plain HTTP is spoken where the other side does not speak
	// TLS.
	fallback bool
	// pull says that it is asked for content, resolve that it may say what a tag
	// means.
	pull, resolve bool

	caFiles     []string
	clientPairs [][2]string // certificate and key, which may be in the same file
	skipVerify  *bool
	header      http.Header
	dialTimeout time.Duration
}

func (e *endpoint) ownTLS() bool {
	return len(e.caFiles) > 0 || len(e.clientPairs) > 0 || e.skipVerify != nil
}

// defaultEndpoint is where a registry is that nothing is configured for. Only
// this machine itself may be spoken to without TLS.
func defaultEndpoint(registry string) endpoint {
	e := endpoint{scheme: "https", host: registry, path: "/v2", pull: true, resolve: true}
	if registry == "docker.io" {
		e.host = "registry-1.docker.io"
		return e
	}
	if !isLoopback(registry) {
		return e
	}
	switch _, port, _ := net.SplitHostPort(registry); port {
	case "", "443":
	case "80":
		e.scheme = "http"
	default:
		e.fallback = true
	}
	return e
}

func isLoopback(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	if host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && addr.IsLoopback()
}

// setServer takes the URL of an endpoint apart.
func (e *endpoint) setServer(server string, overridePath bool) error {
	if !strings.Contains(server, "://") {
		server = "https://" + server
	}
	u, err := url.Parse(server)
	if err != nil {
		return fmt.Errorf("%q: %w", server, err)
	}
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		return fmt.Errorf("%q: the scheme is http or https", server)
	case u.Host == "" || strings.HasSuffix(u.Host, ":"):
		return fmt.Errorf("%q: names no host", server)
	case u.User != nil:
		return fmt.Errorf("%q: a login does not belong there; use an imagePullSecret, or header", server)
	case u.RawQuery != "" || u.Fragment != "":
		return fmt.Errorf("%q: has a query or a fragment, which a registry's address has not", server)
	}
	e.scheme, e.host, e.path = u.Scheme, u.Host, u.Path
	if e.path != "" {
		e.path = path.Clean(e.path)
	}
	if e.path == "/" {
		e.path = ""
	}
	if !overridePath && !strings.HasSuffix(e.path, "/v2") {
		e.path += "/v2"
	}
	return nil
}

// namespace is what a mirror has to be told of whose images are wanted, or ""
// for the registry itself.
func (e *endpoint) namespace(registry string) string {
	if e.host == registry || registry == "docker.io" && e.host == "registry-1.docker.io" {
		return ""
	}
	return registry
}
