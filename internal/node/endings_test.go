package node

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

type silentReporter struct{}

func (silentReporter) Set(*v1.Pod, v1.PodStatus)    {}
func (silentReporter) Finish(*v1.Pod, v1.PodStatus) {}
func (silentReporter) Forget(types.UID)             {}

func TestEndingsAreCountedOnce(t *testing.T) {
	e := newEndings(silentReporter{})
	run := func(id string, code int32) *v1.ContainerStateTerminated {
		return &v1.ContainerStateTerminated{ContainerID: "minato://" + id, ExitCode: code, Reason: "Error"}
	}
	status := func(last, now *v1.ContainerStateTerminated) v1.PodStatus {
		s := v1.ContainerStatus{Name: "main"}
		s.LastTerminationState.Terminated, s.State.Terminated = last, now
		return v1.PodStatus{ContainerStatuses: []v1.ContainerStatus{s}}
	}
	p := &v1.Pod{}
	p.UID, p.Status = "1", status(nil, run("before", 1)) // before this agent
	e.Set(p, status(nil, run("before", 1)))
	e.Set(p, status(run("before", 1), nil))
	e.Set(p, status(run("before", 1), run("a", 139)))
	e.Set(p, status(run("before", 1), run("a", 139)))
	e.Set(p, status(run("a", 139), nil))
	e.Set(p, status(run("b", 139), nil)) // started again before its end was told
	e.Finish(p, status(run("b", 139), run("c", 0)))
	e.Forget("1")
	init := v1.PodStatus{InitContainerStatuses: status(nil, run("i", 0)).ContainerStatuses}
	e.Set(&v1.Pod{}, init)
	want := `
# HELP kubelet_terminated_containers_total Cumulative number of container terminations.
# TYPE kubelet_terminated_containers_total counter
kubelet_terminated_containers_total{container_type="container",exit_code="0",reason="Error"} 1
kubelet_terminated_containers_total{container_type="container",exit_code="139",reason="Error"} 2
kubelet_terminated_containers_total{container_type="init_container",exit_code="0",reason="Error"} 1
`
	if err := testutil.CollectAndCompare(e.total, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
	if len(e.seen) != 1 {
		t.Errorf("%d Pods are remembered, want the one that was not forgotten", len(e.seen))
	}
}
