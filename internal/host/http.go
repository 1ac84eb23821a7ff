package host

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"
)

// How long a client may take, how long its connection may be idle, and how much
// it may send before it has asked for anything.
const (
	httpHeaderTimeout = 5 * time.Second
	httpWriteTimeout  = 30 * time.Second
	httpIdleTimeout   = 90 * time.Second
	httpHeaderBytes   = 16 << 10
)

// Listen opens a listening socket, as [net.ListenConfig.Listen] does.
type Listen = func(ctx context.Context, network, address string) (net.Listener, error)

// ServeHTTP answers at TCP addresses until ctx ends. It returns an error if one
// of the addresses can't be opened or stops answering.
func ServeHTTP(ctx context.Context, listen Listen, h http.Handler, addresses ...string) error {
	var listeners []net.Listener
	defer func() {
		for _, l := range listeners {
			l.Close()
		}
	}()
	for _, a := range addresses {
		l, err := listen(ctx, "tcp", a)
		if err != nil {
			return fmt.Errorf("open %s for HTTP requests: %w", a, err)
		}
		listeners = append(listeners, l)
	}
	return AnswerHTTP(ctx, h, listeners...)
}

// AnswerHTTP answers at listeners until ctx ends, which closes them. It returns
// an error if one of them stops answering.
func AnswerHTTP(ctx context.Context, h http.Handler, listeners ...net.Listener) error {
	srv := &http.Server{
		Handler: h, ReadHeaderTimeout: httpHeaderTimeout, WriteTimeout: httpWriteTimeout,
		IdleTimeout: httpIdleTimeout, MaxHeaderBytes: httpHeaderBytes,
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, l := range listeners {
		g.Go(func() error {
			if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				return fmt.Errorf("answer HTTP requests at %s: %w", l.Addr(), err)
			}
			return nil
		})
	}
	g.Go(func() error {
		<-ctx.Done()
		return srv.Close()
	})
	return g.Wait()
}
