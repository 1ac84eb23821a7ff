package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sync/errgroup"

	"minato/internal/host/limit"
)

// Ready returns nil while every source has been read, every socket is being
// answered on, and that is to go on.
func (s *Server) Ready() error {
	var errs []error
	if s.cfg.Source.Snapshot() == nil {
		errs = append(errs, errors.New("the cluster's names are not loaded yet"))
	}
	if !s.cfg.Settings.Loaded() {
		errs = append(errs, errors.New("the configuration is not loaded yet"))
	}
	if have, want := int(s.serving.Load()), len(s.streams)+len(s.packets); have < want {
		errs = append(errs, fmt.Errorf("%d of %d sockets are served", have, want))
	}
	if s.leaving.Load() {
		errs = append(errs, errors.New("the server is about to end"))
	}
	return errors.Join(errs...)
}

const healthTimeout = time.Second

// Healthy asks the server a question over its own UDP sockets, as a Pod would,
// and returns nil if the answers came.
func (s *Server) Healthy(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	for _, l := range s.packets {
		addr, ok := l.conn.LocalAddr().(*net.UDPAddr)
		if !ok {
			continue
		}
		if addr.IP.IsUnspecified() {
			addr = &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: addr.Port}
		}
		conn, err := s.cfg.Dial(ctx, "udp", addr.String())
		if err != nil {
			return fmt.Errorf("the server's socket %s cannot be reached: %w", addr, err)
		}
		_, _, err = (&dns.Client{Timeout: healthTimeout}).ExchangeWithConnContext(ctx, new(dns.Msg).SetQuestion(s.domain, dns.TypeSOA), &dns.Conn{Conn: conn})
		conn.Close()
		if err != nil {
			return fmt.Errorf("the server does not answer on %s: %w", addr, err)
		}
	}
	return nil
}

// Handler serves /health and /ready, and /metrics with metrics.
func (s *Server) Handler(metrics http.Handler) http.Handler {
	mux := http.NewServeMux()
	say := func(w http.ResponseWriter, err error) {
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "OK")
	}
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, r *http.Request) { say(w, s.Healthy(r.Context())) })
	mux.HandleFunc("GET /ready", func(w http.ResponseWriter, r *http.Request) { say(w, s.Ready()) })
	if metrics != nil {
		mux.Handle("GET /metrics", metrics)
	}
	return mux
}

// How long a client of ServeHTTP may take, and how long its connection may be
// idle.
const (
	readHeaderTimeout = 5 * time.Second
	writeTimeout      = 30 * time.Second
	idleTimeout       = 90 * time.Second
)

// endpointLimit bounds the connections to ServeHTTP, which probes and Prometheus
// use.
func endpointLimit() limit.Listener {
	return limit.Listener{Name: "DNS health and metrics", Total: 256, PerSource: 32}
}

// ServeHTTP serves h on listeners until ctx ends. It closes them. Listeners that
// are not bounded by a limit.Budget yet are bounded here.
func ServeHTTP(ctx context.Context, h http.Handler, listeners ...net.Listener) error {
	limits, err := (*limit.Budget)(nil).OrDefault(nil)
	if err != nil {
		return fmt.Errorf("dns: serve http: %w", err)
	}
	listeners = limits.Wrap(endpointLimit(), listeners...)
	srv := &http.Server{
		Handler: h, ReadHeaderTimeout: readHeaderTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: 16 << 10,
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, l := range listeners {
		g.Go(func() error {
			if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				return fmt.Errorf("dns: serve http on %s: %w", l.Addr(), err)
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
