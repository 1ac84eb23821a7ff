package apiserver

import (
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
)

func event(i int) watch.Event {
	return watch.Event{Type: watch.Modified, Object: &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint(i)}}}
}

func within(t *testing.T, what string, done <-chan struct{}) {
	t.Helper()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatalf("%s took more than 20s", what)
	}
}

// fill sends events to a watch that nobody reads.
func fill(t *testing.T, from *watch.FakeWatcher, n int) {
	t.Helper()
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		for i := range n {
			from.Action(event(i).Type, event(i).Object)
		}
	}()
	within(t, "sending events to a watch that nobody reads", sent)
}

// The watch cache never waits for the client, and the client misses nothing, not even what came before the end.
func TestPatientWatchKeepsEvents(t *testing.T) {
	from := watch.NewFakeWithChanSize(0, false)
	w := newPatientWatch(from, 1000)
	fill(t, from, 1000)
	from.Stop()
	n := 0
	for e := range w.ResultChan() {
		if got, want := e.Object.(*corev1.ConfigMap).Name, fmt.Sprint(n); got != want {
			t.Fatalf("event %s, want %s", got, want)
		}
		n++
	}
	if n != 1000 {
		t.Errorf("%d events, want 1000", n)
	}
}

func TestPatientWatchHasABound(t *testing.T) {
	from := watch.NewFakeWithChanSize(0, false)
	w := newPatientWatch(from, 10)
	fill(t, from, 11)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for range w.ResultChan() {
		}
	}()
	within(t, "the end of a watch whose client is too slow", ended)
	if !from.IsStopped() {
		t.Error("the watch of the store goes on")
	}
}

func TestPatientWatchStops(t *testing.T) {
	from := watch.NewFakeWithChanSize(0, false)
	w := newPatientWatch(from, 10)
	fill(t, from, 5)
	w.Stop()
	w.Stop()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for range w.ResultChan() {
		}
	}()
	within(t, "the end of a watch that was stopped", ended)
	if !from.IsStopped() {
		t.Error("the watch of the store goes on")
	}
}
