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
