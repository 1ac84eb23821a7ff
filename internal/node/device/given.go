package device

import (
	"context"
	"fmt"
	"maps"
	"slices"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	pluginapi "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
)

// Given is what a container gets of its devices. Paths are those of the node.
type Given struct {
	Envs        []*runtimeapi.KeyValue
	Mounts      []*runtimeapi.Mount
	Devices     []*runtimeapi.Device
	Annotations map[string]string
	// CDI are names of devices in the Container Device Interface.
	CDI []string
}

// Add appends what other has and g has not.
func (g *Given) Add(other Given) {
	for _, e := range other.Envs {
		if !slices.ContainsFunc(g.Envs, func(x *runtimeapi.KeyValue) bool { return x.Key == e.Key }) {
			g.Envs = append(g.Envs, e)
		}
	}
	for _, e := range other.Mounts {
		if !slices.ContainsFunc(g.Mounts, func(x *runtimeapi.Mount) bool { return x.ContainerPath == e.ContainerPath }) {
			g.Mounts = append(g.Mounts, e)
		}
	}
	for _, e := range other.Devices {
		if !slices.ContainsFunc(g.Devices, func(x *runtimeapi.Device) bool { return x.ContainerPath == e.ContainerPath }) {
			g.Devices = append(g.Devices, e)
		}
	}
	for _, name := range other.CDI {
		if !slices.Contains(g.CDI, name) {
			g.CDI = append(g.CDI, name)
		}
	}
	for k, v := range other.Annotations {
		if g.Annotations == nil {
			g.Annotations = map[string]string{}
		}
		if _, set := g.Annotations[k]; !set {
			g.Annotations[k] = v
		}
	}
}

// givenBy is what a plugin's answer means.
func givenBy(r *pluginapi.ContainerAllocateResponse) Given {
	out := Given{Annotations: r.GetAnnotations()}
	for _, name := range slices.Sorted(maps.Keys(r.GetEnvs())) {
		out.Envs = append(out.Envs, &runtimeapi.KeyValue{Key: name, Value: []byte(r.GetEnvs()[name])})
	}
	for _, m := range r.GetMounts() {
		out.Mounts = append(out.Mounts, &runtimeapi.Mount{HostPath: m.GetHostPath(), ContainerPath: m.GetContainerPath(), Readonly: m.GetReadOnly()})
	}
	for _, d := range r.GetDevices() {
		out.Devices = append(out.Devices, &runtimeapi.Device{HostPath: d.GetHostPath(), ContainerPath: d.GetContainerPath(), Permissions: d.GetPermissions()})
	}
	for _, d := range r.GetCdiDevices() {
		out.CDI = append(out.CDI, d.GetName())
	}
	return out
}

// Container prepares the devices of a container for a start of it, and tells what it
// gets. Of two plugins that say the same thing differently, the resource whose name
// comes first wins.
func (m *Manager) Container(ctx context.Context, pod *v1.Pod, c *v1.Container) (Given, error) {
	ctx, cancel := context.WithTimeout(ctx, allocateTimeout)
	defer cancel()
	m.mu.Lock()
	wanted, has := m.wanted(pod, c), m.ledger.of(pod.UID, c.Name)
	m.mu.Unlock()
	var out Given
	for _, name := range slices.Sorted(maps.Keys(wanted)) {
		g, ok := has[name]
		if !ok || g.Response == nil {
			// The record is lost, or the resource became known after the Pod was admitted.
			if err := m.allocate(ctx, slot{pod.UID, c.Name, name}, wanted[name], nil); err != nil {
				return out, err
			}
			if err := m.save(); err != nil {
				return out, err
			}
			m.mu.Lock()
			g = m.ledger.of(pod.UID, c.Name)[name]
			m.mu.Unlock()
		}
		if err := m.preStart(ctx, name, g.IDs); err != nil {
			return out, err
		}
		out.Add(givenBy(g.Response))
	}
	return out, nil
}

// preStart has the plugin make devices ready, if it asked for that.
func (m *Manager) preStart(ctx context.Context, name string, ids []string) error {
	m.mu.Lock()
	p := m.plugins[name]
	m.mu.Unlock()
	if p == nil || p.options == nil {
		return fmt.Errorf("the device plugin of %s has not registered since the node was started; the container is started once it has", name)
	}
	if !p.options.PreStartRequired {
		return nil
	}
	if _, err := p.client.PreStartContainer(ctx, &pluginapi.PreStartContainerRequest{DevicesIds: ids}); err != nil {
		return fmt.Errorf("device plugin PreStartContainer rpc failed with err: %v", err)
	}
	return nil
}

// Status tells how the devices of a container are, for a Pod's status (KEP-4680).
func (m *Manager) Status(pod types.UID, container string) []v1.ResourceStatus {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []v1.ResourceStatus
	has := m.ledger.of(pod, container)
	for _, name := range slices.Sorted(maps.Keys(has)) {
		s := v1.ResourceStatus{Name: v1.ResourceName(name)}
		for _, id := range has[name].IDs {
			health := v1.ResourceHealthStatusUnhealthy
			// A device that the plugin has not told of since the server was started is
			// taken for healthy, as by a kubelet.
			if d, known := m.ledger.devices[name][id]; d.Healthy || !known && !m.told[name] {
				health = v1.ResourceHealthStatusHealthy
			}
			s.Resources = append(s.Resources, v1.ResourceHealth{ResourceID: v1.ResourceID(id), Health: health})
		}
		out = append(out, s)
	}
	return out
}

// Has is what a container has of one resource.
type Has struct {
	Resource string
	Devices  []Device
}

// Of lists what a container has, sorted by the names of resources and devices.
func (m *Manager) Of(pod types.UID, container string) []Has {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []Has
	has := m.ledger.of(pod, container)
	for _, name := range slices.Sorted(maps.Keys(has)) {
		h := Has{Resource: name}
		for _, id := range has[name].IDs {
			h.Devices = append(h.Devices, Device{ID: id, NUMA: has[name].NUMA[id]})
		}
		out = append(out, h)
	}
	return out
}

// Healthy lists all devices that Pods can be given, whoever has them.
func (m *Manager) Healthy() []Has {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []Has
	for _, name := range slices.Sorted(maps.Keys(m.ledger.devices)) {
		h := Has{Resource: name}
		for _, id := range slices.Sorted(maps.Keys(m.ledger.devices[name])) {
			if d := m.ledger.devices[name][id]; d.Healthy {
				h.Devices = append(h.Devices, d)
			}
		}
		if len(h.Devices) > 0 {
			out = append(out, h)
		}
	}
	return out
}
