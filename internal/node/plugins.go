package node

import (
	"context"

	"golang.org/x/sync/errgroup"
	registerapi "k8s.io/kubelet/pkg/apis/pluginregistration/v1"

	"minato/internal/node/csi"
	"minato/internal/node/plugins"
)

// assemblePlugins makes what takes CSI drivers. A node without files of its own has no
// place where plugins could register.
func (a *Agent) assemblePlugins() (err error) {
	if a.cfg.MountNS == nil {
		return nil
	}
	root := a.cfg.MountNS.Root()
	a.drivers, err = csi.Open(csi.Config{
		NodeName: a.cfg.Name, Client: a.cfg.Client, Tokens: tokens{a}, Root: root,
		Dir: a.cfg.Dir, NodeDir: kubeletDir, Mounter: a.cfg.Mounter,
		Node: a.fresh.node, Report: a.node.report, Wake: func(uid uid) { a.pods.Wake(uid) }, Events: a.events, Logger: a.cfg.Logger,
	})
	if err != nil {
		return err
	}
	a.node.inUse, a.node.renewed = a.drivers.InUse, a.drivers.Renewed
	a.plugins, err = plugins.New(plugins.Config{
		Root: root, Handlers: map[string]plugins.Handler{registerapi.CSIPlugin: a.drivers}, Logger: a.cfg.Logger,
	})
	return err
}

// runPlugins looks for plugins once the node is registered.
func (a *Agent) runPlugins(ctx context.Context) error {
	if a.plugins == nil {
		return nil
	}
	select {
	case <-a.ready:
	case <-ctx.Done():
		return nil
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return a.plugins.Run(ctx) })
	g.Go(func() error { return a.drivers.Run(ctx) })
	return g.Wait()
}
