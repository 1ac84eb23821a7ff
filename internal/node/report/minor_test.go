package report

import (
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
)

// waiting is the status of a container that is to be made.
func waiting(reason string) []v1.ContainerStatus {
	return []v1.ContainerStatus{{Name: "c", State: v1.ContainerState{Waiting: &v1.ContainerStateWaiting{Reason: reason}}}}
}

func running() v1.PodStatus {
	return v1.PodStatus{Phase: v1.PodRunning, ObservedGeneration: 1,
		Conditions:        []v1.PodCondition{{Type: v1.PodReady, Status: v1.ConditionTrue, ObservedGeneration: 1}},
		ContainerStatuses: []v1.ContainerStatus{{Name: "c", State: v1.ContainerState{Running: &v1.ContainerStateRunning{}}}},
	}
}

func TestMinor(t *testing.T) {
	scheduled := v1.PodStatus{Phase: v1.PodPending, Conditions: []v1.PodCondition{{Type: v1.PodScheduled, Status: v1.ConditionTrue}}}
	now := metav1.NewTime(time.Unix(1000, 0))
	creating := v1.PodStatus{Phase: v1.PodPending, StartTime: &now, HostIP: "172.30.0.11", ContainerStatuses: waiting("ContainerCreating"),
		Conditions: []v1.PodCondition{{Type: v1.PodScheduled, Status: v1.ConditionTrue}, {Type: v1.PodReady, Status: v1.ConditionFalse, Reason: "ContainersNotReady"}}}
	addressed := *creating.DeepCopy()
	addressed.PodIP = "10.244.1.2"
	refused := *creating.DeepCopy()
	refused.ContainerStatuses = waiting("ErrImagePull")
	gated := *creating.DeepCopy()
	gated.Conditions = append(gated.Conditions, v1.PodCondition{Type: v1.PodResizePending, Status: v1.ConditionTrue})
	newer := running()
	newer.ObservedGeneration, newer.Conditions[0].ObservedGeneration = 2, 2
	unready := running()
	unready.Conditions[0].Status = v1.ConditionFalse
	moved := running()
	moved.PodIP = "10.244.1.3"
	failed := v1.PodStatus{Phase: v1.PodFailed, Reason: "OutOfcpu"}
	for _, tc := range []struct {
		name      string
		old, want v1.PodStatus
		minor     bool
	}{
		{"nothing", running(), running(), true},
		{"the Pod was seen", scheduled, creating, true},
		{"it has an address", creating, addressed, true},
		{"both", scheduled, addressed, true},
		{"no image", creating, refused, false},
		{"no image at once", scheduled, refused, false},
		{"another condition", creating, gated, false},
		{"it runs", addressed, running(), false},
		{"it is refused", scheduled, failed, false},
		{"a new generation", running(), newer, true},
		{"not ready any more", running(), unready, false},
		{"another address of one that runs", running(), moved, false},
		{"pending again", running(), creating, false},
	} {
		if got := minor(&tc.old, &tc.want); got != tc.minor {
			t.Errorf("%s: minor = %v, want %v", tc.name, got, tc.minor)
		}
	}
}

func TestMinorStatusWaitsForTheNext(t *testing.T) {
	client := fake.NewClientset(newPod())
	w := start(t, client)
	st := v1.PodStatus{Phase: v1.PodPending, ContainerStatuses: waiting("ContainerCreating"), Conditions: newPod().Status.Conditions}
	began := time.Now()
	w.Set(newPod(), st)
	st.PodIP = "10.0.0.1"
	w.Set(newPod(), st)
	w.Set(newPod(), v1.PodStatus{Phase: v1.PodRunning})
	eventually(t, "the last is written", func() bool { return phase(t, client) == v1.PodRunning })
	if n := verbs(client, "patch"); n != 1 && time.Since(began) < hold {
		t.Errorf("%d patches, want 1", n)
	}
}

func TestMinorStatusIsWritten(t *testing.T) {
	client := fake.NewClientset(newPod())
	w := start(t, client)
	w.Set(newPod(), v1.PodStatus{Phase: v1.PodPending, PodIP: "10.0.0.1", Conditions: newPod().Status.Conditions})
	eventually(t, "it is written", func() bool {
		p, err := client.CoreV1().Pods("ns").Get(t.Context(), "p", metav1.GetOptions{})
		return err == nil && p.Status.PodIP == "10.0.0.1"
	})
}
