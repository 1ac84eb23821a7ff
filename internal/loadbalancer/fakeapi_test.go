package loadbalancer

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

var servicesResource = schema.GroupResource{Resource: "services"}

// fakeAPI is a clientset whose Services behave as the API server's: they have versions that writes must name rightly, a
// status of their own, and finalizers.
type fakeAPI struct {
	*fake.Clientset

	mu       sync.Mutex
	version  int64
	services map[types.NamespacedName]*corev1.Service
	history  []fakeEvent
	watchers []*fakeWatch
	held     bool // watchers see nothing
	seen     int  // what of history they have seen
	fail     func(verb string, s *corev1.Service) error
	drop     func(s *corev1.Service) // fields that the API server doesn't know
	// bareStatus has writes of the status change nothing else.
	bareStatus bool
	writes     []fakeWrite
	created    int
}

type fakeEvent struct {
	version int64
	event   watch.Event
}

// fakeWrite is a write of the Controller.
type fakeWrite struct {
	key         types.NamespacedName
	subresource string
	after       *corev1.Service
}

// fakeWatch is a watch with room for many events.
type fakeWatch struct {
	mu      sync.Mutex
	events  chan watch.Event
	stopped bool
}

func (w *fakeWatch) ResultChan() <-chan watch.Event { return w.events }

func (w *fakeWatch) Stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.stopped {
		w.stopped = true
		close(w.events)
	}
}

func (w *fakeWatch) send(e watch.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.stopped {
		w.events <- watch.Event{Type: e.Type, Object: e.Object.DeepCopyObject()}
	}
}

func newFakeAPI(objects ...runtime.Object) *fakeAPI {
	f := &fakeAPI{Clientset: fake.NewClientset(objects...), services: map[types.NamespacedName]*corev1.Service{}, version: 100}
	f.PrependReactor("list", "services", func(clienttesting.Action) (bool, runtime.Object, error) {
		f.mu.Lock()
		defer f.mu.Unlock()
		list := &corev1.ServiceList{ListMeta: metav1.ListMeta{ResourceVersion: strconv.FormatInt(f.version, 10)}}
		for _, s := range f.services {
			list.Items = append(list.Items, *s.DeepCopy())
		}
		return true, list, nil
	})
	f.PrependReactor("get", "services", func(a clienttesting.Action) (bool, runtime.Object, error) {
		f.mu.Lock()
		defer f.mu.Unlock()
		s, err := f.find(types.NamespacedName{Namespace: a.GetNamespace(), Name: a.(clienttesting.GetAction).GetName()})
		if err != nil {
			return true, nil, err
		}
		return true, s.DeepCopy(), nil
	})
	f.PrependReactor("patch", "services", func(a clienttesting.Action) (bool, runtime.Object, error) {
		s, err := f.patch(a.(clienttesting.PatchAction))
		if err != nil {
			return true, nil, err
		}
		return true, s, nil
	})
	f.PrependWatchReactor("services", func(a clienttesting.Action) (bool, watch.Interface, error) {
		return true, f.watch(a.(clienttesting.WatchActionImpl).ListOptions.ResourceVersion), nil
	})
	return f
}

func (f *fakeAPI) find(key types.NamespacedName) (*corev1.Service, error) {
	if s := f.services[key]; s != nil {
		return s, nil
	}
	return nil, apierrors.NewNotFound(servicesResource, key.Name)
}

func (f *fakeAPI) watch(from string) watch.Interface {
	f.mu.Lock()
	defer f.mu.Unlock()
	w := &fakeWatch{events: make(chan watch.Event, 1<<16)}
	since, _ := strconv.ParseInt(from, 10, 64)
	for _, e := range f.history[:f.seen] {
		if e.version > since {
			w.send(e.event)
		}
	}
	f.watchers = append(f.watchers, w)
	return w
}

// commit stores a state and shows it. The caller holds mu.
func (f *fakeAPI) commit(s *corev1.Service, event watch.EventType) *corev1.Service {
	f.version++
	s.ResourceVersion = strconv.FormatInt(f.version, 10)
	if s.DeletionTimestamp != nil && len(s.Finalizers) == 0 {
		event = watch.Deleted
	}
	if event == watch.Deleted {
		delete(f.services, keyOf(s))
	} else {
		f.services[keyOf(s)] = s
	}
	f.history = append(f.history, fakeEvent{f.version, watch.Event{Type: event, Object: s.DeepCopy()}})
	f.show()
	return s.DeepCopy()
}

func (f *fakeAPI) show() {
	if f.held {
		return
	}
	for ; f.seen < len(f.history); f.seen++ {
		e := f.history[f.seen].event
		for _, w := range f.watchers {
			w.send(e)
		}
	}
}

// hold makes watchers see nothing until release.
func (f *fakeAPI) hold() { f.mu.Lock(); defer f.mu.Unlock(); f.held = true }

