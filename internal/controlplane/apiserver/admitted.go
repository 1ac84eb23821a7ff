package apiserver

import (
	"context"
	"sync"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
)

// admitted has the objects that passed a check and whose requests have not
// ended: it is not known yet whether they are stored. The zero value is ready
// for use.
type admitted struct {
	mu      sync.Mutex
	entries []*admittedObject
	ended   chan struct{} // is closed when the request of an entry ends
}

type admittedObject struct {
	object  *unstructured.Unstructured
	request *genericapirequest.RequestInfo // tells requests apart
}

// add notes an object until the request of ctx ends.
func (a *admitted) add(ctx context.Context, object *unstructured.Unstructured) {
	request, _ := genericapirequest.RequestInfoFrom(ctx)
	entry := &admittedObject{object.DeepCopy(), request}
	a.mu.Lock()
	a.entries = append(a.entries, entry)
	a.mu.Unlock()
	context.AfterFunc(ctx, func() { a.remove(func(e *admittedObject) bool { return e == entry }) })
}

// besides returns the objects of a kind that requests other than that of ctx are
// about to store, and a channel that is closed when one of these requests ends.
// What the request of ctx has noted before is forgotten: it is tried again.
func (a *admitted) besides(ctx context.Context, kind string) ([]*unstructured.Unstructured, <-chan struct{}) {
	request, _ := genericapirequest.RequestInfoFrom(ctx)
	a.remove(func(e *admittedObject) bool { return request != nil && e.request == request })
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ended == nil {
		a.ended = make(chan struct{})
	}
	var out []*unstructured.Unstructured
	for _, e := range a.entries {
		if e.object.GetKind() == kind {
			out = append(out, e.object)
		}
	}
	return out, a.ended
}

func (a *admitted) remove(which func(*admittedObject) bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	kept := a.entries[:0]
	for _, e := range a.entries {
		if !which(e) {
			kept = append(kept, e)
		}
	}
	if len(kept) == len(a.entries) {
		return
	}
	clear(a.entries[len(kept):])
	a.entries = kept
	if a.ended != nil {
		close(a.ended)
		a.ended = nil
	}
}
