package csi

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	spec "github.com/container-storage-interface/spec/lib/go/csi"
	"k8s.io/apimachinery/pkg/types"

	"minato/internal/node/plugins"
)

// Register implements plugins.Handler: it asks the driver what the node is called by
// it, where the node is and how many volumes it takes, and writes that to the CSINode
// and the Node before the driver is used.
func (m *Manager) Register(ctx context.Context, p plugins.Plugin) error {
	if !speaksV1(p.Versions) {
		return fmt.Errorf("the CSI driver %s speaks the versions %s of the Container Storage Interface; this node needs 1.x", p.Name, strings.Join(p.Versions, ", "))
	}
	conn, err := plugins.Dial(m.cfg.Root, p.Endpoint)
	if err != nil {
		return err
	}
	d := &driver{name: p.Name, plugin: p, conn: conn, node: spec.NewNodeClient(conn)}
	info, err := call(ctx, m, d, "NodeGetInfo", nil, &spec.NodeGetInfoRequest{}, d.node.NodeGetInfo)
	m.registering.Lock()
	defer m.registering.Unlock()
	if err == nil {
		err = m.info.install(ctx, p.Name, info)
	}
	if err != nil {
		conn.Close()
		return err
	}
	d.info = info
	m.mu.Lock()
	old := m.drivers[p.Name]
	m.drivers[p.Name] = d
	var waiting []types.UID
	for uid, volumes := range m.users {
		for _, u := range volumes {
			if u.Driver == p.Name && !u.done {
				waiting = append(waiting, uid)
			}
		}
	}
	m.mu.Unlock()
	for _, uid := range waiting {
		m.cfg.Wake(uid)
	}
	if old != nil {
		old.conn.Close()
	}
	return nil
}

// Deregister implements plugins.Handler. A driver that has registered again meanwhile,
// at this socket or another one, stays.
func (m *Manager) Deregister(p plugins.Plugin) {
	m.registering.Lock()
	defer m.registering.Unlock()
	m.mu.Lock()
	d := m.drivers[p.Name]
	if d == nil || d.plugin.Socket != p.Socket || d.plugin.Registration != p.Registration {
		m.mu.Unlock()
		return
	}
	delete(m.drivers, p.Name)
	m.mu.Unlock()
	d.conn.Close()
	ctx, cancel := context.WithTimeout(context.Background(), m.cfg.Timeout)
	defer cancel()
	if err := m.info.uninstall(ctx, p.Name); err != nil {
		m.cfg.Logger.Warn("a CSI driver that is gone could not be taken off the CSINode", "driver", p.Name, "error", err)
	}
}

// Renewed tells that the Node was deleted and made anew, and does not have what drivers
// said of it.
func (m *Manager) Renewed() {
	select {
	case m.renewed <- struct{}{}:
	default:
	}
}

// installAgain writes what all drivers said once more.
func (m *Manager) installAgain(ctx context.Context) error {
	m.registering.Lock()
	defer m.registering.Unlock()
	m.mu.Lock()
	all := slices.Collect(maps.Values(m.drivers))
	m.mu.Unlock()
	errs := []error{m.info.ensure(ctx)}
	for _, d := range all {
		errs = append(errs, m.info.install(ctx, d.name, d.info))
	}
	return errors.Join(errs...)
}

// speaksV1 tells whether one of the versions is of the first major one.
func speaksV1(versions []string) bool {
	for _, v := range versions {
		if major, _, _ := strings.Cut(strings.TrimPrefix(v, "v"), "."); major == "1" {
			return true
		}
	}
	return false
}
