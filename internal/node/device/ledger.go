package device

import (
	"fmt"
	"slices"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	pluginapi "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
)

// Device is one device as its plugin describes it.
type Device struct {
	ID      string
	Healthy bool
	// NUMA are the machine's NUMA nodes that the device is near to.
	NUMA []int64
}

// grant is what a container has of a resource.
type grant struct {
	// IDs are sorted.
	IDs []string
	// NUMA are the nodes of each device that has any, as they were when it was given.
	NUMA map[string][]int64
	// Response is the plugin's answer; nil while it is waited for.
	Response *pluginapi.ContainerAllocateResponse
}

// slot is where a grant belongs.
type slot struct {
	pod       types.UID
	container string
	resource  string
}

// ledger says which devices there are and who has them. It does not lock.
type ledger struct {
	// devices are those of each resource, by ID. A resource that is known has an
	// entry, even if there are no devices of it.
	devices map[string]map[string]Device
	grants  map[slot]grant
}

func newLedger() *ledger {
	return &ledger{devices: map[string]map[string]Device{}, grants: map[slot]grant{}}
}

// knows tells whether a resource is one of device plugins: a plugin is there, or was,
// or somebody still has devices of it.
func (l *ledger) knows(name string) bool {
	if _, known := l.devices[name]; known {
		return true
	}
	for s := range l.grants {
		if s.resource == name {
			return true
		}
	}
	return false
}

// taken are the devices of a resource that somebody has, with who has them.
func (l *ledger) taken(name string) map[string]types.UID {
	taken := map[string]types.UID{}
	for s, g := range l.grants {
		if s.resource != name {
			continue
		}
		for _, id := range g.IDs {
			taken[id] = s.pod
		}
	}
	return taken
}

// healthy are the devices of a resource that can be given, whoever has them.
func (l *ledger) healthy(name string) sets.Set[string] {
	out := sets.New[string]()
	for id, d := range l.devices[name] {
		if d.Healthy {
			out.Insert(id)
		}
	}
	return out
}

// Busy is why a resource can't be given now: others have the devices, or the plugin is
// not there yet.
type Busy struct {
	message string
	// Holders are the Pods that have devices of the resource.
	Holders []types.UID
	// Soon is set where the plugin is expected to register again: the server has just
	// been started.
	Soon bool
}

// Error implements error.
func (b *Busy) Error() string { return b.message }

// choice is what can be given to a slot.
type choice struct {
	// given is set where the slot has its devices already.
	given bool
	// first are to be given in any case; count more are to be chosen of available.
	first     sets.Set[string]
	available sets.Set[string]
	count     int
}

// choices says what a slot can be given, in the words of the kubelet where it can't.
// reuse are devices that another container of the Pod no longer needs.
func (l *ledger) choices(s slot, required int, reuse sets.Set[string]) (choice, error) {
	has, given := l.grants[s]
	if given && len(has.IDs) != required {
		return choice{}, fmt.Errorf("pod %q container %q changed request for resource %q from %d to %d", s.pod, s.container, s.resource, len(has.IDs), required)
	}
	if _, registered := l.devices[s.resource]; !registered {
		return choice{}, fmt.Errorf("cannot allocate unregistered device %s", s.resource)
	}
	healthy := l.healthy(s.resource)
	if healthy.Len() == 0 {
		return choice{}, fmt.Errorf("no healthy devices present; cannot allocate unhealthy devices %s", s.resource)
	}
	if !healthy.HasAll(has.IDs...) {
		return choice{}, fmt.Errorf("previously allocated devices are no longer healthy; cannot allocate unhealthy devices %s", s.resource)
	}
	if given {
		return choice{given: true}, nil
	}
	c := choice{first: sets.New[string](), available: healthy, count: required}
	for _, id := range sets.List(reuse.Intersection(healthy)) {
		if c.count == 0 {
			return c, nil
		}
		c.first.Insert(id)
		c.count--
	}
	taken := l.taken(s.resource)
	holders := sets.New[types.UID]()
	for id, pod := range taken {
		c.available.Delete(id)
		holders.Insert(pod)
	}
	if c.available.Len() < c.count {
		return choice{}, &Busy{
			message: fmt.Sprintf("requested number of devices unavailable for %s. Requested: %d, Available: %d", s.resource, c.count, c.available.Len()),
			Holders: sets.List(holders),
		}
	}
	return c, nil
}

// pick takes the devices of a choice: those that the plugin prefers first, then by ID.
func (c choice) pick(preferred []string) []string {
	out, count := sets.List(c.first), c.count
	free := c.available.Difference(c.first)
	for _, list := range [][]string{preferred, sets.List(free)} {
		for _, id := range list {
			if count > 0 && free.Has(id) {
				free.Delete(id)
				out = append(out, id)
				count--
			}
		}
	}
	slices.Sort(out)
	return out
}

// give notes that a slot has devices, of which the plugin has yet to be asked.
func (l *ledger) give(s slot, ids []string) {
	g := grant{IDs: ids, NUMA: map[string][]int64{}}
	for _, id := range ids {
		if numa := l.devices[s.resource][id].NUMA; len(numa) > 0 {
			g.NUMA[id] = numa
		}
	}
	l.grants[s] = g
}

// take takes away all that a Pod has, and tells whether that was anything.
func (l *ledger) take(pod types.UID) (any bool) {
	for s := range l.grants {
		if s.pod == pod {
			delete(l.grants, s)
			any = true
		}
	}
	return any
}

// of lists what a container has, by resource.
func (l *ledger) of(pod types.UID, container string) map[string]grant {
	out := map[string]grant{}
	for s, g := range l.grants {
		if s.pod == pod && s.container == container {
			out[s.resource] = g
		}
	}
	return out
}

// given is how many devices of each resource Pods have.
func (l *ledger) given() v1.ResourceList {
	ids := map[string]sets.Set[string]{}
	for s, g := range l.grants {
		if ids[s.resource] == nil {
			ids[s.resource] = sets.New[string]()
		}
		ids[s.resource].Insert(g.IDs...) // two containers of a Pod may share some
	}
	out := v1.ResourceList{}
	for name, all := range ids {
		out[v1.ResourceName(name)] = *resource.NewQuantity(int64(all.Len()), resource.DecimalSI)
	}
	return out
}
