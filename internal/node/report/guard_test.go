package report

import (
	"sync/atomic"
	"testing"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

func TestStatusIsWrittenAfterAPanic(t *testing.T) {
	client := fake.NewClientset(newPod())
	var panics atomic.Int32
	client.PrependReactor("patch", "pods", func(clienttesting.Action) (bool, runtime.Object, error) {
		if panics.Add(1) == 1 {
			panic("broken client")
		}
		return false, nil, nil
	})
	w := start(t, client)
	w.Set(newPod(), v1.PodStatus{Phase: v1.PodRunning})
	eventually(t, "the status is written", func() bool { return phase(t, client) == v1.PodRunning })
	if panics.Load() < 2 {
		t.Error("nothing panicked")
	}
}

// The condition of a Pod that the node evicts is written though it is not one
// that only nodes set; that of somebody else stays.
func TestDisruptionIsReported(t *testing.T) {
	want := v1.PodStatus{Conditions: []v1.PodCondition{{Type: v1.DisruptionTarget, Status: v1.ConditionTrue, Reason: "TerminationByKubelet"}}}
	if got := withOthers(newPod(), want); len(got.Conditions) != 2 || got.Conditions[1].Reason != "TerminationByKubelet" {
		t.Errorf("conditions = %+v", got.Conditions)
	}
	p := newPod()
	p.Status.Conditions = []v1.PodCondition{{Type: v1.DisruptionTarget, Status: v1.ConditionTrue, Reason: "EvictionByEvictionAPI"}}
	if got := withOthers(p, want); len(got.Conditions) != 1 || got.Conditions[0].Reason != "EvictionByEvictionAPI" {
		t.Errorf("conditions = %+v", got.Conditions)
	}
}
