package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/miekg/dns"
)

// Ready returns nil while every source has been read, every socket is served, and
// the server has not been told to end.
func (s *Server) Ready() error {
	var errs []error
	if s.cfg.Source.Snapshot() == nil {
		errs = append(errs, errors.New("the cluster's names are not loaded yet"))
	}
	if !s.cfg.Settings.Loaded() {
		errs = append(errs, errors.New("the configuration is not loaded yet"))
	}
	if have, want := int(s.serving.Load()), len(s.streams)+len(s.packets); have < want {
		errs = append(errs, fmt.Errorf("only %d of %d sockets are served", have, want))
	}
	if s.leaving.Load() {
		errs = append(errs, errors.New("the server has been told to end"))
	}
	return errors.Join(errs...)
}

const healthTimeout = time.Second

// Healthy asks the server a question over its own UDP sockets, as a Pod would,
// and returns nil if each was answered.
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
