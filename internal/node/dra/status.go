package dra

import (
	"fmt"
	"maps"
	"slices"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/dynamic-resource-allocation/resourceclaim"
)

// Status tells how the devices are that a container has of the claims that it names, for
// its allocatedResourcesStatus (KEP-4680): claim:NAME or claim:NAME/REQUEST, by the name
// that the Pod gives the claim. A device is called by its first CDI name, or by
// DRIVER/POOL/DEVICE. One that the driver does not tell of is Unknown.
func (m *Manager) Status(pod *v1.Pod, c *v1.Container) []v1.ResourceStatus {
	var out []v1.ResourceStatus
	for _, wanted := range c.Resources.Claims {
		i := slices.IndexFunc(pod.Spec.ResourceClaims, func(p v1.PodResourceClaim) bool { return p.Name == wanted.Name })
		if i < 0 {
			continue
		}
		// Without a name there is no claim, or not yet.
		name, _, err := resourceclaim.Name(pod, &pod.Spec.ResourceClaims[i])
		if err != nil || name == nil {
			continue
		}
		list := m.healthOf(key{pod.Namespace, *name}, pod.UID, wanted.Request)
		if len(list) == 0 {
			continue
		}
		called := "claim:" + wanted.Name
		if wanted.Request != "" {
			called += "/" + wanted.Request
		}
		out = append(out, v1.ResourceStatus{Name: v1.ResourceName(called), Resources: list})
	}
	return out
}

// healthOf tells how the devices of a request are, sorted by driver.
func (m *Manager) healthOf(name key, pod types.UID, request string) []v1.ResourceHealth {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.ledger[name]
	if c == nil || !slices.Contains(c.Pods, pod) {
		return nil
	}
	request = resourceclaim.BaseRequestRef(request)
	seen := sets.New[v1.ResourceID]()
	var out []v1.ResourceHealth
	for _, driver := range slices.Sorted(maps.Keys(c.Drivers)) {
		for _, d := range c.Drivers[driver] {
			id := v1.ResourceID(fmt.Sprintf("%s/%s/%s", driver, d.Pool, d.Name))
			if len(d.CDI) > 0 {
				id = v1.ResourceID(d.CDI[0])
			}
			if !d.is(request) || seen.Has(id) {
				continue
			}
			seen.Insert(id)
			health, message := m.drivers.health(driver, place{d.Pool, d.Name})
			one := v1.ResourceHealth{ResourceID: id, Health: health}
			if message != "" {
				one.Message = &message
			}
			out = append(out, one)
		}
	}
	return out
}

// wake has the Pods looked at that have one of a driver's devices.
func (m *Manager) wake(driver string, at []place) {
	changed := sets.New(at...)
	pods := sets.New[types.UID]()
	m.mu.Lock()
	for _, c := range m.ledger {
		if slices.ContainsFunc(c.Drivers[driver], func(d device) bool { return changed.Has(place{d.Pool, d.Name}) }) {
			pods.Insert(c.Pods...)
		}
	}
	m.mu.Unlock()
	for pod := range pods {
		m.cfg.Wake(pod)
	}
}
