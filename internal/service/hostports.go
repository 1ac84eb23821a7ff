package service

import (
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"

	"minato/internal/service/route"
)

// HostPorts are the Pods of one node that have hostPorts, as far as this process has heard of them.
type HostPorts interface {
	// Follow tells of every Pod that has hostPorts, and then of each whose hostPorts change; Pod gives them by then.
	// changed is not called any more once stop has been. All that there was has been told once synced is done.
	Follow(changed func(pod types.NamespacedName)) (synced cache.DoneChecker, stop func(), err error)
	// Pod returns the hostPorts of a Pod, none if it has none or is gone.
	Pod(pod types.NamespacedName) []route.HostPort
	// Names are the Pods that have hostPorts.
	Names() []types.NamespacedName
}

// InformedPods are the hostPorts of the Pods that an informer knows, of those that run on one node.
type InformedPods struct {
	node string
	pods cache.SharedIndexInformer
}

var _ HostPorts = (*InformedPods)(nil)

// NewInformedPods makes an InformedPods. The informer is of Pods, all or only the node's, and whoever owns it starts it.
func NewInformedPods(node string, pods cache.SharedIndexInformer) *InformedPods {
	return &InformedPods{node: node, pods: pods}
}

// Follow implements HostPorts.
func (i *InformedPods) Follow(changed func(types.NamespacedName)) (cache.DoneChecker, func(), error) {
	r, err := i.pods.AddEventHandler(handler(func(was, is *corev1.Pod) {
		if slices.Equal(i.hostPorts(was), i.hostPorts(is)) {
			return
		}
		if is == nil {
			is = was
		}
		changed(types.NamespacedName{Namespace: is.Namespace, Name: is.Name})
	}))
	if err != nil {
		return nil, nil, fmt.Errorf("follow Pods of node %s: %w", i.node, err)
	}
	stop := func() {
		_ = i.pods.RemoveEventHandler(r) // it fails only if the informer has stopped
	}
	return r.HasSyncedChecker(), stop, nil
}

func (i *InformedPods) hostPorts(pod *corev1.Pod) []route.HostPort {
	if pod == nil || pod.Spec.NodeName != i.node {
		return nil
	}
	return route.HostPorts(pod)
}

// Pod implements HostPorts.
func (i *InformedPods) Pod(key types.NamespacedName) []route.HostPort {
	o, _, _ := i.pods.GetIndexer().GetByKey(key.String()) // a key of this kind makes no error
	pod, _ := o.(*corev1.Pod)
	return i.hostPorts(pod)
}

// Names implements HostPorts.
func (i *InformedPods) Names() []types.NamespacedName {
	var out []types.NamespacedName
	for _, o := range i.pods.GetIndexer().List() {
		if pod, ok := o.(*corev1.Pod); ok && len(i.hostPorts(pod)) > 0 {
			out = append(out, types.NamespacedName{Namespace: pod.Namespace, Name: pod.Name})
		}
	}
	return out
}

// noHostPorts is for a Config without HostPorts.
type noHostPorts struct{}

func (noHostPorts) Follow(func(types.NamespacedName)) (cache.DoneChecker, func(), error) {
	done := make(chan struct{})
	close(done)
	return alwaysDone(done), func() {}, nil
}

func (noHostPorts) Pod(types.NamespacedName) []route.HostPort { return nil }

func (noHostPorts) Names() []types.NamespacedName { return nil }

type alwaysDone chan struct{}

func (alwaysDone) Name() string { return "Pods with hostPorts" }

func (d alwaysDone) Done() <-chan struct{} { return d }

// podChanged notes a change of a Pod's hostPorts.
func (c *catalog) podChanged(pod types.NamespacedName) {
	c.changed(route.PodKey(pod.Namespace, pod.Name), time.Time{})
}

// podKeys are the Pods with hostPorts, where Services are named.
func (c *Controller) podKeys() []types.NamespacedName {
	names := c.cfg.HostPorts.Names()
	out := make([]types.NamespacedName, 0, len(names))
	for _, n := range names {
		out = append(out, route.PodKey(n.Namespace, n.Name))
	}
	return out
}
