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
// may be built before there is a handler; their requests wait for it.
type Connector struct {
	ready chan struct{}

	mu      sync.Mutex
	handler http.Handler
}

// NewConnector returns a Connector that has no handler yet.
func NewConnector() *Connector {
	return &Connector{ready: make(chan struct{})}
}

// Serve lets requests through to h. It can be called once.
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

// await returns the handler as soon as there is one.
func (c *Connector) await(ctx context.Context) (http.Handler, error) {
	select {
	case <-c.ready:
	default:
		select {
		case <-c.ready:
		case <-ctx.Done():
			return nil, fmt.Errorf("in-memory connection: the API server did not start: %w", context.Cause(ctx))
		}
	}
	return c.handler, nil
}

// RESTConfig returns a client configuration that speaks to the server as u.
// host only names the server in URLs; nothing is ever dialled.
//
// The transport is installed as a wrapper, not as rest.Config.Transport: code
// that copies the configuration and sets TLS options or a dialer on the copy,
// as the admission webhooks do, keeps working.
func (c *Connector) RESTConfig(host string, u user.Info) *rest.Config {
	rt := &transport{connector: c, user: u}
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
