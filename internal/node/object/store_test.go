package object

import (
	"fmt"
	"log/slog"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

func within(t *testing.T, what string, ch <-chan types.UID, want types.UID) {
	t.Helper()
	select {
	case uid := <-ch:
		if uid != want {
			t.Errorf("%s: told %s, want %s", what, uid, want)
		}
	case <-time.After(10 * time.Second):
		t.Fatalf("%s: nothing was told", what)
	}
}

func TestHoldersAreTold(t *testing.T) {
	client := fake.NewClientset()
	changes := make(chan types.UID, 10)
	s := New(Config{Client: client, Logger: slog.New(slog.DiscardHandler), Changed: func(uid types.UID) { changes <- uid }})
	defer s.Close()
	if _, err := s.ConfigMap(t.Context(), "ns", "cm"); err == nil || err.Error() != `configmap "cm" not found` {
		t.Errorf("error = %v", err)
	}
	s.Hold("pod-1", []Ref{{ConfigMap, "ns", "cm"}})
	watching(t, client, 1)
	cm := &v1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "cm"}}
	if _, err := client.CoreV1().ConfigMaps("ns").Create(t.Context(), cm, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	within(t, "created", changes, "pod-1")
	if _, err := s.ConfigMap(t.Context(), "ns", "cm"); err != nil {
		t.Error(err)
	}
	cm.Data = map[string]string{"k": "v"}
	if _, err := client.CoreV1().ConfigMaps("ns").Update(t.Context(), cm, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	within(t, "updated", changes, "pod-1")
	s.Hold("pod-2", []Ref{{ConfigMap, "ns", "cm"}})
	s.Release("pod-1")
	if err := client.CoreV1().ConfigMaps("ns").Delete(t.Context(), "cm", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	within(t, "deleted", changes, "pod-2")
	s.Release("pod-2")
	if len(s.watched) != 0 {
		t.Errorf("still watched: %v", s.watched)
	}
	if n := watches(client); n != 1 {
		t.Errorf("%d watches were opened for one object", n)
	}
}

func watches(client *fake.Clientset) int {
	n := 0
	for _, a := range client.Actions() {
		if a.GetVerb() == "watch" {
			n++
		}
	}
	return n
}

func watching(t *testing.T, client *fake.Clientset, want int) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); watches(client) < want; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("no watch was opened")
		}
	}
}

// Right after a Pod was bound, the API server's authorizer may not know yet that
// the node needs the object.
func TestForbiddenIsTriedAgain(t *testing.T) {
	client := fake.NewClientset(&v1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "s"}})
	refusals := 3
	client.PrependReactor("get", "secrets", func(clienttesting.Action) (bool, runtime.Object, error) {
		if refusals--; refusals >= 0 {
			return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: "secrets"}, "s", nil)
		}
		return false, nil, nil
	})
	s := New(Config{Client: client, Logger: slog.New(slog.DiscardHandler)})
	if _, err := s.Secret(t.Context(), "default", "s"); err != nil {
		t.Error(err)
	}
	if _, err := s.ConfigMap(t.Context(), "default", "absent"); !apierrors.IsNotFound(err) {
		t.Errorf("err = %v", err)
	}
}

func TestWatchGoesOnAfterAPanic(t *testing.T) {
	client := fake.NewClientset(&v1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "s"}})
	broken := true
	client.PrependWatchReactor("secrets", func(clienttesting.Action) (bool, watch.Interface, error) {
		if broken {
			broken = false
			panic("broken watch")
		}
		return false, nil, nil
	})
	changes := make(chan types.UID, 100)
	s := New(Config{Client: client, Logger: slog.New(slog.DiscardHandler), Changed: func(uid types.UID) { changes <- uid }})
	defer s.Close()
	s.Hold("p", []Ref{{Secret, "default", "s"}})
	for range 2 { // found by each list: it may have changed while nobody watched
		within(t, "the object is watched", changes, "p")
	}
}

// What is made before a Pod is there when the Pod is started, whatever a watch
// has told of by then.
func TestMadeThenRead(t *testing.T) {
	client := fake.NewClientset()
	client.PrependWatchReactor("*", func(clienttesting.Action) (bool, watch.Interface, error) {
		return true, watch.NewFake(), nil // never tells of anything
	})
	s := New(Config{Client: client, Logger: slog.New(slog.DiscardHandler), Changed: func(types.UID) {}})
	defer s.Close()
	for i := range 200 {
		name := fmt.Sprintf("o%d", i)
		if _, err := s.ConfigMap(t.Context(), "default", name); !apierrors.IsNotFound(err) {
			t.Fatal(err)
		}
		meta := metav1.ObjectMeta{Namespace: "default", Name: name}
		if _, err := client.CoreV1().ConfigMaps("default").Create(t.Context(), &v1.ConfigMap{ObjectMeta: meta}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		if _, err := client.CoreV1().Secrets("default").Create(t.Context(), &v1.Secret{ObjectMeta: meta}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.ConfigMap(t.Context(), "default", name); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Secret(t.Context(), "default", name); err != nil {
			t.Fatal(err)
		}
	}
}
