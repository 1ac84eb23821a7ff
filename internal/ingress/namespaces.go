package ingress

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	coreinformers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/tools/cache"
)

// Namespaces are those whose Ingresses are served, by their labels (--watch-namespace-selector). Nil is all of them.
type Namespaces struct {
	// Informer is the cluster's; whoever owns it starts it.
	Informer coreinformers.NamespaceInformer
	Selector labels.Selector
}

// serve tells whether the Ingresses of a namespace are served.
func (n *Namespaces) serve(namespace string) bool {
	if n == nil {
		return true
	}
	obj, _, _ := n.Informer.Informer().GetIndexer().GetByKey(namespace) // a key of this kind makes no error
	ns, ok := obj.(*corev1.Namespace)
	return ok && n.Selector.Matches(labels.Set(ns.Labels))
}

// follow has note called with the keys of the Ingresses of a namespace that may have begun or ceased to be served.
func (n *Namespaces) follow(ingresses cache.SharedIndexInformer, note func(Key)) (stop func(), synced cache.DoneChecker, err error) {
	changed := func(obj any) {
		if gone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
			obj = gone.Obj
		}
		ns, ok := obj.(*corev1.Namespace)
		if !ok {
			return
		}
		all, _ := ingresses.GetIndexer().ByIndex(cache.NamespaceIndex, ns.Name) // an index that is there makes no error
		for _, ing := range all {
			note(metaKey(KindIngress, ing))
		}
	}
	r, err := n.Informer.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: changed, DeleteFunc: changed,
		UpdateFunc: func(was, is any) {
			a, _ := was.(*corev1.Namespace)
			b, ok := is.(*corev1.Namespace)
			if ok && (a == nil || n.Selector.Matches(labels.Set(a.Labels)) != n.Selector.Matches(labels.Set(b.Labels))) {
				changed(is)
			}
		},
	})
	if err != nil {
		return nil, nil, err
	}
	return func() { _ = n.Informer.Informer().RemoveEventHandler(r) }, r.HasSyncedChecker(), nil // it fails only if the informer has stopped
}
