package pod

import (
	"context"
	"fmt"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"minato/internal/node/device"
)

// Claims has drivers of dynamic resources prepare the ResourceClaims of Pods.
type Claims interface {
	// Prepare is called before a sandbox is made, and may be called again.
	Prepare(ctx context.Context, pod *v1.Pod) error
	// Unprepare gives up all claims of a Pod of which nothing runs.
	Unprepare(ctx context.Context, uid types.UID) error
	// Pods are those that have claims.
	Pods() []types.UID
	// CDI are the names of the devices that a container gets.
	CDI(pod *v1.Pod, c *v1.Container) ([]string, error)
	// Status tells how the devices are that a container has by claims.
	Status(pod *v1.Pod, c *v1.Container) []v1.ResourceStatus
}

// prepareClaims prepares what the Pod has claimed, or tells why that can't be.
func (w *worker) prepareClaims(ctx context.Context, pod *v1.Pod) error {
	err := w.m.cfg.Claims.Prepare(ctx, pod)
	if err == nil || ctx.Err() != nil {
		return ctx.Err()
	}
	message := fmt.Sprintf("Failed to prepare dynamic resources: %v", err)
	if w.told != message {
		w.event(pod, v1.EventTypeWarning, "FailedPrepareDynamicResources", message)
		w.told = message
	}
	return fmt.Errorf("prepare dynamic resources: %w", err)
}

// keepsClaims tells, once, why what the Pod has claimed can't be given up: until then,
// the Pod stays.
func (w *worker) keepsClaims(pod *v1.Pod, err error) {
	if pod.Name != "" && w.keeping != err.Error() {
		w.keeping = err.Error()
		w.event(pod, v1.EventTypeWarning, "FailedUnprepareDynamicResources", err.Error())
	}
}

// given is what a container gets of devices, whoever has given them to the Pod.
func (w *worker) given(ctx context.Context, pod *v1.Pod, c *v1.Container) (device.Given, error) {
	given, err := w.m.cfg.Devices.Container(ctx, pod, c)
	if err != nil {
		return given, err
	}
	names, err := w.m.cfg.Claims.CDI(pod, c)
	if err != nil {
		return given, err
	}
	given.Add(device.Given{CDI: names})
	return given, nil
}

// deviceStatus tells how the devices of a container are, whoever has given them to the Pod.
func (w *worker) deviceStatus(pod *v1.Pod, c *v1.Container) []v1.ResourceStatus {
	return append(w.m.cfg.Devices.Status(w.uid, c.Name), w.m.cfg.Claims.Status(pod, c)...)
}

// noClaims are those of a node that takes no drivers, and no Pods that need one.
type noClaims struct{}

func (noClaims) Prepare(context.Context, *v1.Pod) error            { return nil }
func (noClaims) Unprepare(context.Context, types.UID) error        { return nil }
func (noClaims) Pods() []types.UID                                 { return nil }
func (noClaims) CDI(*v1.Pod, *v1.Container) ([]string, error)      { return nil, nil }
func (noClaims) Status(*v1.Pod, *v1.Container) []v1.ResourceStatus { return nil }
