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
	"k8s.io/client-go/tools/cache"

	"minato/internal/node/pod"
)

type uid = types.UID

// podWatch follows the Pods that are bound to the node.
type podWatch struct {
	cfg      *Config
	pods     *pod.Manager
	informer cache.SharedIndexInformer
}

func newPodWatch(cfg *Config, pods *pod.Manager) *podWatch {
	selector := fields.OneTermEqualSelector("spec.nodeName", cfg.Name).String()
	client := cfg.Client.CoreV1().Pods(metav1.NamespaceAll)
	lw := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			o.FieldSelector = selector
			return client.List(ctx, o)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			o.FieldSelector = selector
			return client.Watch(ctx, o)
		},
	}
	w := &podWatch{cfg: cfg, pods: pods}
	w.informer = cache.NewSharedIndexInformer(cache.ToListWatcherWithWatchListSemantics(lw, cfg.Client), &v1.Pod{}, 0, cache.Indexers{})
	return w
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
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.informer.RunWithContext(ctx)
	}()
	defer func() { <-done }()
	if !cache.WaitForNamedCacheSyncWithContext(ctx, registration.HasSynced) {
		return nil
	}
	w.cfg.Stage("node " + w.cfg.Name + " knows its pods")
	// Only a complete list shows which Pods of the runtime the API no longer has.
	if err := w.pods.Adopt(ctx); err != nil && ctx.Err() == nil {
		return fmt.Errorf("end pods that no longer exist: %w", err)
	}
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
