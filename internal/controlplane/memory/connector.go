package memory

import (
	"context"
	"fmt"
	"net/http"
	"sync"

	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/client-go/rest"
)

const protobuf = "application/vnd.kubernetes.protobuf"

// Connector is the place where clients and the server's handler meet. Clients
// may be built before there is a handler. The requests of the server's own
// clients wait for the handler; those of all others wait until Open is called
// as well, because before that the server does not know their roles and would
// refuse them.
type Connector struct {
	ready    chan struct{}
	open     chan struct{}
	openOnce sync.Once

	mu      sync.Mutex
	handler http.Handler
}

// NewConnector returns a Connector that has no handler yet.
func NewConnector() *Connector {
	return &Connector{ready: make(chan struct{}), open: make(chan struct{})}
}

// Serve lets the requests of the server's own clients through to h. It can be
// called once.
func (c *Connector) Serve(h http.Handler) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.handler != nil {
		return fmt.Errorf("in-memory connection: a handler is set already")
	}
	c.handler = h
	close(c.ready)
	return nil
}

// Open lets the requests of all other clients through, too. More calls than one
// do no harm.
func (c *Connector) Open() { c.openOnce.Do(func() { close(c.open) }) }

// await returns the handler as soon as there is one and stage is closed.
func (c *Connector) await(ctx context.Context, stage <-chan struct{}) (http.Handler, error) {
	for _, stage := range []<-chan struct{}{c.ready, stage} {
		select {
		case <-stage:
			continue
		default:
		}
		select {
		case <-stage:
		case <-ctx.Done():
			return nil, fmt.Errorf("in-memory connection: the API server did not start: %w", context.Cause(ctx))
		}
	}
	return c.handler, nil
}

// RESTConfig returns a client configuration that speaks to the server as u.
// host only names the server in URLs; nothing is ever dialled.
func (c *Connector) RESTConfig(host string, u user.Info) *rest.Config {
	return c.config(host, &transport{connector: c, user: u, stage: c.open})
}

// ServerConfig is RESTConfig for the server itself, which must work before
// Open is called: it is the server that writes the roles.
func (c *Connector) ServerConfig(host string, u user.Info) *rest.Config {
	return c.config(host, &transport{connector: c, user: u, stage: c.ready})
}

// config makes a client configuration of a transport.
//
// The transport is installed as a wrapper, not as rest.Config.Transport: code
// that copies the configuration and sets TLS options or a dialer on the copy,
// as the admission webhooks do, keeps working.
func (c *Connector) config(host string, rt *transport) *rest.Config {
	return &rest.Config{
		Host:          host,
		WrapTransport: func(http.RoundTripper) http.RoundTripper { return rt },
		ContentConfig: rest.ContentConfig{
			ContentType:        protobuf,
			AcceptContentTypes: protobuf + ",application/json",
		},
		DisableCompression: true,
		QPS:                -1,
		Burst:              -1,
		WarningHandler:     rest.NoWarnings{},
	}
}
