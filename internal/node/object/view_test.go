package object

import (
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

// bench is a store whose watches say what a test has them say.
type bench struct {
	*testing.T
	*Store
	client  *fake.Clientset
	watches chan *watch.FakeWatcher
	changes chan types.UID
	broken  atomic.Bool // no watch can be opened
}

func newBench(t *testing.T) *bench {
	b := &bench{T: t, client: fake.NewClientset(), watches: make(chan *watch.FakeWatcher, 10), changes: make(chan types.UID, 100)}
	b.client.PrependWatchReactor("*", func(clienttesting.Action) (bool, watch.Interface, error) {
		if b.broken.Load() {
			return true, nil, errors.New("broken")
		}
		w := watch.NewFakeWithChanSize(10, false)
		b.watches <- w
		return true, w, nil
	})
	b.Store = New(Config{Client: b.client, Logger: slog.New(slog.DiscardHandler), Changed: func(uid types.UID) { b.changes <- uid }})
	t.Cleanup(b.Close)
	return b
}

var ref = Ref{ConfigMap, "ns", "cm"}

func configMap(version, value string) *v1.ConfigMap {
	return &v1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "cm", ResourceVersion: version}, Data: map[string]string{"k": value}}
}

// store has the API server answer with this object.
func (b *bench) store(cm *v1.ConfigMap) {
	b.Helper()
	if err := b.client.Tracker().Add(runtime.Object(cm)); err != nil {
		b.Fatal(err)
	}
}

func (b *bench) update(cm *v1.ConfigMap) {
	b.Helper()
	if err := b.client.Tracker().Update(v1.SchemeGroupVersion.WithResource("configmaps"), cm, "ns"); err != nil {
		b.Fatal(err)
	}
}

// reads expects a value, "" for not found, and so many requests until then.
func (b *bench) reads(uid types.UID, want string, gets int) {
	b.Helper()
	cm, err := b.Volumes().ConfigMap(b.Context(), uid, "ns", "cm")
	switch {
	case want == "" && !apierrors.IsNotFound(err):
		b.Errorf("%s reads %v, %v; want not found", uid, cm, err)
	case want == "":
		if err.Error() != `configmap "cm" not found` {
			b.Errorf("error = %v", err)
		}
	case err != nil || cm.Data["k"] != want:
		b.Errorf("%s reads %v, %v; want %s", uid, cm, err, want)
	}
	if n := b.requests("get"); n != gets {
		b.Errorf("%d times was the object fetched, want %d", n, gets)
	}
}

func (b *bench) requests(verb string) int {
	n := 0
	for _, a := range b.client.Actions() {
		if a.GetVerb() == verb {
			n++
		}
	}
	return n
}

func (b *bench) watch() *watch.FakeWatcher {
	b.Helper()
	select {
	case w := <-b.watches:
		return w
	case <-time.After(10 * time.Second):
		b.Fatal("no watch was opened")
		return nil
	}
}

func TestWhatIsHeldIsNotFetchedAgain(t *testing.T) {
	b := newBench(t)
	b.store(configMap("5", "one"))
	b.reads("pod-1", "one", 1)
	b.reads("pod-1", "one", 1) // two volumes of one object
	b.Hold("pod-1", []Ref{ref})
	w := b.watch()
	for range 3 {
		b.reads("pod-1", "one", 1)
	}
	if n := b.requests("list"); n != 0 {
		t.Errorf("%d times was listed what had just been read", n)
	}
	w.Modify(configMap("6", "two"))
	within(t, "modified", b.changes, "pod-1")
	b.reads("pod-1", "two", 1)
	w.Delete(configMap("7", "two"))
	within(t, "deleted", b.changes, "pod-1")
	b.reads("pod-1", "", 1)
	w.Add(configMap("8", "three"))
	within(t, "made again", b.changes, "pod-1")
	b.reads("pod-1", "three", 1)
}

// A watch that runs for another Pod may not have heard of a change yet that a
// Pod was made after.
func TestANewPodReadsWhatIsNewerThanTheWatch(t *testing.T) {
	b := newBench(t)
	b.store(configMap("5", "one"))
	b.reads("pod-1", "one", 1)
	b.Hold("pod-1", []Ref{ref})
	w := b.watch()
	b.update(configMap("6", "two"))
	b.reads("pod-1", "one", 1)
	b.reads("pod-2", "two", 2)
	b.Hold("pod-2", []Ref{ref})
	b.reads("pod-2", "two", 2)
	b.reads("pod-1", "two", 2)
	w.Modify(configMap("4", "before")) // late
	for range 2 {                      // both hold it
		select {
		case <-b.changes:
		case <-time.After(10 * time.Second):
			t.Fatal("a holder was not told")
		}
	}
	b.reads("pod-2", "two", 2)
	if len(b.watches) != 0 {
		t.Error("a second watch was opened")
	}
}

func TestWithoutAWatchTheServerIsAsked(t *testing.T) {
	b := newBench(t)
	b.store(configMap("5", "one"))
	b.reads("pod-1", "one", 1)
	b.Hold("pod-1", []Ref{ref})
	w := b.watch()
	w.Error(&metav1.Status{Reason: metav1.StatusReasonExpired})
	w = b.watch()
	within(t, "listed anew", b.changes, "pod-1")
	if n := b.requests("list"); n != 1 {
		t.Errorf("listed %d times after the watch had lost its place, want once", n)
	}
	b.broken.Store(true)
	w.Stop()
	before := b.requests("get")
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		b.mu.Lock()
		current := b.watched[ref].current
		b.mu.Unlock()
		if !current {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("a watch that has ended is relied upon")
		}
	}
	b.update(configMap("6", "two"))
	b.reads("pod-1", "two", before+1)
	b.reads("pod-1", "two", before+2)
	b.broken.Store(false)
	b.watch()
}

func TestWhatIsMissingIsWatchedFor(t *testing.T) {
	b := newBench(t)
	b.reads("pod-1", "", 1)
	b.Hold("pod-1", []Ref{ref})
	w := b.watch()
	b.reads("pod-1", "", 1)
	w.Add(configMap("5", "one"))
	within(t, "made", b.changes, "pod-1")
	b.reads("pod-1", "one", 1)
	// Deleted, and the watch has not heard: another Pod finds out, and then
	// nobody relies on what the watch said.
	if err := b.client.Tracker().Delete(v1.SchemeGroupVersion.WithResource("configmaps"), "ns", "cm"); err == nil {
		t.Error("the object was in the tracker")
	}
	b.reads("pod-2", "", 2)
	b.reads("pod-1", "", 3)
	// Between reading and holding it may have been made.
	b.store(configMap("9", "two"))
	b.Hold("pod-1", nil)
	b.Hold("pod-1", []Ref{ref})
	within(t, "found by the list", b.changes, "pod-1")
	b.watch()
	b.reads("pod-1", "two", 3)
}

func TestNothingIsKeptOfPodsThatAreGone(t *testing.T) {
	b := newBench(t)
	b.store(configMap("5", "one"))
	b.reads("pod-1", "one", 1)
	b.Release("pod-1")
	if len(b.read) != 0 || len(b.watched) != 0 {
		t.Errorf("kept: %v, %v", b.read, b.watched)
	}
}
