package apiserver

import (
	"context"
	"sync"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/registry/generic"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/storagebackend"
	"k8s.io/apiserver/pkg/storage/storagebackend/factory"
	"k8s.io/client-go/tools/cache"
)

// mostPending is how many events may wait for a watch's client. Objects in them
// are those of the watch cache, so each takes little memory of its own.
const mostPending = 20_000

// patientWatches has watches live through a time in which the processors are
// busy. Upstream's watch cache closes a watch that has not taken one of ten
// events within a fraction of a second: a `kubectl get -w` then ends without a
// word, though it is the server that has been slow. Here the events wait, in
// their order, and only a client that lets mostPending of them wait is closed.
type patientWatches struct {
	generic.RESTOptionsGetter
}

// GetRESTOptions implements generic.RESTOptionsGetter.
func (p patientWatches) GetRESTOptions(resource schema.GroupResource, example runtime.Object) (generic.RESTOptions, error) {
	options, err := p.RESTOptionsGetter.GetRESTOptions(resource, example)
	if err != nil {
		return options, err
	}
	decorate := options.Decorator
	options.Decorator = func(
		config *storagebackend.ConfigForResource, resourcePrefix string, keyFunc func(obj runtime.Object) (string, error),
		newFunc, newListFunc func() runtime.Object, getAttrsFunc storage.AttrFunc, trigger storage.IndexerFuncs, indexers *cache.Indexers,
	) (storage.Interface, factory.DestroyFunc, error) {
		s, destroy, err := decorate(config, resourcePrefix, keyFunc, newFunc, newListFunc, getAttrsFunc, trigger, indexers)
		if err != nil {
			return nil, nil, err
		}
		return patientStorage{s}, destroy, nil
	}
	return options, nil
}

type patientStorage struct {
	storage.Interface
}

// Watch implements storage.Interface.
func (s patientStorage) Watch(ctx context.Context, key string, opts storage.ListOptions) (watch.Interface, error) {
	w, err := s.Interface.Watch(ctx, key, opts)
	if err != nil {
		return nil, err
	}
	return newPatientWatch(w, mostPending), nil
}

// patientWatch takes the events of a watch as they come, and keeps them for whoever reads its own.
type patientWatch struct {
	from    watch.Interface
	most    int
	out     chan watch.Event
	stop    sync.Once
	stopped chan struct{}
}

func newPatientWatch(from watch.Interface, most int) *patientWatch {
	w := &patientWatch{from: from, most: most, out: make(chan watch.Event), stopped: make(chan struct{})}
	go w.run()
	return w
}

// ResultChan implements watch.Interface.
func (w *patientWatch) ResultChan() <-chan watch.Event { return w.out }

// Stop implements watch.Interface.
func (w *patientWatch) Stop() {
	w.stop.Do(func() {
		close(w.stopped)
		w.from.Stop()
	})
}

func (w *patientWatch) run() {
	defer close(w.out)
	defer w.from.Stop()
	var pending []watch.Event
	in := w.from.ResultChan()
	for in != nil || len(pending) > 0 {
		var out chan<- watch.Event
		var next watch.Event
		if len(pending) > 0 {
			out, next = w.out, pending[0]
		}
		select {
		case e, open := <-in:
			switch {
			case !open:
				in = nil // what has come is still to be read
			case len(pending) == w.most:
				return
			default:
				pending = append(pending, e)
			}
		case out <- next:
			pending[0] = watch.Event{} // lets go of the object
			if pending = pending[1:]; len(pending) == 0 {
				pending = nil // and of the room that many have taken
			}
		case <-w.stopped:
			return
		}
	}
}
