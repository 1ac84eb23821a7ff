package pod

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	podutil "k8s.io/kubernetes/pkg/api/v1/pod"

	"minato/internal/node/csi"
	"minato/internal/node/volume"
)

// A Pod that ends for the sake of others says so, and leaves no container behind.
func TestEvictForOthers(t *testing.T) {
	b := newBench(t)
	p := newPod("web")
	b.manager.Update(p)
	b.eventually("it runs", b.phase("web", v1.PodRunning))
	e := Eviction{Reason: "Evicted", Message: "The node was low on resource: memory. ", Grace: 1, Disrupts: true, Annotations: map[string]string{"starved_resource": "memory"}}
	if !b.manager.EvictFor(p.UID, e) {
		t.Fatal("it was not evicted")
	}
	if b.manager.EvictFor(p.UID, e) {
		t.Error("it was evicted twice")
	}
	b.eventually("it has failed", b.phase("web", v1.PodFailed))
	st := b.reporter.get("web")
	if _, c := podutil.GetPodConditionFromList(st.Conditions, v1.DisruptionTarget); c == nil || c.Status != v1.ConditionTrue || c.Reason != "TerminationByKubelet" || c.Message != e.Message {
		t.Errorf("DisruptionTarget = %+v", c)
	}
	b.eventually("nothing of it is left", func() bool { return b.manager.Gone(p.UID) })
	if b.count("RemovePodSandbox web") == 0 {
		t.Errorf("its sandbox stays: %q", b.runtime.Calls())
	}
}

// A node that takes no more volumes refuses the Pod for good: another one goes elsewhere.
func TestVolumeLimitRefuses(t *testing.T) {
	b := newBench(t)
	b.volumes.fail(&volume.Error{Volume: "data", Err: &csi.LimitError{Driver: "d", Message: "full"}})
	p := newPod("web")
	b.manager.Update(p)
	b.eventually("it has failed", b.phase("web", v1.PodFailed))
	if st := b.reporter.get("web"); st.Reason != "VolumeAttachmentLimitExceeded" || !strings.Contains(st.Message, "as many volumes of the CSI driver d as it takes: full") {
		t.Errorf("%s: %s", st.Reason, st.Message)
	}
	if b.count("CreateContainer main") > 0 {
		t.Error("a container was created without its volumes")
	}
}

// Where the disk is full, what has ended goes, and what runs stays.
func TestPurge(t *testing.T) {
	b := newBench(t)
	once := func(p *v1.Pod) {
		p.Spec.RestartPolicy, p.Spec.Containers[0].Name = v1.RestartPolicyNever, "done"
	}
	done, runs := newPod("done", once), newPod("runs")
	b.manager.Update(done)
	b.manager.Update(runs)
	b.eventually("they run", func() bool { return b.phase("done", v1.PodRunning)() && b.phase("runs", v1.PodRunning)() })
	b.runtime.Exit("done", 0)
	b.eventually("it is over", b.phase("done", v1.PodSucceeded))
	before := b.count("RemovePodSandbox done")
	if err := b.manager.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := b.count("RemovePodSandbox done") - before; n != 1 {
		t.Errorf("%d sandboxes were removed, want 1: %q", n, b.runtime.Calls())
	}
	if st := b.reporter.get("done"); st.Phase != v1.PodSucceeded || st.ContainerStatuses[0].State.Terminated == nil {
		t.Errorf("its status was lost with its container: %+v", st)
	}
	if st := b.reporter.get("runs"); st.Phase != v1.PodRunning {
		t.Errorf("what runs is %s", st.Phase)
	}
}

// A driver that does not end a volume keeps the Pod, and not the room that its
// containers take.
func TestPurgeWhileAVolumeStays(t *testing.T) {
	b := newBench(t)
	b.volumes.keeps = errors.New("the CSI driver d did not answer")
	b.manager.Update(newPod("done", func(p *v1.Pod) { p.Spec.RestartPolicy, p.Spec.Containers[0].Name = v1.RestartPolicyNever, "done" }))
	b.eventually("it runs", b.phase("done", v1.PodRunning))
	b.runtime.Exit("done", 0)
	b.eventually("it is over", b.phase("done", v1.PodSucceeded))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := b.manager.Purge(ctx); err != nil {
		t.Fatal(err)
	}
	if b.count("RemovePodSandbox done") == 0 {
		t.Errorf("its sandbox stays: %q", b.runtime.Calls())
	}
}

// Pods end by their priorities, the lower ones first.
func TestEndAllByGroups(t *testing.T) {
	b := newBench(t)
	for _, name := range []string{"low", "high"} {
		b.manager.Update(newPod(name, func(p *v1.Pod) { p.Spec.Containers[0].Name = name }))
		b.eventually(name+" runs", b.phase(name, v1.PodRunning))
	}
	group := func(p *v1.Pod) int {
		if p.Name == "high" {
			return 1
		}
		return 0
	}
	if err := b.manager.EndAll(t.Context(), []time.Duration{5 * time.Second, 5 * time.Second}, group); err != nil {
		t.Fatal(err)
	}
	calls := b.runtime.Calls()
	low, high := slices.Index(calls, "StopContainer low"), slices.Index(calls, "StopContainer high")
	if low < 0 || high < low {
		t.Errorf("low was stopped at %d, high at %d: %q", low, high, calls)
	}
}
