// Package listen keeps an HTTP server at a port of a node, for as long as it is wanted: a port that another process has is
// tried again, and nothing else waits for it. It may import the standard library alone.
package listen

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"
)

// Config says what is served where.
type Config struct {
	// Listen opens a port of the node.
	Listen func(ctx context.Context, network, address string) (net.Listener, error)
	// Address is the TCP address.
	Address string
	Handler http.Handler
	// Failed is called once when the port can't be opened or was closed, and not again until it has been open for once.
	Failed func(error)
	// Recovered is called when the port is open after Failed was called.
	Recovered func()
	// FirstRetry is the pause before the second try, which then doubles up to LastRetry; zero takes a second and a minute.
	FirstRetry, LastRetry time.Duration
}

const (
	readTimeout = 5 * time.Second
	idleTimeout = time.Minute
)

// Keep serves until ctx ends.
func Keep(ctx context.Context, cfg Config) {
	if cfg.FirstRetry == 0 {
		cfg.FirstRetry = time.Second
	}
	if cfg.LastRetry == 0 {
		cfg.LastRetry = time.Minute
	}
	pause, failed := cfg.FirstRetry, false
	for ctx.Err() == nil {
		l, err := cfg.Listen(ctx, "tcp", cfg.Address)
		if err == nil {
			if failed {
				cfg.Recovered()
			}
			pause, failed = cfg.FirstRetry, false
			err = cfg.serve(ctx, l)
		}
		if ctx.Err() != nil {
			return
		}
		if !failed {
			cfg.Failed(err)
			failed = true
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
			pause = min(2*pause, cfg.LastRetry)
		}
	}
}

// serve answers at an open port until ctx ends or the port fails.
func (cfg *Config) serve(ctx context.Context, l net.Listener) error {
	srv := &http.Server{Handler: cfg.Handler, ReadHeaderTimeout: readTimeout, IdleTimeout: idleTimeout}
	stop := context.AfterFunc(ctx, func() { srv.Close() })
	defer stop()
	defer srv.Close()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
