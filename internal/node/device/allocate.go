package device

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	pluginapi "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
)

// allocateTimeout bounds how long a plugin is waited for when a Pod is admitted, or a
// container started. A kubelet waits for ever, and admits no other Pod meanwhile.
const allocateTimeout = time.Minute

// restartPatience is how long after a start of the agent Pods wait for plugins that
// have registered with an earlier run, and how long after its registration for a plugin
// to list its devices. A kubelet refuses such Pods.
const restartPatience = time.Minute

// Wants tells whether containers of the Pod ask for resources of device plugins.
func (m *Manager) Wants(pod *v1.Pod) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, list := range [][]v1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			if len(m.wanted(pod, &list[i])) > 0 {
				return true
			}
		}
	}
	return false
}

// wanted are how many devices of each resource a container asks for. Requests of
// extended resources are equal to the limits. m.mu is held.
func (m *Manager) wanted(pod *v1.Pod, c *v1.Container) map[string]int {
	out := map[string]int{}
	for name, q := range c.Resources.Limits {
		if q.Value() > 0 && m.ledger.knows(string(name)) && !claimed(pod, c.Name, string(name)) {
			out[string(name)] = int(q.Value())
		}
	}
	return out
}

// claimed tells whether the scheduler has found the devices by way of a ResourceClaim
// (KEP-5004), so that they are none of a plugin's.
func claimed(pod *v1.Pod, container, name string) bool {
	s := pod.Status.ExtendedResourceClaimStatus
	return s != nil && slices.ContainsFunc(s.RequestMappings, func(m v1.ContainerExtendedResourceRequest) bool {
		return m.ContainerName == container && m.ResourceName == name
	})
}

// Allocate gives all containers of a Pod the devices that they ask for, or nothing. An
// error that wraps [*Busy] may be over when another Pod has ended. Init containers hand
// their devices on to those that run after them; sidecars keep theirs.
func (m *Manager) Allocate(ctx context.Context, pod *v1.Pod) error {
	ctx, cancel := context.WithTimeout(ctx, allocateTimeout)
	defer cancel()
	reuse := map[string]sets.Set[string]{}
	for i := range pod.Spec.InitContainers {
		c := &pod.Spec.InitContainers[i]
		if err := m.allocateTo(ctx, pod, c, reuse); err != nil {
			m.Release(pod.UID)
			return err
		}
		m.handOn(pod, c, reuse, c.RestartPolicy == nil || *c.RestartPolicy != v1.ContainerRestartPolicyAlways)
	}
	for i := range pod.Spec.Containers {
		c := &pod.Spec.Containers[i]
		if err := m.allocateTo(ctx, pod, c, reuse); err != nil {
			m.Release(pod.UID)
			return err
		}
		m.handOn(pod, c, reuse, false)
	}
	if err := m.save(); err != nil {
		m.Release(pod.UID)
		return err
	}
	return nil
}

// handOn adds what a container has to what those after it may have too, or takes it
// away.
func (m *Manager) handOn(pod *v1.Pod, c *v1.Container, reuse map[string]sets.Set[string], add bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for name, g := range m.ledger.of(pod.UID, c.Name) {
		if reuse[name] == nil {
			reuse[name] = sets.New[string]()
		}
		if add {
			reuse[name].Insert(g.IDs...)
		} else {
			reuse[name].Delete(g.IDs...)
		}
	}
}

// allocateTo gives one container its devices.
func (m *Manager) allocateTo(ctx context.Context, pod *v1.Pod, c *v1.Container, reuse map[string]sets.Set[string]) error {
	m.mu.Lock()
	wanted := m.wanted(pod, c)
	m.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(wanted)) {
		if err := m.allocate(ctx, slot{pod.UID, c.Name, name}, wanted[name], reuse[name]); err != nil {
			return err
		}
	}
	return nil
}

