package report

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

func start(t *testing.T, client *fake.Clientset) *Writer {
	t.Helper()
	w := New(Config{Client: client, Logger: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); w.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return w
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within ten seconds: %s", what)
		}
	}
}

func newPod() *v1.Pod {
	return &v1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p", UID: "u", ResourceVersion: "5"},
		Status: v1.PodStatus{Phase: v1.PodPending, Conditions: []v1.PodCondition{{Type: "example.com/gate", Status: v1.ConditionTrue}}}}
}

func phase(t *testing.T, client *fake.Clientset) v1.PodPhase {
	p, err := client.CoreV1().Pods("ns").Get(t.Context(), "p", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return p.Status.Phase
}

func verbs(client *fake.Clientset, verb string) int {
	n := 0
	for _, a := range client.Actions() {
		if a.GetVerb() == verb {
			n++
		}
	}
	return n
}

func TestNewestStatusWins(t *testing.T) {
	client := fake.NewClientset(newPod())
	w := start(t, client)
	w.Set(newPod(), v1.PodStatus{Phase: v1.PodPending, Conditions: newPod().Status.Conditions, PodIP: "10.0.0.1"})
	w.Set(newPod(), v1.PodStatus{Phase: v1.PodRunning})
	eventually(t, "it is written", func() bool { return phase(t, client) == v1.PodRunning })
	p, _ := client.CoreV1().Pods("ns").Get(t.Context(), "p", metav1.GetOptions{})
	if len(p.Status.Conditions) != 1 || p.Status.Conditions[0].Type != "example.com/gate" {
		t.Errorf("conditions of others = %+v", p.Status.Conditions)
	}
	if verbs(client, "get") > 20 {
		t.Error("writing a status reads the pod first")
	}
}

func TestNothingNewIsNotWritten(t *testing.T) {
	client := fake.NewClientset(newPod())
	w := start(t, client)
	w.Set(newPod(), newPod().Status)
	w.Set(newPod(), v1.PodStatus{Phase: v1.PodRunning})
	eventually(t, "it is written", func() bool { return phase(t, client) == v1.PodRunning })
	if n := verbs(client, "patch"); n != 1 {
		t.Errorf("%d patches, want 1", n)
	}
}

func TestFailedWriteIsRepeated(t *testing.T) {
	client := fake.NewClientset(newPod())
	failures := 2
	client.PrependReactor("patch", "pods", func(clienttesting.Action) (bool, runtime.Object, error) {
		failures--
		return failures >= 0, nil, errors.New("not now")
	})
	start(t, client).Set(newPod(), v1.PodStatus{Phase: v1.PodRunning})
	eventually(t, "it is written", func() bool { return phase(t, client) == v1.PodRunning })
}

func TestFinishDeletes(t *testing.T) {
	client := fake.NewClientset(newPod())
	w := start(t, client)
	w.Finish(newPod(), v1.PodStatus{Phase: v1.PodSucceeded})
	eventually(t, "it is gone", func() bool {
		_, err := client.CoreV1().Pods("ns").Get(t.Context(), "p", metav1.GetOptions{})
		return apierrors.IsNotFound(err)
	})
	var order []string
	for _, a := range client.Actions() {
		if a.GetVerb() != "get" {
			order = append(order, a.GetVerb())
		}
	}
	if d := cmp.Diff([]string{"patch", "delete"}, order); d != "" {
		t.Error(d)
	}
	for _, a := range client.Actions() {
		if del, ok := a.(clienttesting.DeleteActionImpl); ok {
			o := del.DeleteOptions
			if *o.GracePeriodSeconds != 0 || *o.Preconditions.UID != "u" {
				t.Errorf("delete options = %+v", o)
			}
		}
	}
	w.Set(newPod(), v1.PodStatus{Phase: v1.PodRunning})
	w.Finish(newPod(), v1.PodStatus{Phase: v1.PodFailed})
	if n := verbs(client, "delete"); n != 1 {
		t.Errorf("%d deletions", n)
	}
}

func TestDifferenceNamesThePod(t *testing.T) {
	p := newPod()
	want := withOthers(p, v1.PodStatus{Phase: v1.PodRunning, Conditions: []v1.PodCondition{{Type: v1.PodReady, Status: v1.ConditionTrue}, {Type: "example.com/gate", Status: v1.ConditionFalse}}})
	patch, err := difference(p, want)
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(patch, &got); err != nil {
		t.Fatal(err)
	}
	wantPatch := map[string]any{
		"metadata": map[string]any{"uid": "u"},
		"status": map[string]any{
			"phase":                       "Running",
			"$setElementOrder/conditions": []any{map[string]any{"type": "example.com/gate"}, map[string]any{"type": "Ready"}},
			"conditions":                  []any{map[string]any{"type": "Ready", "status": "True", "lastProbeTime": nil, "lastTransitionTime": nil}},
		},
	}
	if d := cmp.Diff(wantPatch, got); d != "" {
		t.Error(d)
	}
}

func TestNoDifferenceIsNoPatch(t *testing.T) {
	p := newPod()
	want := *p.Status.DeepCopy()
	want.HostIPs = []v1.HostIP{} // the same as none, once it is written down
	if patch, err := difference(p, want); err != nil || patch != nil {
		t.Errorf("patch = %s, %v", patch, err)
	}
}
