package plugins

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"
	registerapi "k8s.io/kubelet/pkg/apis/pluginregistration/v1"

	"minato/internal/node/nodesocket"
)

// Bounds of the handshake, which are the kubelet's, and of the pause before the next
// one.
const (
	infoTimeout   = 5 * time.Second
	notifyTimeout = 5 * time.Second
	minPause      = 200 * time.Millisecond
	maxPause      = 30 * time.Second
)

// registration is one socket for as long as it is there.
type registration struct {
	watcher *Watcher
	socket  string
	number  uint64
	info    os.FileInfo
	cancel  context.CancelFunc
}

// run registers the plugin, and takes it back when life ends before ctx, which is
// when the socket is gone.
func (r *registration) run(ctx, life context.Context) {
	defer r.cancel()
	log := r.watcher.cfg.Logger
	tries := &nodesocket.Tries{First: minPause, Most: maxPause, Tell: func(err error) {
		log.Warn("a plugin could not be registered; will try again", "socket", r.socket, "error", err)
	}}
	var taken Plugin
	var handler Handler
	if !tries.Until(life, func(ctx context.Context) (err error) {
		taken, handler, err = r.register(ctx)
		return err
	}) {
		return
	}
	log.Info("a plugin was registered", "plugin", taken.Name, "endpoint", taken.Endpoint, "socket", r.socket)
	<-life.Done()
	if ctx.Err() == nil {
		handler.Deregister(taken)
		log.Info("a plugin is gone", "plugin", taken.Name, "socket", r.socket)
	}
}

// register shakes hands once.
func (r *registration) register(ctx context.Context) (Plugin, Handler, error) {
	conn, err := Dial(r.watcher.cfg.Root, r.socket)
	if err != nil {
		return Plugin{}, nil, err
	}
	defer conn.Close()
	client := registerapi.NewRegistrationClient(conn)
	asked, cancel := context.WithTimeout(ctx, infoTimeout)
	defer cancel()
	info, err := client.GetInfo(asked, &registerapi.InfoRequest{}, grpc.WaitForReady(true))
	if err != nil {
		return Plugin{}, nil, fmt.Errorf("ask the plugin at %s who it is: %w", r.socket, err)
	}
	p := Plugin{Name: info.Name, Endpoint: info.Endpoint, Versions: info.SupportedVersions, Socket: r.socket, Registration: r.number}
	if p.Endpoint == "" {
		p.Endpoint = r.socket
	}
	handler := r.watcher.cfg.Handlers[info.Type]
	if handler == nil {
		err = fmt.Errorf("this node takes no plugins of the type %q, only %s", info.Type, strings.Join(r.watcher.types(), ", "))
	} else {
		err = handler.Register(ctx, p)
	}
	if told := r.notify(ctx, client, err); told != nil && err == nil {
		handler.Deregister(p)
		return p, handler, fmt.Errorf("tell the plugin %s that it is registered: %w", p.Name, told)
	}
	return p, handler, err
}

// notify tells the plugin whether it was taken.
func (r *registration) notify(ctx context.Context, client registerapi.RegistrationClient, refused error) error {
	ctx, cancel := context.WithTimeout(ctx, notifyTimeout)
	defer cancel()
	status := &registerapi.RegistrationStatus{PluginRegistered: refused == nil}
	if refused != nil {
		status.Error = refused.Error()
	}
	if _, err := client.NotifyRegistrationStatus(ctx, status); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

func (w *Watcher) types() []string {
	var out []string
	for t := range w.cfg.Handlers {
		out = append(out, t)
	}
	slices.Sort(out)
	return out
}
