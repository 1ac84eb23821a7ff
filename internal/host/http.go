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

// headerTimeout bounds how long a client may take to send its request's header.
const headerTimeout = 5 * time.Second

// ServeHTTP answers at TCP addresses inside the namespace until ctx ends. It
// returns an error if one of the addresses can't be opened or stops answering.
func (n Netns) ServeHTTP(ctx context.Context, h http.Handler, addresses ...string) error {
	var listeners []net.Listener
	defer func() {
		for _, l := range listeners {
			l.Close()
		}
	}()
	for _, a := range addresses {
		l, err := n.Listen(ctx, "tcp", a)
		if err != nil {
			return fmt.Errorf("open %s for HTTP requests: %w", a, err)
		}
		listeners = append(listeners, l)
	}
	srv := &http.Server{Handler: h, ReadHeaderTimeout: headerTimeout}
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