// allocate gives a slot its devices. They are the slot's before the plugin is asked, so
// that nobody else gets them meanwhile.
func (m *Manager) allocate(ctx context.Context, s slot, required int, reuse sets.Set[string]) error {
	p, ids, err := m.reserve(ctx, s, required, reuse)
	if err != nil || ids == nil {
		return err
	}
	started := time.Now()
	answer, err := p.client.Allocate(ctx, &pluginapi.AllocateRequest{ContainerRequests: []*pluginapi.ContainerAllocateRequest{{DevicesIds: ids}}})
	m.took(s.resource, time.Since(started))
	if err == nil && len(answer.GetContainerResponses()) == 0 {
		err = fmt.Errorf("no containers return in allocation response %v", answer)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	g, still := m.ledger.grants[s]
	if !still && err == nil {
		err = fmt.Errorf("the devices of %s for container %q were given back meanwhile", s.resource, s.container)
	}
	if err != nil {
		delete(m.ledger.grants, s)
		return err
	}
	g.Response = answer.ContainerResponses[0]
	m.ledger.grants[s] = g
	return nil
}

// reserve chooses devices for a slot and gives them to it; no IDs mean that it has
// them already.
func (m *Manager) reserve(ctx context.Context, s slot, required int, reuse sets.Set[string]) (*plugin, []string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.plugins[s.resource]
	if p != nil && !m.told[s.resource] && m.cfg.Clock.Since(p.since) < restartPatience {
		missing := "has not registered again since the node was started"
		if p.client != nil {
			missing = "has registered and not listed its devices yet"
		}
		return nil, nil, &Busy{Soon: true, message: fmt.Sprintf("the device plugin of %s %s", s.resource, missing)}
	}
	c, err := m.ledger.choices(s, required, reuse)
	if err != nil || c.given {
		return nil, nil, err
	}
	if p == nil || p.client == nil {
		return nil, nil, fmt.Errorf("unknown Device Plugin %s", s.resource)
	}
	var preferred []string
	if p.options.GetGetPreferredAllocationAvailable() && c.count > 0 && c.count < c.available.Difference(c.first).Len() {
		m.mu.Unlock()
		preferred, err = p.prefers(ctx, c, required)
		m.mu.Lock()
		if err != nil {
			return nil, nil, err
		}
		// Others may have been given some of them meanwhile.
		if c, err = m.ledger.choices(s, required, reuse); err != nil || c.given {
			return nil, nil, err
		}
	}
	ids := c.pick(preferred)
	m.ledger.give(s, ids)
	return p, ids, nil
}

// prefers asks the plugin which devices go well together.
func (p *plugin) prefers(ctx context.Context, c choice, size int) ([]string, error) {
	answer, err := p.client.GetPreferredAllocation(ctx, &pluginapi.PreferredAllocationRequest{
		ContainerRequests: []*pluginapi.ContainerPreferredAllocationRequest{{
			AvailableDeviceIDs:   sets.List(c.available.Union(c.first)),
			MustIncludeDeviceIDs: sets.List(c.first),
			AllocationSize:       int32(size),
		}},
	})
	if err != nil {
		return nil, fmt.Errorf("device plugin GetPreferredAllocation rpc failed with err: %v", err)
	}
	if r := answer.GetContainerResponses(); len(r) > 0 {
		return r[0].GetDeviceIDs(), nil
	}
	return nil, nil
}

// Release takes away all devices of a Pod.
func (m *Manager) Release(pod types.UID) {
	m.mu.Lock()
	had := m.ledger.take(pod)
	m.mu.Unlock()
	if !had {
		return
	}
	if err := m.save(); err != nil {
		m.cfg.Logger.Warn("the record of who has which device can't be written; after a restart of the server, devices of a pod that has ended count as taken until its record is looked at", "uid", pod, "error", err)
	}
}

// Pods lists the Pods that have devices, in no order.
func (m *Manager) Pods() []types.UID {
	m.mu.Lock()
	defer m.mu.Unlock()
	pods := sets.New[types.UID]()
	for s := range m.ledger.grants {
		pods.Insert(s.pod)
	}
	return pods.UnsortedList()
}

// Allocated is how many devices of each resource Pods have.
func (m *Manager) Allocated() v1.ResourceList {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.ledger.given()
}
