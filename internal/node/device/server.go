package device

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/time/rate"
	"google.golang.org/grpc"
	pluginapi "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"

	"minato/internal/node/nodesocket"
)

// Bounds of what anybody who reaches the socket may send.
const (
	maxRequest  = 64 << 10
	maxRequests = 16
	// Each registration is told in the log, and takes the place of the one before.
	registrationsPerSecond = 10
	registrationsBurst     = maxResources
)

// Run takes plugins until ctx ends. Sockets of plugins that registered with an earlier
// run are removed, as by the kubelet: that and the new socket tell them to register
// again.
func (m *Manager) Run(ctx context.Context) error {
	here := &registrar{m: m, limit: rate.NewLimiter(registrationsPerSecond, registrationsBurst)}
	server, err := nodesocket.New(nodesocket.Config{
		Root: m.cfg.Root, Path: Socket, Clear: func() error { return m.cfg.Root.RemoveSockets(Dir) },
		Options:  []grpc.ServerOption{grpc.MaxRecvMsgSize(maxRequest), grpc.MaxConcurrentStreams(maxRequests)},
		Register: func(s grpc.ServiceRegistrar) { pluginapi.RegisterRegistrationServer(s, here) },
		Failed: func(err error) {
			m.cfg.Logger.Warn("no device plugin can register; will try again", "socket", Socket, "error", err)
		},
	})
	if err != nil {
		return err
	}
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
	serving.Go(func() { m.remind(ctx) })
	return server.Run(ctx)
}

// remind has the Node looked at now and then: a plugin may have been gone for too long.
func (m *Manager) remind(ctx context.Context) {
	tick := time.NewTicker(gracePeriod / 10)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			m.cfg.Changed()
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
