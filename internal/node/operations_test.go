package node

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	cri "k8s.io/cri-api/pkg/apis"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"minato/internal/node/volume"
)

// failing starts no container and pulls no image.
type failing struct{ cri.RuntimeService }

func (failing) StartContainer(context.Context, string) error { return errors.New("no such program") }
func (failing) StopContainer(context.Context, string, int64) error {
	return nil
}

func (failing) RunPodSandbox(context.Context, *runtimeapi.PodSandboxConfig, string) (string, error) {
	return "", errors.New("no such handler")
}

func TestOperationsAreCounted(t *testing.T) {
	o := newOperations()
	r := countedRuntime{failing{}, o}
	if err := r.StartContainer(t.Context(), "c"); err == nil {
		t.Error("the runtime's error is lost")
	}
	if _, err := r.RunPodSandbox(t.Context(), nil, "gvisor"); err == nil {
		t.Error("the runtime's error is lost")
	}
	for range 2 {
		if err := r.StopContainer(t.Context(), "c", 1); err != nil {
			t.Error(err)
		}
	}
	err := testutil.CollectAndCompare(o, strings.NewReader(`
# HELP kubelet_run_podsandbox_errors_total Cumulative number of the run_podsandbox operation errors by RuntimeClass.Handler.
# TYPE kubelet_run_podsandbox_errors_total counter
kubelet_run_podsandbox_errors_total{runtime_handler="gvisor"} 1
# HELP kubelet_runtime_operations_errors_total Cumulative number of runtime operation errors by operation type.
# TYPE kubelet_runtime_operations_errors_total counter
kubelet_runtime_operations_errors_total{operation_type="run_podsandbox"} 1
kubelet_runtime_operations_errors_total{operation_type="start_container"} 1
# HELP kubelet_runtime_operations_total Cumulative number of runtime operations by operation type.
# TYPE kubelet_runtime_operations_total counter
kubelet_runtime_operations_total{operation_type="run_podsandbox"} 1
kubelet_runtime_operations_total{operation_type="start_container"} 1
kubelet_runtime_operations_total{operation_type="stop_container"} 2
`), "kubelet_run_podsandbox_errors_total", "kubelet_runtime_operations_errors_total", "kubelet_runtime_operations_total")
	if err != nil {
		t.Error(err)
	}
	if n := testutil.CollectAndCount(o, "kubelet_runtime_operations_duration_seconds"); n != 3 {
		t.Errorf("%d durations", n)
	}
}

// silent reports to nobody.
type silent struct{}

func (silent) Set(*v1.Pod, v1.PodStatus)    {}
func (silent) Finish(*v1.Pod, v1.PodStatus) {}
func (silent) Forget(types.UID)             {}

func TestStartsAreMeasured(t *testing.T) {
	s := newStarts(silent{})
	pod := func(uid types.UID) *v1.Pod { return &v1.Pod{ObjectMeta: metav1.ObjectMeta{UID: uid}} }
	seen := metav1.NewTime(time.Now().Add(-7 * time.Second))
	for _, step := range []struct {
		uid   types.UID
		phase v1.PodPhase
	}{
		{"new", v1.PodPending}, {"new", v1.PodPending}, {"new", v1.PodRunning}, {"new", v1.PodRunning},
		{"old", v1.PodRunning},
		{"refused", v1.PodPending}, {"refused", v1.PodFailed},
		{"short", v1.PodPending}, {"short", v1.PodSucceeded},
		{"gone", v1.PodPending},
	} {
		s.Set(pod(step.uid), v1.PodStatus{Phase: step.phase, StartTime: &seen})
	}
	s.Forget("gone")
	registry := prometheus.NewRegistry()
	registry.MustRegister(s.took)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	h := families[0].GetMetric()[0].GetHistogram()
	if h.GetSampleCount() != 2 || h.GetSampleSum() < 14 || h.GetSampleSum() > 60 {
		t.Errorf("%d starts that took %v s", h.GetSampleCount(), h.GetSampleSum())
	}
	if len(s.waiting) != 0 {
		t.Errorf("%v are still waited for", s.waiting)
	}
}

func TestClaimsAreToldOnce(t *testing.T) {
	pod := func(name string, phase v1.PodPhase, annotations map[string]string) *v1.Pod {
		return &v1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Annotations: annotations}, Status: v1.PodStatus{Phase: phase}}
	}
	pods := []*v1.Pod{pod("a", v1.PodRunning, nil), pod("b", v1.PodRunning, nil), pod("c", v1.PodSucceeded, nil), pod("s", v1.PodRunning, map[string]string{v1.MirrorPodAnnotationKey: "x"})}
	c := newCollector("node-1", func() []*v1.Pod { return pods }, func(p *v1.Pod) []volume.Stats {
		if p.Name == "s" {
			return nil
		}
		return []volume.Stats{{Name: "data", Claim: "db", Capacity: 1000, Available: 400, Used: 600}}
	})
	err := testutil.CollectAndCompare(c, strings.NewReader(`
# HELP kubelet_active_pods The number of pods the kubelet considers active and which are being considered when admitting new pods. static is true if the pod is not from the apiserver.
# TYPE kubelet_active_pods gauge
kubelet_active_pods{static=""} 2
kubelet_active_pods{static="true"} 1
# HELP kubelet_desired_pods The number of pods the kubelet is being instructed to run. static is true if the pod is not from the apiserver.
# TYPE kubelet_desired_pods gauge
kubelet_desired_pods{static=""} 3
kubelet_desired_pods{static="true"} 1
# HELP kubelet_volume_stats_used_bytes Number of used bytes in the volume
# TYPE kubelet_volume_stats_used_bytes gauge
kubelet_volume_stats_used_bytes{namespace="default",persistentvolumeclaim="db"} 600
`), "kubelet_active_pods", "kubelet_desired_pods", "kubelet_volume_stats_used_bytes")
	if err != nil {
		t.Error(err)
	}
}
