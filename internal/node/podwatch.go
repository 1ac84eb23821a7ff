package node

import (
	"context"
	"fmt"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"minato/internal/node/pod"
)

type uid = types.UID

// NewPodInformer follows the Pods that are bound to a node, as client may. The
// agent needs it, and others may use it as well; whoever made it runs it.
func NewPodInformer(client kubernetes.Interface, node string) cache.SharedIndexInformer {
	selector := fields.OneTermEqualSelector("spec.nodeName", node).String()
	pods := client.CoreV1().Pods(metav1.NamespaceAll)
	lw := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			o.FieldSelector = selector
			return pods.List(ctx, o)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			o.FieldSelector = selector
			return pods.Watch(ctx, o)
		},
	}
	return cache.NewSharedIndexInformer(cache.ToListWatcherWithWatchListSemantics(lw, client), &v1.Pod{}, 0, cache.Indexers{})
}

// podWatch hands the Pods that are bound to the node to their workers.
type podWatch struct {
	cfg      *Config
	pods     *pod.Manager
	informer cache.SharedIndexInformer
}

func newPodWatch(cfg *Config, pods *pod.Manager) *podWatch {
	return &podWatch{cfg: cfg, pods: pods, informer: cfg.Pods}
}

// run feeds the Pods to their workers until ctx ends.
func (w *podWatch) run(ctx context.Context) error {
	registration, err := w.informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { w.pods.Update(o.(*v1.Pod)) },
		UpdateFunc: w.update,
		DeleteFunc: func(o any) {
			if last, ok := o.(cache.DeletedFinalStateUnknown); ok {
				o = last.Obj
			}
			if p, ok := o.(*v1.Pod); ok {
				w.pods.Delete(p)
			}
		},
	})
	if err != nil {
		return fmt.Errorf("watch pods of node %s: %w", w.cfg.Name, err)
	}
	defer func() { _ = w.informer.RemoveEventHandler(registration) }() // it fails only if the informer has stopped
	if !cache.WaitForNamedCacheSyncWithContext(ctx, registration.HasSynced) {
		return nil
	}
	w.cfg.Stage("node " + w.cfg.Name + " knows its pods")
	// Only a complete list shows which Pods of the runtime the API no longer has.
	if err := w.pods.Adopt(ctx); err != nil && ctx.Err() == nil {
		return fmt.Errorf("end pods that no longer exist: %w", err)
	}
	<-ctx.Done()
	return nil
}

// update passes on a changed Pod. If the UID is another one, the Pod was deleted
// and made again while the watch was interrupted.
func (w *podWatch) update(before, after any) {
	old, p := before.(*v1.Pod), after.(*v1.Pod)
	if old.UID != p.UID {
		w.pods.Delete(old)
	}
	w.pods.Update(p)
}

// Pod implements api.Pods.
func (w *podWatch) Pod(namespace, name string) (*v1.Pod, bool) {
	o, ok, err := w.informer.GetStore().GetByKey(namespace + "/" + name)
	if err != nil || !ok {
		return nil, false
	}
	return w.current(o.(*v1.Pod)), true
}

// Pods implements api.Pods.
func (w *podWatch) Pods() []*v1.Pod {
	var pods []*v1.Pod
	for _, o := range w.informer.GetStore().List() {
		pods = append(pods, w.current(o.(*v1.Pod)))
	}
	return pods
}

// current is the Pod with the status that the node computed last, which the API
// server may not have yet.
func (w *podWatch) current(p *v1.Pod) *v1.Pod {
	st, ok := w.pods.Status(p.UID)
	if !ok {
		return p
	}
	p = p.DeepCopy()
	p.Status = st
	return p
}
