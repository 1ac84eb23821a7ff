package node

import (
	"context"
	"path/filepath"
	"slices"

	"golang.org/x/sync/errgroup"
	v1 "k8s.io/api/core/v1"
	registerapi "k8s.io/kubelet/pkg/apis/pluginregistration/v1"

	"minato/internal/node/csi"
	"minato/internal/node/device"
	"minato/internal/node/dra"
	"minato/internal/node/plugins"
	"minato/internal/node/podresources"
)

// assemblePlugins makes what takes CSI drivers and device plugins. A node without files of its own has no
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
	a.devices, err = device.Open(device.Config{
		Root: root, File: filepath.Join(a.cfg.Dir, "devices.json"),
		Changed: a.node.report, Wake: func(uid uid) { a.pods.Refresh(uid) }, Logger: a.cfg.Logger,
	})
	if err != nil {
		return err
	}
	a.node.devices = a.devices.Resources
	a.claims, err = dra.Open(dra.Config{
		NodeName: a.cfg.Name, Client: a.cfg.Client, Root: root, File: filepath.Join(a.cfg.Dir, "claims.json"),
		Wake: func(uid uid) { a.pods.Wake(uid) }, Logger: a.cfg.Logger,
	})
	if err != nil {
		return err
	}
	a.resources, err = podresources.New(podresources.Config{Root: root, Devices: a.devices, Claims: a.claims, Pods: a.alivePods, Logger: a.cfg.Logger})
	if err != nil {
		return err
	}
	a.plugins, err = plugins.New(plugins.Config{
		Root: root, Handlers: map[string]plugins.Handler{registerapi.CSIPlugin: a.drivers, registerapi.DevicePlugin: a.devices, registerapi.DRAPlugin: a.claims}, Logger: a.cfg.Logger,
	})
	return err
}

// alivePods are the Pods of the node that have not ended.
func (a *Agent) alivePods() []*v1.Pod {
	return slices.DeleteFunc(a.watch.Pods(), func(p *v1.Pod) bool {
		return p.Status.Phase == v1.PodSucceeded || p.Status.Phase == v1.PodFailed
	})
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
	g.Go(func() error { return a.devices.Run(ctx) })
	g.Go(func() error { return a.claims.Run(ctx) })
	g.Go(func() error { return a.resources.Run(ctx) })
	return g.Wait()
}
