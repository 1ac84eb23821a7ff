package mirror

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync/atomic"
	"testing"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	clocktesting "k8s.io/utils/clock/testing"
)

// world is a node with one part. Its store is brought up to date by sync alone, as a
// watch that lags does.
type world struct {
	t        *testing.T
	client   *fake.Clientset
	store    cache.Store
	clock    *clocktesting.FakeClock
	keeper   *Keeper
	node     *v1.Node
	state    State
	restarts atomic.Int32
	refuse   error
	events   *record.FakeRecorder
}

func newWorld(t *testing.T) *world {
	w := &world{
		t: t, client: fake.NewClientset(), store: cache.NewStore(cache.MetaNamespaceKeyFunc), clock: clocktesting.NewFakeClock(second(0)),
		node:   &v1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node-1", UID: "n1"}},
		state:  State{Ready: true, First: second(0), Since: second(0)},
		events: record.NewFakeRecorder(10),
	}
	w.keeper = New(Config{
		NodeName: "node-1", HostIPs: []string{"172.30.0.11"}, Client: w.client, Pods: w.store, Process: "p1", Reporter: w, Clock: w.clock,
		Node: func(context.Context) (*v1.Node, error) {
			if w.node == nil {
				return nil, apierrors.NewNotFound(v1.Resource("nodes"), "node-1")
			}
			return w.node, nil
		},
		Parts: []Part{{
			Name: "etcd", Image: "minato:devel", Command: []string{"etcd", "--name=minato"}, Labels: map[string]string{"component": "etcd"},
			State: func() State { return w.state }, Restart: func() error { w.restarts.Add(1); return w.refuse },
		}},
		Events: w.events, Logger: slog.New(slog.DiscardHandler),
	})
	return w
}

// Set implements Reporter.
func (w *world) Set(pod *v1.Pod, status v1.PodStatus) {
	p := w.get(pod.Name)
	if p == nil || p.UID != pod.UID {
		return
	}
	p.Status = status
	if _, err := w.client.CoreV1().Pods(pod.Namespace).UpdateStatus(w.t.Context(), p, metav1.UpdateOptions{}); err != nil {
		w.t.Error(err)
	}
}

func (w *world) get(name string) *v1.Pod {
	p, err := w.client.CoreV1().Pods("kube-system").Get(w.t.Context(), name, metav1.GetOptions{})
	if err != nil {
		return nil
	}
	return p
}

var uids atomic.Int32

