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

	"minato/internal/node/mirror"
	"minato/internal/node/pod"
	"minato/internal/node/static"
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
	mirrors  *mirror.Keeper
	statics  *static.Manager // nil: there are none
	informer cache.SharedIndexInformer
}

func newPodWatch(cfg *Config, pods *pod.Manager, mirrors *mirror.Keeper, statics *static.Manager) *podWatch {
	return &podWatch{cfg: cfg, pods: pods, mirrors: mirrors, statics: statics, informer: cfg.Pods}
}

// run feeds the Pods to their workers until ctx ends.
func (w *podWatch) run(ctx context.Context) error {
	registration, err := w.informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    w.add,
		UpdateFunc: w.update,
		DeleteFunc: func(o any) {
			if last, ok := o.(cache.DeletedFinalStateUnknown); ok {
				o = last.Obj
			}
			if p, ok := o.(*v1.Pod); ok {
				w.remove(p)
			}
		},
	})
	switch {
	case err == nil:
	case ctx.Err() != nil:
		return nil // the informer has ended with it
	default:
		return fmt.Errorf("watch pods of node %s: %w", w.cfg.Name, err)
	}
	defer func() { _ = w.informer.RemoveEventHandler(registration) }() // it fails only if the informer has stopped
	if !cache.WaitForNamedCacheSyncWithContext(ctx, registration.HasSynced) {
		return nil
	}
	w.cfg.Stage("node " + w.cfg.Name + " knows its pods")
	if w.statics != nil {
		w.statics.Sync()
	}
	// Only a complete list shows which Pods of the runtime the API no longer has.
	if err := w.pods.Adopt(ctx); err != nil && ctx.Err() == nil {
		return fmt.Errorf("end pods that no longer exist: %w", err)
	}
	return w.mirrors.Run(ctx)
}

// add passes on a Pod. One that mirrors what is on the node anyway has no containers
// of its own.
func (w *podWatch) add(o any) {
	if p := o.(*v1.Pod); mirror.Is(p) {
		w.mirrors.Look()
	} else {
		w.pods.Update(p)
	}
}

func (w *podWatch) remove(p *v1.Pod) {
	if mirror.Is(p) {
		w.mirrors.Look()
	} else {
		w.pods.Delete(p)
	}
}

// update passes on a changed Pod. If the UID is another one, the Pod was deleted
// and made again while the watch was interrupted.
func (w *podWatch) update(before, after any) {
	old, p := before.(*v1.Pod), after.(*v1.Pod)
	if old.UID != p.UID {
		w.remove(old)
	}
	w.add(p)
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
// server may not have yet. In place of the mirror Pod of a static Pod it is that Pod,
// by whose UID the node knows its containers.
func (w *podWatch) current(p *v1.Pod) *v1.Pod {
	if static, ok := w.mirrors.Static(p); ok {
		p = static
	}
	st, ok := w.pods.Status(p.UID)
	if !ok {
		return p
	}
	p = p.DeepCopy()
	p.Status = st
	return p
}
