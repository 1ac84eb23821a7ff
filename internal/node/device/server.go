package device

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/net/netutil"
	"golang.org/x/time/rate"
	"google.golang.org/grpc"
	pluginapi "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
)

// Bounds of what anybody who reaches the socket may send.
const (
	maxRequest     = 64 << 10
	maxRequests    = 16
	maxConnections = 64 // each has a file of this process, which serves other nodes too
	retryPause     = 5 * time.Second
	// Each registration is told in the log, and takes the place of the one before.
	registrationsPerSecond = 10
	registrationsBurst     = maxResources
)

// Run takes plugins until ctx ends. Sockets of plugins that registered with an earlier
// run are removed, as by the kubelet: that and the new socket tell them to register
// again.
func (m *Manager) Run(ctx context.Context) error {
	serving := &group{ctx: ctx}
	m.mu.Lock()
	m.serving = serving
	m.mu.Unlock()
	defer func() {
		m.mu.Lock()
		m.serving = nil
		m.mu.Unlock()
		serving.Wait()
	}()
	for told := ""; ; {
		err := m.serve(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil && err.Error() != told {
			told = err.Error()
			m.cfg.Logger.Warn("no device plugin can register; will try again", "socket", Socket, "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(retryPause):
		}
	}
}

// serve answers at the socket once it is made.
func (m *Manager) serve(ctx context.Context) error {
	if err := m.cfg.Root.MkdirAll(Dir, 0o750); err != nil {
		return err
	}
	if err := m.cfg.Root.RemoveSockets(Dir); err != nil {
		return err
	}
	listener, err := m.cfg.Root.ListenUnix(Socket, 0o660)
	if err != nil {
		return err
	}
	server := grpc.NewServer(grpc.MaxRecvMsgSize(maxRequest), grpc.MaxConcurrentStreams(maxRequests))
	pluginapi.RegisterRegistrationServer(server, &registrar{m: m, limit: rate.NewLimiter(registrationsPerSecond, registrationsBurst)})
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(netutil.LimitListener(listener, maxConnections)) }()
	defer server.Stop()
	tick := time.NewTicker(gracePeriod / 10)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-ended:
			return err
		case <-tick.C:
			m.cfg.Changed() // a plugin may have been gone for too long
		}
	}
}

// registrar implements the service at the socket.
type registrar struct {
	pluginapi.UnimplementedRegistrationServer
	m     *Manager
	limit *rate.Limiter
}

// Register takes a plugin, which has to serve at its own socket by then.
func (r *registrar) Register(ctx context.Context, in *pluginapi.RegisterRequest) (*pluginapi.Empty, error) {
	if err := check(in.GetResourceName(), []string{in.GetVersion()}); err != nil {
		return nil, err
	}
	socket, err := place(in.GetEndpoint())
	if err != nil {
		return nil, err
	}
	if err := r.limit.Wait(ctx); err != nil {
		return nil, fmt.Errorf("register the device plugin of %s: plugins register too often: %w", in.GetResourceName(), err)
	}
	if err := r.m.connect(ctx, in.GetResourceName(), socket); err != nil {
		return nil, fmt.Errorf("register the device plugin of %s: %w", in.GetResourceName(), err)
	}
	return &pluginapi.Empty{}, nil
}
