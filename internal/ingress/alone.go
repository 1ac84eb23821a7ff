package ingress

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"

	"golang.org/x/sync/errgroup"

	"minato/internal/ingress/proxy"
)

// AloneConfig is what an Alone needs.
type AloneConfig struct {
	// Objects are what is served; whoever owns them runs them.
	Objects *Objects
	Facts   func() Facts
	// Found is called with what is found about Ingresses; nil if nobody wants to know.
	Found func([]Findings)
	// Listen opens sockets, at all addresses.
	Listen                          Listen
	HTTPPort, HTTPSPort, StatusPort uint16
	// AccessLog gets a line for each request; nil for none.
	AccessLog io.Writer
	Logger    *slog.Logger
}

// Alone is a Node with sockets of its own, in the process that collects the objects.
type Alone struct {
	cfg    AloneConfig
	node   *Node
	retell chan struct{}
}

// NewAlone returns an Alone that Run starts.
func NewAlone(cfg AloneConfig) (*Alone, error) {
	if cfg.Objects == nil || cfg.Facts == nil || cfg.Listen == nil {
		return nil, errors.New("ingress: Objects, Facts and Listen are required")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	n, err := NewNode(NodeConfig{Logger: cfg.Logger})
	if err != nil {
		return nil, err
	}
	return &Alone{cfg: cfg, node: n, retell: make(chan struct{}, 1)}, nil
}

// Retell has the facts read anew.
func (a *Alone) Retell() { poke(a.retell) }

// Findings returns all that is found about Ingresses now.
func (a *Alone) Findings() []Findings { return a.node.Findings(true) }

// Unready has the health checks fail, while everything is served on.
func (a *Alone) Unready() {
	a.node.leaving.Store(true)
	a.node.ready.Store(false)
}

// Drain has Run end after everything that is under way is done.
func (a *Alone) Drain() { a.node.Drain() }

// Run serves until ctx ends, or Drain was called and everything that was under way is done.
func (a *Alone) Run(ctx context.Context) error {
	s, err := a.open(ctx)
	if err != nil {
		return err
	}
	streams := socketSet{}
	defer streams.close()
	a.node.Tell(a.cfg.Facts())
	a.node.use(s)
	g, ctx := errgroup.WithContext(ctx)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	g.Go(func() error {
		defer cancel()
		return a.node.Run(ctx)
	})
	g.Go(func() error { return a.cfg.Objects.Follow(ctx, a.node.Apply) })
	g.Go(func() error {
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-a.retell:
				a.node.Tell(a.cfg.Facts())
			case <-a.node.Changed():
				a.changed(ctx, streams)
			}
		}
	})
	return g.Wait()
}

// open opens the sockets.
func (a *Alone) open(ctx context.Context) (*sockets, error) {
	s := &sockets{access: a.cfg.AccessLog}
	for _, p := range []struct {
		port uint16
		take func(net.Listener)
	}{
		{a.cfg.HTTPPort, func(l net.Listener) { s.proxied = append(s.proxied, proxy.Listener{Listener: l, Port: 80}) }},
		{a.cfg.HTTPSPort, func(l net.Listener) { s.proxied = append(s.proxied, proxy.Listener{Listener: l, TLS: true, Port: 443}) }},
		{a.cfg.StatusPort, func(l net.Listener) { s.status = append(s.status, l) }},
	} {
		l, err := a.cfg.Listen.Listen(ctx, "tcp", fmt.Sprintf(":%d", p.port))
		if err != nil {
			s.close()
			return nil, fmt.Errorf("open port %d of the ingress: %w", p.port, err)
		}
		p.take(l)
	}
	return s, nil
}

// changed tells of findings, and opens the ports of streams.
func (a *Alone) changed(ctx context.Context, open socketSet) {
	if found := a.node.Findings(false); len(found) > 0 && a.cfg.Found != nil {
		a.cfg.Found(found)
	}
	var wanted []Socket
	for _, s := range a.node.State().Streams {
		k := streamSocket(s, netip.IPv6Unspecified())
		k.Address = netip.AddrPortFrom(k.Address.Addr(), s.Port)
		wanted = append(wanted, k)
	}
	missing := open.keep(wanted)
	if len(missing) == 0 && len(open) == len(wanted) && a.node.hasStreams(len(wanted)) {
		return
	}
	if err := open.open(ctx, missing, a.cfg.Listen); err != nil {
		a.cfg.Logger.Error("A stream has no socket, and is not served", "error", err)
	}
	list, files := open.list()
	if err := a.node.Serve(list, files); err != nil {
		a.cfg.Logger.Error("Streams can't be served", "error", err)
	}
}
