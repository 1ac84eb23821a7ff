package ingress

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"

	"minato/internal/ingress/table"
)

const (
	// fieldManager names the Controller in managedFields.
	fieldManager = "minato-ingress"
	// eventSource is the name that users of ingress-nginx look for.
	eventSource = "nginx-ingress-controller"
	// writersAtOnce bounds the requests when an address changes, which all Ingresses have.
	writersAtOnce = 8
)

// told is what was told of an Ingress.
type told struct {
	uid  types.UID
	spec *networkingv1.Ingress // the version that was scheduled last
	// findings are those that there are, so that each is told once.
	findings map[finding]struct{}
}

// finding is what makes two findings the same.
type finding struct{ field, reason, message string }

// statusWriter is the goroutine of a Controller's Run.
type statusWriter struct {
	*Controller
	classes []*networkingv1.IngressClass
	address []networkingv1.IngressLoadBalancerIngress
	begun   bool
	// settings are the findings about ConfigMaps that were told of.
	settings map[types.NamespacedName]map[finding]struct{}
}

func newStatusWriter(c *Controller) *statusWriter {
	return &statusWriter{Controller: c, settings: map[types.NamespacedName]map[finding]struct{}{}}
}

// step brings what was noted up to date. What could not be written is noted again.
func (w *statusWriter) step(ctx context.Context) error {
	w.mu.Lock()
	dirty, all, found := w.dirty, w.all, w.found
	w.dirty, w.all, w.found = map[types.NamespacedName]struct{}{}, false, nil
	w.mu.Unlock()
	if all {
		w.classes, w.address = listClasses(w.cfg.Classes.Informer()), w.Controller.address()
		for _, o := range w.cfg.Ingresses.Informer().GetIndexer().List() {
			dirty[metaKey(KindIngress, o).named()] = struct{}{}
		}
	}
	var failed error
	var writes []func() error
	any := false
	for n := range dirty {
		ing, ok := stored[*networkingv1.Ingress](w.cfg.Ingresses.Informer(), keyOf(KindIngress, n))
		if !ok {
			delete(w.told, n)
			continue
		}
		ours := w.ours(ing, w.classes)
		any = any || ours
		if ours {
			w.schedule(n, ing)
		} else {
			delete(w.told, n)
		}
		if patch := w.statusChange(ing, ours); patch != nil {
			writes = append(writes, func() error { return w.write(ctx, n, patch) })
		}
	}
	w.begun = true
	if w.cfg.Own && (any || all) {
		failed = w.makeService(ctx, any)
	}
	for _, f := range found {
		w.tellFindings(f)
	}
	return errors.Join(failed, atOnce(writersAtOnce, writes))
}

// atOnce calls functions side by side, and returns one of the errors.
func atOnce(most int, calls []func() error) error {
	var wg sync.WaitGroup
	var mu sync.Mutex
	var failed error
	next := make(chan func() error)
	for range min(most, len(calls)) {
		wg.Go(func() {
			for call := range next {
				if err := call(); err != nil {
					mu.Lock()
					failed = err
					mu.Unlock()
				}
			}
		})
	}
	for _, call := range calls {
		next <- call
	}
	close(next)
	wg.Wait()
	return failed
}

// schedule tells that an Ingress is taken up, when it is new or has changed. One that had its address before this process
// began was told of by an earlier one.
func (w *statusWriter) schedule(n types.NamespacedName, ing *networkingv1.Ingress) {
	t := w.told[n]
	if t == nil || t.uid != ing.UID {
		w.told[n] = &told{uid: ing.UID, spec: ing, findings: map[finding]struct{}{}}
		if !w.begun && len(ing.Status.LoadBalancer.Ingress) > 0 {
			return
		}
	} else {
		was := t.spec
		t.spec = ing
		if was.Generation == ing.Generation && equality.Semantic.DeepEqual(was.Annotations, ing.Annotations) {
			return
		}
	}
	w.cfg.Events.Event(eventSource, referenceTo(ing), corev1.EventTypeNormal, "Sync", "Scheduled for sync")
}

func referenceTo(ing *networkingv1.Ingress) corev1.ObjectReference {
	return corev1.ObjectReference{
		APIVersion: networkingv1.SchemeGroupVersion.String(), Kind: "Ingress",
		Namespace: ing.Namespace, Name: ing.Name, UID: ing.UID, ResourceVersion: ing.ResourceVersion,
	}
}