func (f *fakeAPI) release() { f.mu.Lock(); defer f.mu.Unlock(); f.held = false; f.show() }

// create stores a new Service, with what the API server fills in.
func (f *fakeAPI) create(s *corev1.Service) *corev1.Service {
	f.mu.Lock()
	defer f.mu.Unlock()
	s = s.DeepCopy()
	f.created++
	s.UID = types.UID(fmt.Sprintf("uid-%d", f.created))
	s.CreationTimestamp = metav1.NewTime(time.Unix(int64(f.created), 0))
	if len(s.Spec.IPFamilies) == 0 {
		s.Spec.IPFamilies = []corev1.IPFamily{corev1.IPv4Protocol}
	}
	s.Spec.ClusterIP = fmt.Sprintf("10.96.%d.%d", f.created/250, f.created%250+1)
	s.Spec.ClusterIPs = []string{s.Spec.ClusterIP}
	return f.commit(s, watch.Added)
}

// change edits a Service as a user does. The API server takes the status of one that leaves type LoadBalancer.
func (f *fakeAPI) change(t testing.TB, key types.NamespacedName, edit func(*corev1.Service)) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	s, err := f.find(key)
	if err != nil {
		t.Fatal(err)
	}
	s = s.DeepCopy()
	edit(s)
	if s.Spec.Type != corev1.ServiceTypeLoadBalancer {
		s.Status.LoadBalancer = corev1.LoadBalancerStatus{}
		s.Spec.LoadBalancerClass = nil
	}
	f.commit(s, watch.Modified)
}

// remove deletes a Service, which stays for as long as it has finalizers.
func (f *fakeAPI) remove(t testing.TB, key types.NamespacedName) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	s, err := f.find(key)
	if err != nil {
		t.Fatal(err)
	}
	s = s.DeepCopy()
	now := metav1.Now()
	s.DeletionTimestamp = &now
	f.commit(s, watch.Modified)
}

// get returns a Service, nil if there is none.
func (f *fakeAPI) get(key types.NamespacedName) *corev1.Service {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.services[key].DeepCopy()
}

// written are the Controller's writes so far.
func (f *fakeAPI) written() []fakeWrite {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.writes)
}

// failing has writes fail with what fail returns, if it is not nil.
func (f *fakeAPI) failing(fail func(verb string, s *corev1.Service) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fail = fail
}

// patch is the API server's answer to a merge patch.
func (f *fakeAPI) patch(a clienttesting.PatchAction) (*corev1.Service, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	key := types.NamespacedName{Namespace: a.GetNamespace(), Name: a.GetName()}
	was, err := f.find(key)
	if err != nil {
		return nil, err
	}
	if f.fail != nil {
		if err := f.fail("patch/"+a.GetSubresource(), was); err != nil {
			return nil, err
		}
	}
	if a.GetPatchType() != types.MergePatchType {
		return nil, apierrors.NewBadRequest("the Controller sends merge patches")
	}
	is, err := mergePatch(was, a.GetPatch())
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	if is.UID != was.UID || is.ResourceVersion != was.ResourceVersion {
		return nil, apierrors.NewConflict(servicesResource, key.Name, fmt.Errorf("the object has been modified"))
	}
	if a.GetSubresource() == "status" {
		is.Spec = *was.Spec.DeepCopy()
		if f.bareStatus {
			is.ObjectMeta = *was.ObjectMeta.DeepCopy()
		}
		if was.Spec.Type != corev1.ServiceTypeLoadBalancer && len(is.Status.LoadBalancer.Ingress) > 0 {
			return nil, apierrors.NewInvalid(schema.GroupKind{Kind: "Service"}, key.Name, nil)
		}
	} else {
		is.Status = *was.Status.DeepCopy()
	}
	if f.drop != nil {
		f.drop(is)
	}
	out := f.commit(is, watch.Modified)
	f.writes = append(f.writes, fakeWrite{key: key, subresource: a.GetSubresource(), after: out})
	return out, nil
}

// mergePatch applies a JSON merge patch.
func mergePatch(was *corev1.Service, patch []byte) (*corev1.Service, error) {
	var object, change map[string]any
	if err := convert(was, &object); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(patch, &change); err != nil {
		return nil, err
	}
	is := &corev1.Service{}
	return is, convert(mergeInto(object, change), is)
}

func mergeInto(object, change map[string]any) map[string]any {
	for key, value := range change {
		inner, isMap := value.(map[string]any)
		has, _ := object[key].(map[string]any)
		switch {
		case value == nil:
			delete(object, key)
		case isMap && has == nil:
			object[key] = mergeInto(map[string]any{}, inner)
		case isMap:
			object[key] = mergeInto(has, inner)
		default:
			object[key] = value
		}
	}
	return object
}
