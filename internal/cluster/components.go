package cluster

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"time"

	"golang.org/x/sync/errgroup"

	"minato/internal/controlplane"
	"minato/internal/controlplane/access"
	"minato/internal/host/limit"
)

// serveComponents has the scheduler and the controllers answer about their health
// and metrics on their usual ports, after the start: on the loopback address of the
// control plane's node, where kubeadm has them, so that clusters side by side on one
// machine do not share them.
func (s *Server) serveComponents(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-s.started:
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, c := range []controlplane.Component{controlplane.KubeControllerManager, controlplane.KubeScheduler} {
		g.Go(func() error { return s.serveComponent(ctx, c) })
	}
	return g.Wait()
}

func (s *Server) serveComponent(ctx context.Context, c controlplane.Component) error {
	address := netip.AddrPortFrom(s.cfg.Loopback(), c.Port).String()
	l, err := s.paths.Netns(firstNode).Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("%s: listen for questions about health on %s of %s: %w", c.Name, address, access.ControlPlaneNode, err)
	}
	l = s.limits.Wrap(limit.Listener{Name: c.Name, Total: 64, PerSource: 64}, l)[0]
	srv := &http.Server{
		Handler: s.control.ComponentHandler(c), ReadHeaderTimeout: 30 * time.Second, IdleTimeout: 90 * time.Second,
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	stop := context.AfterFunc(ctx, func() { srv.Close() })
	defer stop()
	err = srv.Serve(tls.NewListener(l, &tls.Config{
		MinVersion: tls.VersionTLS12, ClientAuth: tls.RequestClientCert, GetCertificate: s.componentCertificate,
	}))
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("%s: %w", c.Name, err)
}

// componentCertificate is that of the control plane's node.
func (s *Server) componentCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	cert, _, err := s.running()[0].certificates()
	return &cert, err
}
