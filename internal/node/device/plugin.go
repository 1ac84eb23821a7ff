package device

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"
	"google.golang.org/grpc"
	v1 "k8s.io/api/core/v1"
	pluginapi "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
	"k8s.io/kubernetes/pkg/apis/core/v1/helper"

	"minato/internal/node/plugins"
)

// optionsTimeout bounds the first call of a plugin, in which it may not be ready yet.
const optionsTimeout = 10 * time.Second

// maxDevices bounds the devices of one plugin.
const maxDevices = 4096

// Bounds of how often a plugin can change its devices: each time, the Node and the Pods
// that have some are written to the API. A plugin that is faster is heard later.
const (
	listsPerSecond = 5
	listsBurst     = 20
)

// plugin is one plugin from its registration on.
type plugin struct {
	resource string
	endpoint string // the path of its socket on the node
	conn     *grpc.ClientConn
	client   pluginapi.DevicePluginClient
	options  *pluginapi.DevicePluginOptions
	// since is when it registered, or when the agent was started without it.
	since time.Time
	// stopped is when it ceased to answer, guarded by Manager.mu.
	stopped time.Time

	once sync.Once
	end  context.CancelFunc
}

// close ends the connection.
func (p *plugin) close() {
	p.once.Do(func() {
		if p.end != nil {
			p.end()
		}
		if p.conn != nil {
			p.conn.Close()
		}
	})
}

// check refuses a registration as the kubelet does.
func check(name string, versions []string) error {
	speaks := false
	for _, v := range versions {
		for _, ours := range pluginapi.SupportedVersions {
			speaks = speaks || v == ours
		}
	}
	if !speaks {
		return fmt.Errorf("requested API version %q is not supported by kubelet. Supported version is %q", versions, pluginapi.SupportedVersions)
	}
	if !helper.IsExtendedResourceName(v1.ResourceName(name)) {
		return fmt.Errorf("the ResourceName %q is invalid", name)
	}
	return nil
}

// connect asks a plugin for its options and follows its devices from then on.
func (m *Manager) connect(ctx context.Context, name, endpoint string) error {
	conn, err := plugins.Dial(m.cfg.Root, endpoint)
	if err != nil {
		return err
	}
	p := &plugin{resource: name, endpoint: endpoint, conn: conn, client: pluginapi.NewDevicePluginClient(conn), since: m.cfg.Clock.Now()}
	asked, cancel := context.WithTimeout(ctx, optionsTimeout)
	defer cancel()
	if p.options, err = p.client.GetDevicePluginOptions(asked, &pluginapi.Empty{}, grpc.WaitForReady(true)); err != nil {
		conn.Close()
		return fmt.Errorf("failed to get device plugin options: %v", err)
	}
	m.mu.Lock()
	serving := m.serving
	if serving != nil {
		serving.Add(1)
	}
	m.mu.Unlock()
	if serving == nil {
		conn.Close()
		return errors.New("the node takes no device plugins any more; it is being stopped")
	}
	var life context.Context
	life, p.end = context.WithCancel(serving.ctx)
	if err := m.install(p); err != nil {
		p.close()
		serving.Done()
		return err
	}
	m.counted.WithLabelValues(name).Inc() // here, since anybody may ask with any name
	m.cfg.Logger.Info("a device plugin was registered", "resource", name, "endpoint", endpoint)
	go func() {
		defer serving.Done()
		defer p.close()
		err := m.follow(life, p)
		if serving.ctx.Err() != nil {
			return // the next run of the agent asks it again
		}
		m.cfg.Logger.Info("a device plugin is gone", "resource", name, "endpoint", endpoint, "error", err)
		m.lost(p)
	}()
	m.waiting(name)
	return nil
}

// follow takes the devices that a plugin lists, until it ends.
func (m *Manager) follow(ctx context.Context, p *plugin) error {
	stream, err := p.client.ListAndWatch(ctx, &pluginapi.Empty{})
	if err != nil {
		return err
	}
	limit := rate.NewLimiter(listsPerSecond, listsBurst)
	for {
		list, err := stream.Recv()
		if err != nil {
			return err
		}
		devices := map[string]Device{}
		for _, d := range list.GetDevices() {
			if len(devices) == maxDevices {
				m.cfg.Logger.Warn("a device plugin lists more devices than a node takes; the others are left out", "resource", p.resource, "most", maxDevices)
				break
			}
			one := Device{ID: d.GetID(), Healthy: d.GetHealth() == pluginapi.Healthy}
			for _, n := range d.GetTopology().GetNodes() {
				one.NUMA = append(one.NUMA, n.GetID())
			}
			devices[d.GetID()] = one
		}
		if m.knows(p.resource, devices) {
			continue
		}
		if err := limit.Wait(ctx); err != nil {
			return err
		}
		m.update(p, devices)
	}
}

// Register implements plugins.Handler, for plugins that register by a socket in the
// directory of all plugins instead of calling the node.
func (m *Manager) Register(ctx context.Context, p plugins.Plugin) error {
	if err := check(p.Name, p.Versions); err != nil {
		return err
	}
	return m.connect(ctx, p.Name, p.Endpoint)
}

// Deregister implements plugins.Handler.
func (m *Manager) Deregister(gone plugins.Plugin) {
	m.mu.Lock()
	p := m.plugins[gone.Name]
	m.mu.Unlock()
	if p != nil && p.endpoint == gone.Endpoint {
		p.close()
	}
}

// place is the path of a plugin's socket, by the name with which it registers.
func place(endpoint string) (string, error) {
	if endpoint == "" || strings.ContainsRune(endpoint, 0) {
		return "", errors.New("endpoint: the name of the plugin's socket is required")
	}
	return path.Join(Dir, endpoint), nil
}
