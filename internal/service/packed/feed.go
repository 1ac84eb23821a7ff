package packed

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"minato/internal/service/route"
)

// feed is a Store as a Reflector of one kind fills it.
type feed[T kruntime.Object] struct {
	store  *Store
	kind   string
	source cache.ListerWatcher
	pack   func(T) (item, error)
	// These are called with the store's lock held. isNew says that the object can't have been there before.
	set     func(it item, isNew bool)
	remove  func(item)
	replace func([]item)
	// loaded is closed once everything was read.
	loaded chan struct{}
}

var _ cache.TransformingStore = (*feed[*corev1.Service])(nil)

func (f *feed[T]) run(ctx context.Context) {
	var one T
	cache.NewReflectorWithOptions(f.source, one, f, cache.ReflectorOptions{Name: f.kind}).RunWithContext(ctx)
}

// Name and Done implement cache.DoneChecker.
func (f *feed[T]) Name() string { return f.kind }

func (f *feed[T]) Done() <-chan struct{} { return f.loaded }

// Transformer makes the Reflector pack each object of a list as it reads it, so that the list is never in memory unpacked.
func (f *feed[T]) Transformer() cache.TransformFunc {
	return func(o any) (any, error) { return f.item(o) }
}

// item takes objects, and those that Transformer has packed.
func (f *feed[T]) item(o any) (item, error) {
	switch o := o.(type) {
	case item:
		return o, nil
	case T:
		return f.pack(o)
	}
	return item{}, fmt.Errorf("got a %T where %s are expected", o, f.kind)
}

// Add implements cache.Store, as do all that follow.
func (f *feed[T]) Add(o any) error {
	return f.do(o, func(it item) { f.set(it, true) })
}

func (f *feed[T]) Update(o any) error {
	return f.do(o, func(it item) { f.set(it, false) })
}

func (f *feed[T]) Delete(o any) error { return f.do(o, f.remove) }

func (f *feed[T]) do(o any, change func(item)) error {
	it, err := f.item(o)
	if err != nil {
		return err
	}
	f.store.mu.Lock()
	defer f.store.mu.Unlock()
	change(it)
	return nil
}

// Replace takes a whole list: the first one, or another after a watch could not be continued.
func (f *feed[T]) Replace(list []any, _ string) error {
	all := make([]item, len(list))
	for i, o := range list {
		var err error
		if all[i], err = f.item(o); err != nil {
			return err
		}
	}
	f.store.mu.Lock()
	defer f.store.mu.Unlock()
	f.replace(all)
	select {
	case <-f.loaded:
	default:
		close(f.loaded)
	}
	select {
	case f.store.replaced <- struct{}{}:
	default:
	}
	return nil
}

// Resync does nothing: the Store has reported every change already.
func (f *feed[T]) Resync() error { return nil }

// watchServices leaves out the Services of another proxy.
func watchServices(client kubernetes.Interface) cache.ListerWatcher {
	return watchSelected(client, "!"+route.LabelProxyName,
		func(ctx context.Context, o metav1.ListOptions) (kruntime.Object, error) {
			return client.CoreV1().Services("").List(ctx, o)
		},
		func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			return client.CoreV1().Services("").Watch(ctx, o)
		})
}

// watchSlices is for those that route.ServesSlice, and that name a Service.
func watchSlices(client kubernetes.Interface) cache.ListerWatcher {
	return watchSelected(client, discoveryv1.LabelServiceName+",!"+corev1.IsHeadlessService+",!"+route.LabelProxyName,
		func(ctx context.Context, o metav1.ListOptions) (kruntime.Object, error) {
			return client.DiscoveryV1().EndpointSlices("").List(ctx, o)
		},
		func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			return client.DiscoveryV1().EndpointSlices("").Watch(ctx, o)
		})
}

// watchSelected reads the objects of a label selector, as a stream where the API server has that.
func watchSelected(client kubernetes.Interface, selector string, list cache.ListWithContextFunc, follow cache.WatchFuncWithContext) cache.ListerWatcher {
	return cache.ToListWatcherWithWatchListSemantics(&cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (kruntime.Object, error) {
			o.LabelSelector = selector
			return list(ctx, o)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			o.LabelSelector = selector
			return follow(ctx, o)
		},
	}, client)
}
