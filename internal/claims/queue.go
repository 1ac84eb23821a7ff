package claims

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
)

// Pauses before a step that failed is tried again.
const (
	firstPause = 50 * time.Millisecond
	lastPause  = time.Minute
)

// kind is what a key names.
type kind string

const (
	aClaim  kind = "claim"
	aVolume kind = "volume"
)

// key names an object that is to be looked at.
type key struct {
	kind kind
	name string // with the namespace of a claim
}

// queue has objects looked at, one step at a time for each of them.
type queue struct {
	workqueue.TypedRateLimitingInterface[key]
	step func(ctx context.Context, k key) error
	log  *slog.Logger
}

func newQueue(step func(context.Context, key) error, log *slog.Logger) *queue {
	limiter := workqueue.NewTypedItemExponentialFailureRateLimiter[key](firstPause, lastPause)
	return &queue{workqueue.NewTypedRateLimitingQueue(limiter), step, log}
}

// follow has the objects of an informer looked at whenever they change.
func (q *queue) follow(informer cache.SharedIndexInformer, k kind) (stop func(), synced cache.InformerSynced, err error) {
	add := func(o any) {
		if name, err := cache.DeletionHandlingMetaNamespaceKeyFunc(o); err == nil {
			q.Add(key{k, name})
		}
	}
	r, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: add, UpdateFunc: func(_, o any) { add(o) }})
	if err != nil {
		return nil, nil, err
	}
	return func() { _ = informer.RemoveEventHandler(r) }, r.HasSynced, nil // it fails only if the informer has stopped
}

// run works with so many workers until ctx ends.
func (q *queue) run(ctx context.Context, workers int) {
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for q.next(ctx) {
			}
		})
	}
	<-ctx.Done()
	q.ShutDown()
	wg.Wait()
}

func (q *queue) next(ctx context.Context) bool {
	k, ended := q.Get()
	if ended {
		return false
	}
	defer q.Done(k)
	err := q.step(ctx, k)
	if err == nil || ctx.Err() != nil {
		q.Forget(k)
		return true
	}
	q.log.Warn("A directory for a claim could not be made or removed, which is tried again", "kind", k.kind, "name", k.name, "error", err)
	q.AddRateLimited(k)
	return true
}