// tellFindings tells of what is new of an Ingress, or of a ConfigMap with settings.
func (w *statusWriter) tellFindings(f Findings) {
	if f.Kind == KindConfigMap {
		about := corev1.ObjectReference{APIVersion: "v1", Kind: "ConfigMap", Namespace: f.Ingress.Namespace, Name: f.Ingress.Name}
		w.settings[f.Ingress] = w.tellNew(about, f.List, w.settings[f.Ingress])
		return
	}
	ing, ok := stored[*networkingv1.Ingress](w.cfg.Ingresses.Informer(), keyOf(KindIngress, f.Ingress))
	t := w.told[f.Ingress]
	if !ok || t == nil || t.uid != f.UID {
		return // it has gone meanwhile, or is another one, of which more will be found
	}
	t.findings = w.tellNew(referenceTo(ing), f.List, t.findings)
}

// tellNew tells of findings that were not told of, and returns all there are.
func (w *statusWriter) tellNew(about corev1.ObjectReference, list []table.Finding, told map[finding]struct{}) map[finding]struct{} {
	now := make(map[finding]struct{}, len(list))
	for i := range list {
		x := &list[i]
		k := finding{x.Field, x.Reason, x.Message}
		now[k] = struct{}{}
		if _, has := told[k]; !has {
			w.cfg.Events.Event(eventSource, about, severity(x), x.Reason, x.Message)
		}
	}
	return now
}

func severity(f *table.Finding) string {
	if f.Warning {
		return corev1.EventTypeWarning
	}
	return corev1.EventTypeNormal
}

// statusChange returns how the status of an Ingress has to change, nil if it has not. What another controller wrote into
// that of an Ingress which is not ours stays.
func (w *statusWriter) statusChange(ing *networkingv1.Ingress, ours bool) []byte {
	if w.cfg.NoStatus {
		return nil
	}
	var want []networkingv1.IngressLoadBalancerIngress
	if ours {
		want = w.address
	}
	if sameAddress(ing.Status.LoadBalancer.Ingress, want) || !ours && !wroteStatus(ing) {
		return nil
	}
	if n := (types.NamespacedName{Namespace: ing.Namespace, Name: ing.Name}); len(want) > 0 && len(ing.Status.LoadBalancer.Ingress) == 0 && w.cfg.Serves != nil && !w.cfg.Serves(n, ing.UID) {
		return nil // a client that has seen the address is answered; Served tells when
	}
	var list any // null removes the list
	if len(want) > 0 {
		list = want
	}
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": ing.UID},
		"status":   map[string]any{"loadBalancer": map[string]any{"ingress": list}},
	})
	if err != nil {
		return nil // these values can be encoded
	}
	return patch
}

// wroteStatus tells whether it was a Controller that wrote the status.
func wroteStatus(ing *networkingv1.Ingress) bool {
	return slices.ContainsFunc(ing.ManagedFields, func(f metav1.ManagedFieldsEntry) bool {
		return f.Manager == fieldManager && f.Subresource == "status"
	})
}

// sameAddress leaves out the ports, which no cloud tells of Ingresses.
func sameAddress(a, b []networkingv1.IngressLoadBalancerIngress) bool {
	return slices.EqualFunc(a, b, func(a, b networkingv1.IngressLoadBalancerIngress) bool {
		return a.IP == b.IP && a.Hostname == b.Hostname
	})
}

func (w *statusWriter) write(ctx context.Context, n types.NamespacedName, patch []byte) error {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	_, err := w.cfg.Client.NetworkingV1().Ingresses(n.Namespace).Patch(ctx, n.Name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: fieldManager}, "status")
	switch {
	case err == nil, apierrors.IsNotFound(err), apierrors.IsConflict(err):
		return nil // another one of the name will be told by the informer
	}
	w.note(n)
	return fmt.Errorf("write the address of Ingress %s: %w", n, err)
}

func listClasses(informer cache.SharedIndexInformer) []*networkingv1.IngressClass {
	all := informer.GetIndexer().List()
	out := make([]*networkingv1.IngressClass, 0, len(all))
	for _, obj := range all {
		if c, ok := obj.(*networkingv1.IngressClass); ok {
			out = append(out, c)
		}
	}
	slices.SortFunc(out, func(a, b *networkingv1.IngressClass) int { return compareText(a.Name, b.Name) })
	return out
}

// Clear takes the addresses away that were written, since nobody serves any more. It is for after Run.
func (c *Controller) Clear(ctx context.Context) error {
	w := newStatusWriter(c)
	w.classes = listClasses(c.cfg.Classes.Informer())
	var writes []func() error
	for _, o := range c.cfg.Ingresses.Informer().GetIndexer().List() {
		ing, ok := o.(*networkingv1.Ingress)
		if !ok || !c.ours(ing, w.classes) {
			continue
		}
		if patch := w.statusChange(ing, true); patch != nil {
			writes = append(writes, func() error {
				return w.write(ctx, types.NamespacedName{Namespace: ing.Namespace, Name: ing.Name}, patch)
			})
		}
	}
	return atOnce(writersAtOnce, writes)
}
