package ingress

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"minato/internal/host"
	"minato/internal/host/limit"
)

// serve answers the health check and /metrics until ctx ends.
func (a *alone) serve(ctx context.Context) error {
	var none *limit.Budget
	budget, err := none.OrDefault(a.log)
	if err != nil {
		return fmt.Errorf("health of the ingress: %w", err)
	}
	listen := budget.Listen(limit.Listener{Name: "health of the ingress", Total: 256, PerSource: 32}, host.Netns{}.Listen)
	err = host.ServeHTTP(ctx, listen, a.handler(), net.JoinHostPort(a.cfg.HealthHost, strconv.Itoa(a.cfg.HealthPort)))
	if err == nil && ctx.Err() == nil {
		err = errors.New("the listener was closed")
	}
	if err != nil {
		return fmt.Errorf("health of the ingress: %w", err)
	}
	return nil
}

// handler answers the health check when everything that was there at the start is served, and until the process is told to
// end; /livez always.
func (a *alone) handler() http.Handler {
	mux := http.NewServeMux()
	if a.cfg.Metrics {
		mux.Handle("GET /metrics", promhttp.HandlerFor(a.metrics, promhttp.HandlerOpts{}))
	}
	if a.cfg.HealthPath != "/livez" {
		mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	}
	mux.HandleFunc("GET "+a.cfg.HealthPath, func(w http.ResponseWriter, _ *http.Request) {
		switch {
		case a.told.Err() != nil:
			http.Error(w, "the process was told to end", http.StatusServiceUnavailable)
		case !a.node.State().Ready:
			http.Error(w, "not everything is served yet", http.StatusServiceUnavailable)
		default:
			fmt.Fprintln(w, "ok")
		}
	})
	return mux
}
