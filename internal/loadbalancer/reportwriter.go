package loadbalancer

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"minato/internal/loadbalancer/config"
	"minato/internal/loadbalancer/config/metallb"
)

// prefixes are what the names of reports begin with.
var prefixes = map[string]string{metallb.KindServiceL2Status: "l2-", metallb.KindServiceBGPStatus: "bgp-"}

// reconcile brings the objects about a Service and a node to what is wanted: one of them, or none.
func (r *Reports) reconcile(ctx context.Context, key reportKey) error {
	k := r.kinds[key.kind]
	if !k.isPresent() {
		return nil // it is looked at when the kind appears
	}
	want, all, made := r.known(key)
	var keep *unstructured.Unstructured
	var remove []*unstructured.Unstructured
	for _, u := range k.indexed(indexService, key.service.String()) {
		node := label(u, metallb.LabelNode)
		switch {
		case node == key.node && want != nil && keep == nil && !want.isAnother(key, u):
			keep = u
		case node == key.node && (want != nil || all):
			remove = append(remove, u)
		case node != key.node && want != nil && want.alive != nil && !want.alive[node]:
			remove = append(remove, u)
		}
	}
	if made != nil && want == nil && all {
		remove = append(remove, made)
	}
	client := r.client.Resource(k.resource).Namespace(config.Namespace)
	for _, u := range remove {
		if err := r.remove(ctx, client, u); err != nil {
			return fmt.Errorf("delete %s %s of Service %s: %w", key.kind, u.GetName(), key.service, err)
		}
	}
	if want == nil {
		return nil
	}
	if keep == nil {
		keep = made
	}
	return r.write(ctx, client, key, want, keep)
}

// known is what is wanted, whether the node has told of all that it announces, and the object that was made last if the
// watch has not shown it yet.
func (r *Reports) known(key reportKey) (want *report, all bool, made *unstructured.Unstructured) {
	r.mu.Lock()
	defer r.mu.Unlock()
	want, all = r.wants[key], r.told[nodeKind{key.kind, key.node}]
	m := r.made[key]
	if m == nil {
		return want, all, nil
	}
	if time.Since(m.at) > madeFor { // it was deleted before the watch has shown it
		delete(r.made, key)
		return want, all, nil
	}
	return want, all, m.object
}

func (r *Reports) remove(ctx context.Context, client dynamic.ResourceInterface, u *unstructured.Unstructured) error {
	ctx, done, err := r.request(ctx)
	if err != nil {
		return err
	}
	defer done()
	uid := u.GetUID()
	err = client.Delete(ctx, u.GetName(), metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}})
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) { // it is gone, or another one
		return nil
	}
	return err
}

// request waits until a request may be made, and bounds it.
func (r *Reports) request(ctx context.Context) (context.Context, context.CancelFunc, error) {
	r.pressure.giveWay(ctx)
	if err := r.limit.Wait(ctx); err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	return ctx, cancel, nil
}

// write makes the object, if there is none, and writes its status.
func (r *Reports) write(ctx context.Context, client dynamic.ResourceInterface, key reportKey, want *report, has *unstructured.Unstructured) error {
	if has == nil {
		var err error
		if has, err = r.create(ctx, client, key, want); err != nil {
			return fmt.Errorf("make a %s of Service %s: %w", key.kind, key.service, err)
		}
	}
	if want.is(key, has) {
		return nil
	}
	body, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": has.GetUID()}, "status": want.status(key)})
	if err != nil {
		return fmt.Errorf("encode the status of %s %s: %w", key.kind, has.GetName(), err)
	}
	ctx, done, err := r.request(ctx)
	if err != nil {
		return err
	}
	defer done()
	is, err := client.Patch(ctx, has.GetName(), types.MergePatchType, body, metav1.PatchOptions{FieldManager: fieldManager}, "status")
	if apierrors.IsNotFound(err) { // somebody deleted it; the next try makes another
		r.forget(key, has)
	}
	if err != nil {
		return fmt.Errorf("write the status of %s %s of Service %s: %w", key.kind, has.GetName(), key.service, err)
	}
	r.noteMade(key, is, false)
	return nil
}

func (r *Reports) create(ctx context.Context, client dynamic.ResourceInterface, key reportKey, want *report) (*unstructured.Unstructured, error) {
	ctx, done, err := r.request(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	u := &unstructured.Unstructured{}
	u.SetAPIVersion(r.kinds[key.kind].resource.GroupVersion().String())
	u.SetKind(key.kind)
	u.SetNamespace(config.Namespace)
	u.SetGenerateName(prefixes[key.kind])
	u.SetLabels(map[string]string{
		metallb.LabelNode: key.node, metallb.LabelServiceName: key.service.Name, metallb.LabelServiceNamespace: key.service.Namespace,
	})
	if want.owner != "" {
		u.SetOwnerReferences([]metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: key.node, UID: want.owner}})
	}
	is, err := client.Create(ctx, u, metav1.CreateOptions{FieldManager: fieldManager})
	if err != nil {
		return nil, err
	}
	r.noteMade(key, is, true)
	return is, nil
}

// noteMade keeps an object until the watch shows it. One that it has shown already is not kept again.
func (r *Reports) noteMade(key reportKey, u *unstructured.Unstructured, fresh bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if m := r.made[key]; m != nil {
		m.object = u
	} else if fresh && r.kinds[key.kind].object(u.GetNamespace(), u.GetName()) == nil {
		r.made[key] = &madeReport{object: u, at: time.Now()}
		if r.queue != nil {
			r.queue.AddAfter(key, madeFor+time.Second)
		}
	}
}

func (r *Reports) forget(key reportKey, u *unstructured.Unstructured) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if m := r.made[key]; m != nil && m.object.GetUID() == u.GetUID() {
		delete(r.made, key)
	}
}

// status is what an object is to say.
func (w *report) status(key reportKey) map[string]any {
	out := maps.Clone(w.fields)
	out["node"], out["serviceName"], out["serviceNamespace"] = key.node, key.service.Name, key.service.Namespace
	return out
}

// is tells whether an object says what it is to say. A list that is not there is an empty one.
func (w *report) is(key reportKey, u *unstructured.Unstructured) bool {
	has, _, _ := unstructured.NestedMap(u.Object, "status")
	for name, value := range w.status(key) {
		if list, ok := value.([]any); ok && len(list) == 0 {
			if is, ok := has[name].([]any); has[name] != nil && (!ok || len(is) > 0) {
				return false
			}
		} else if !equality.Semantic.DeepEqual(has[name], value) {
			return false
		}
	}
	return true
}

// isAnother tells whether an object is about another node or Service, whatever its labels say; that can't be changed.
func (w *report) isAnother(key reportKey, u *unstructured.Unstructured) bool {
	for name, value := range map[string]string{"node": key.node, "serviceName": key.service.Name, "serviceNamespace": key.service.Namespace} {
		if has, _, _ := unstructured.NestedString(u.Object, "status", name); has != "" && has != value {
			return true
		}
	}
	return false
}
