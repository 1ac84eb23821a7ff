package loadbalancer

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/tools/cache"
)

// presence is what is known of a kind of object.
type presence int

const (
	unknown presence = iota // it was not read yet
	absent                  // the API does not have the kind
	present                 // all of its objects were read
)

// kind follows the objects of one kind, which the API may not have yet, or not any more.
type kind struct {
	name     string
	resource schema.GroupVersionResource
	client   dynamic.Interface
	log      *slog.Logger
	// namespace is the only one of interest; empty for all.
	namespace string
	// meanwhile says what is not done as long as the kind can't be read.
	meanwhile string
	// changed is called when the objects may configure something else. If each is there it is called for single objects
	// instead, of any change of them.
	changed  func()
	each     func(u *unstructured.Unstructured, gone bool)
	indexers cache.Indexers

	mu    sync.Mutex
	state presence
	store cache.Indexer
}

const (
	firstProbe = 50 * time.Millisecond
	lastProbe  = 5 * time.Second
	// probeTimeout bounds the request that asks whether there is such a kind.
	probeTimeout = 10 * time.Second
)

// follow keeps the objects up to date until ctx ends. It asks for a kind that is not there from time to time, and at once
// when another kind has appeared, since they are installed together.
func (k *kind) follow(ctx context.Context, appeared *signal) {
	delay, told := firstProbe, false
	for ctx.Err() == nil {
		other := appeared.wait()
		err := k.probe(ctx)
		switch {
		case err == nil:
			appeared.fire()
			k.watch(ctx)
			delay, told = firstProbe, false
			continue
		case isAbsent(err):
			k.set(absent, nil)
		case ctx.Err() == nil && !told && delay >= time.Second:
			told = true
			k.log.Warn("Objects of load balancing can't be read, which is tried again", "kind", k.name, "meanwhile", k.meanwhile, "error", err)
		}
		select {
		case <-ctx.Done():
		case <-other:
		case <-time.After(delay):
			delay = min(2*delay, lastProbe)
		}
	}
}

// probe asks for the kind. Discovery would say that it is not there until it has caught up with the definitions.
func (k *kind) probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	_, err := k.client.Resource(k.resource).Namespace(k.namespace).List(ctx, metav1.ListOptions{Limit: 1})
	return err
}

// isAbsent tells whether an answer to a list means that the API does not have the kind.
func isAbsent(err error) bool { return apierrors.IsNotFound(err) || meta.IsNoMatchError(err) }

// watch keeps the objects up to date until ctx ends or the kind is taken out of the API.
func (k *kind) watch(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	informer := dynamicinformer.NewFilteredDynamicInformer(k.client, k.resource, k.namespace, 0, k.indexers, nil).Informer()
	err := informer.SetWatchErrorHandlerWithContext(func(_ context.Context, _ *cache.Reflector, err error) {
		if isAbsent(err) {
			cancel()
			return
		}
		k.log.Debug("The watch of objects of load balancing ended and begins again", "kind", k.name, "error", err)
	})
	r, err2 := informer.AddEventHandler(k.handler())
	if err := errors.Join(err, err2); err != nil { // neither happens before the informer runs
		k.log.Error("Objects of load balancing can't be followed", "kind", k.name, "error", err)
		<-ctx.Done()
		return
	}
	var done sync.WaitGroup
	defer done.Wait()
	done.Go(func() { informer.RunWithContext(ctx) })
	if cache.WaitFor(ctx, "", r.HasSyncedChecker()) {
		k.set(present, informer.GetIndexer())
	}
	<-ctx.Done()
}

// handler passes changes on.
func (k *kind) handler() cache.ResourceEventHandler {
	if k.each == nil {
		return cache.ResourceEventHandlerFuncs{
			AddFunc: func(any) { k.changed() },
			UpdateFunc: func(was, is any) {
				if !sameConfiguration(was, is) {
					k.changed()
				}
			},
			DeleteFunc: func(any) { k.changed() },
		}
	}
	tell := func(o any, gone bool) {
		if last, ok := o.(cache.DeletedFinalStateUnknown); ok {
			o = last.Obj
		}
		if u, ok := o.(*unstructured.Unstructured); ok {
			k.each(u, gone)
		}
	}
	return cache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { tell(o, false) },
		UpdateFunc: func(_, o any) { tell(o, false) },
		DeleteFunc: func(o any) { tell(o, true) },
	}
}

// sameConfiguration tells whether two states of an object differ in nothing but what the API keeps apart from it, such as
// the status that is written from here.
func sameConfiguration(was, is any) bool {
	a, ok := was.(*unstructured.Unstructured)
	b, ok2 := is.(*unstructured.Unstructured)
	return ok && ok2 && a.GetUID() == b.GetUID() && a.GetGeneration() != 0 && a.GetGeneration() == b.GetGeneration() &&
		equality.Semantic.DeepEqual(a.GetLabels(), b.GetLabels()) && (a.GetDeletionTimestamp() == nil) == (b.GetDeletionTimestamp() == nil)
}

func (k *kind) set(state presence, store cache.Indexer) {
	k.mu.Lock()
	same := k.state == state && k.store == store
	k.state, k.store = state, store
	k.mu.Unlock()
	if !same {
		k.changed()
	}
}

// objects are all objects of the kind; known is false as long as they were not read.
func (k *kind) objects() (all []*unstructured.Unstructured, known bool) {
	k.mu.Lock()
	state, store := k.state, k.store
	k.mu.Unlock()
	if store == nil {
		return nil, state != unknown
	}
	for _, o := range store.List() {
		if u, ok := o.(*unstructured.Unstructured); ok {
			all = append(all, u)
		}
	}
	return all, true
}

// isPresent tells whether the API has the kind and all of its objects were read.
func (k *kind) isPresent() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.state == present
}

// indexed are the objects with a value in an index, by name.
func (k *kind) indexed(index, value string) []*unstructured.Unstructured {
	k.mu.Lock()
	store := k.store
	k.mu.Unlock()
	if store == nil {
		return nil
	}
	all, _ := store.ByIndex(index, value) // an index that is there makes no error
	var out []*unstructured.Unstructured
	for _, o := range all {
		if u, ok := o.(*unstructured.Unstructured); ok {
			out = append(out, u)
		}
	}
	slices.SortFunc(out, func(a, b *unstructured.Unstructured) int { return cmp.Compare(a.GetName(), b.GetName()) })
	return out
}

// object returns one object, nil if there is none.
func (k *kind) object(namespace, name string) *unstructured.Unstructured {
	k.mu.Lock()
	store := k.store
	k.mu.Unlock()
	if store == nil {
		return nil
	}
	o, _, _ := store.GetByKey(namespace + "/" + name) // a key of this kind makes no error
	u, _ := o.(*unstructured.Unstructured)
	return u
}

// signal wakes all who wait.
type signal struct {
	mu sync.Mutex
	c  chan struct{}
}

func newSignal() *signal { return &signal{c: make(chan struct{})} }

// wait returns a channel that is closed at the next fire.
func (s *signal) wait() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.c
}

func (s *signal) fire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.c)
	s.c = make(chan struct{})
}
