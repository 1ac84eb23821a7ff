package pod

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"minato/internal/node/admit"
	"minato/internal/node/device"
)

// Devices gives Pods what the device plugins of the node have.
type Devices interface {
	// Wants tells whether the Pod asks for any.
	Wants(pod *v1.Pod) bool
	// Allocate gives the Pod all that it asks for, or nothing. It may be called again.
	Allocate(ctx context.Context, pod *v1.Pod) error
	// Release takes it all away. Nothing of the Pod may run.
	Release(uid types.UID)
	// Pods are those that have devices; Allocated is what they have.
	Pods() []types.UID
	Allocated() v1.ResourceList
	// Container prepares what a container has for a start of it.
	Container(ctx context.Context, pod *v1.Pod, c *v1.Container) (device.Given, error)
	Status(uid types.UID, container string) []v1.ResourceStatus
}

// reasonDevices is the kubelet's, for a Pod that was sent here though there is not what
// it asks for.
const reasonDevices = "UnexpectedAdmissionError"

// hasDevices tells whether a Pod has the devices that it asks for, so that it can be
// decided about. m.admitting is held.
func (m *Manager) hasDevices(w *worker) bool {
	return w.candidate.devices || !m.cfg.Devices.Wants(w.latest())
}

// allocateDevices gives the Pod its devices before the node decides whether it takes
// it, as the kubelet does. While a Pod that the API has no longer still uses what this
// one is to have, next is when to look again.
func (w *worker) allocateDevices(ctx context.Context, pod *v1.Pod) (next time.Time, err error) {
	if !w.m.cfg.Devices.Wants(pod) {
		return next, nil
	}
	err = w.m.cfg.Devices.Allocate(ctx, pod)
	var busy *device.Busy
	switch {
	case err == nil:
		w.m.admitting.Lock()
		w.candidate.devices = true
		w.m.admitting.Unlock()
		return next, nil
	case ctx.Err() != nil:
		return next, ctx.Err()
	case errors.As(err, &busy) && (busy.Soon || w.m.anyLeaves(busy.Holders)):
		message := fmt.Sprintf("Waiting for devices: %v", err)
		if !busy.Soon {
			message += "; pods that were removed by force hold some until their containers have ended"
		}
		if w.told != message {
			w.event(pod, v1.EventTypeNormal, "WaitingForDevices", message)
			w.told = message
		}
		return w.m.cfg.Clock.Now().Add(portPause), nil
	}
	why := admit.Refusal{Reason: reasonDevices, Message: fmt.Sprintf("Allocate failed due to %v, which is unexpected", err)}
	w.m.admitting.Lock()
	w.candidate.refusal = &why
	w.m.admitting.Unlock()
	w.reject(pod, why)
	return next, nil
}

// anyLeaves tells whether one of the Pods is gone from the API, while something of it
// may still run.
func (m *Manager) anyLeaves(uids []types.UID) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.ContainsFunc(uids, func(uid types.UID) bool {
		w := m.workers[uid]
		return w != nil && w.life.now() == Leaving
	})
}

// withEnv puts what device plugins add before a container's own variables, of which one
// of the same name wins.
func withEnv(devices, own []*runtimeapi.KeyValue) []*runtimeapi.KeyValue {
	devices = slices.DeleteFunc(slices.Clone(devices), func(d *runtimeapi.KeyValue) bool {
		return slices.ContainsFunc(own, func(e *runtimeapi.KeyValue) bool { return e.Key == d.Key })
	})
	return append(devices, own...)
}

// noDevices are those of a node that takes no plugins.
type noDevices struct{}

func (noDevices) Wants(*v1.Pod) bool                           { return false }
func (noDevices) Allocate(context.Context, *v1.Pod) error      { return nil }
func (noDevices) Release(types.UID)                            {}
func (noDevices) Pods() []types.UID                            { return nil }
func (noDevices) Allocated() v1.ResourceList                   { return nil }
func (noDevices) Status(types.UID, string) []v1.ResourceStatus { return nil }
func (noDevices) Container(context.Context, *v1.Pod, *v1.Container) (device.Given, error) {
	return device.Given{}, nil
}