// sync gives new Pods their UIDs and the store what the API has.
func (w *world) sync() {
	list, err := w.client.CoreV1().Pods("").List(w.t.Context(), metav1.ListOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	var all []any
	for _, p := range list.Items {
		if p.UID == "" {
			p.UID = types.UID("u" + string(rune('0'+uids.Add(1))))
			if _, err := w.client.CoreV1().Pods(p.Namespace).Update(w.t.Context(), &p, metav1.UpdateOptions{}); err != nil {
				w.t.Fatal(err)
			}
		}
		all = append(all, &p)
	}
	if err := w.store.Replace(all, ""); err != nil {
		w.t.Fatal(err)
	}
}

// rounds makes some rounds, with the store up to date before each.
func (w *world) rounds(n int) {
	for range n {
		w.sync()
		w.keeper.round(w.t.Context())
	}
	w.sync()
}

func (w *world) verbs() []string {
	var out []string
	for _, a := range w.client.Actions() {
		if v := a.GetVerb(); v != "list" && v != "get" {
			out = append(out, v)
		}
	}
	return out
}

func (w *world) delete(name string) {
	if err := w.client.CoreV1().Pods("kube-system").Delete(w.t.Context(), name, metav1.DeleteOptions{}); err != nil {
		w.t.Fatal(err)
	}
}

func TestAPartIsShown(t *testing.T) {
	w := newWorld(t)
	w.rounds(2)
	p := w.get("etcd-node-1")
	if p == nil || p.Annotations[AnnotationMirror] == "" || owner(p) != "n1" || !p.Spec.HostNetwork || p.Spec.NodeName != "node-1" || p.Status.Phase != v1.PodRunning {
		t.Fatalf("Pod %+v", p)
	}
	if len(p.Spec.Containers[0].Resources.Requests) != 0 || p.Spec.ServiceAccountName != "" {
		t.Error("the Pod takes resources or a ServiceAccount")
	}
	before := len(w.verbs())
	w.client.ClearActions()
	w.rounds(5)
	w.clock.Step(lookPeriod)
	w.rounds(5)
	if v := w.verbs(); len(v) != 0 {
		t.Errorf("after %d writes, and while nothing changes: %v", before, v)
	}
	w.state = State{Failed: true, Error: "disk full", First: second(0), Since: second(9)}
	w.rounds(2)
	if c := w.get("etcd-node-1").Status.ContainerStatuses[0]; c.Ready || c.State.Waiting == nil || c.State.Waiting.Message != "disk full" {
		t.Errorf("container of the failed part: %+v", c)
	}
	if w.restarts.Load() != 0 {
		t.Error("the part was started again")
	}
}

func TestAWatchThatLagsMakesNoSecondPod(t *testing.T) {
	w := newWorld(t)
	for range 3 {
		w.keeper.round(t.Context()) // the store stays empty
	}
	if v := w.verbs(); !slices.Equal(v, []string{"create"}) {
		t.Errorf("writes %v", v)
	}
}

func TestADeletedPodStartsThePartAgain(t *testing.T) {
	w := newWorld(t)
	w.rounds(3)
	first := w.get("etcd-node-1").UID
	w.delete("etcd-node-1")
	w.state.Restarts, w.state.Since = 1, second(5)
	w.rounds(3)
	p := w.get("etcd-node-1")
	if w.restarts.Load() != 1 || p == nil || p.UID == first || p.Status.ContainerStatuses[0].RestartCount != 1 {
		t.Errorf("started again %d times; Pod %+v", w.restarts.Load(), p)
	}
	// One that ends is the same: it is deleted for good, once.
	now := metav1.Now()
	p.DeletionTimestamp, p.Finalizers = &now, nil
	if _, err := w.client.CoreV1().Pods("kube-system").Update(t.Context(), p, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	w.refuse = errors.New("nobody would start it")
	w.rounds(4)
	if w.restarts.Load() != 2 || w.get("etcd-node-1").DeletionTimestamp != nil {
		t.Errorf("started again %d times", w.restarts.Load())
	}
	select {
	case e := <-w.events.Events:
		if e != "Warning RestartFailed etcd can't be started again: nobody would start it" {
			t.Error(e)
		}
	default:
		t.Error("nobody was told that the part can't be started again")
	}
}

func TestADeletedNodeStartsNothingAgain(t *testing.T) {
	w := newWorld(t)
	w.rounds(3)
	w.node = nil
	w.delete("etcd-node-1")
	w.rounds(2)
	if w.get("etcd-node-1") != nil {
		t.Error("a node that there is not has a Pod")
	}
	w.node = &v1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node-1", UID: "n2"}}
	w.rounds(2)
	if p := w.get("etcd-node-1"); p == nil || owner(p) != "n2" {
		t.Errorf("Pod of the new Node: %+v", p)
	}
	w.node = &v1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node-1", UID: "n3"}}
	w.delete("etcd-node-1") // as the garbage collector does
	w.rounds(2)
	if p := w.get("etcd-node-1"); p == nil || owner(p) != "n3" || w.restarts.Load() != 0 {
		t.Errorf("started again %d times; Pod %+v", w.restarts.Load(), p)
	}
}

func TestOtherMirrorPodsAreDeleted(t *testing.T) {
	w := newWorld(t)
	for _, p := range []*v1.Pod{
		{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "etcd-node-1", UID: "old", Annotations: map[string]string{AnnotationMirror: "old"}}},
		{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "stray", UID: "stray", Annotations: map[string]string{AnnotationMirror: "x"}}},
		{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", UID: "web"}},
	} {
		if _, err := w.client.CoreV1().Pods(p.Namespace).Create(t.Context(), p, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	w.rounds(4)
	if p := w.get("etcd-node-1"); p == nil || p.UID == "old" {
		t.Errorf("Pod with another configuration: %+v", p)
	}
	list, err := w.client.CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{})
	if err != nil || len(list.Items) != 1 || list.Items[0].Name != "web" {
		t.Errorf("Pods in default: %+v, %v", list.Items, err)
	}
	if w.restarts.Load() != 0 {
		t.Error("the part was started again")
	}
}

func TestAStaticPodIsShown(t *testing.T) {
	w := newWorld(t)
	pod := &v1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web-node-1", UID: "static", Annotations: map[string]string{AnnotationHash: "h1"}},
		Spec:       v1.PodSpec{NodeName: "node-1"},
	}
	w.keeper.Show(pod)
	w.rounds(2)
	get := func() *v1.Pod {
		p, err := w.client.CoreV1().Pods("default").Get(t.Context(), "web-node-1", metav1.GetOptions{})
		if err != nil {
			return nil
		}
		return p
	}
	if p := get(); p == nil || p.Annotations[AnnotationMirror] != "h1" || p.UID == "static" {
		t.Fatalf("mirror Pod %+v", p)
	}
	if s, ok := w.keeper.Static(get()); !ok || s.UID != "static" {
		t.Error("the mirror Pod stands for nothing")
	}
	w.keeper.Hide(pod)
	w.rounds(2)
	if get() != nil {
		t.Error("a static Pod that is gone has a mirror Pod")
	}
}
