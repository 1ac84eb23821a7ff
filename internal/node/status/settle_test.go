package status

import (
	"slices"
	"testing"

	v1 "k8s.io/api/core/v1"
)

// state is what a status shows of a container, in a word.
func state(s *v1.ContainerStatus) string {
	switch t := s.State.Terminated; {
	case s.State.Waiting != nil:
		return s.Name + " waits: " + s.State.Waiting.Reason
	case t != nil:
		return s.Name + " ended: " + t.Reason
	}
	return s.Name + " runs"
}

func states(s v1.PodStatus) []string {
	var out []string
	for _, l := range [][]v1.ContainerStatus{s.InitContainerStatuses, s.ContainerStatuses} {
		for i := range l {
			out = append(out, state(&l[i]))
		}
	}
	return out
}

// TestPodThatIsOver has Pods of which no container runs any more: what never had
// its turn is not told of as lost, and does not make the Pod initialized.
func TestPodThatIsOver(t *testing.T) {
	initialized := v1.PodStatus{Conditions: []v1.PodCondition{{Type: v1.PodInitialized, Status: v1.ConditionTrue}}}
	const waits, lost = "waits: PodInitializing", "ended: ContainerStatusUnknown"
	for _, c := range []struct {
		name        string
		in          Input
		want        []string
		phase       v1.PodPhase
		initialized v1.ConditionStatus
		message     string
	}{
		{
			"an init container failed for good",
			Input{Pod: pod(v1.RestartPolicyNever, "init:i", "init:j", "a"), View: view(run("i", exited, 0, 0), run("j", exited, 1, 0))},
			[]string{"i ended: Completed", "j ended: Error", "a " + waits}, v1.PodFailed, v1.ConditionFalse,
			"containers with incomplete status: [j]",
		},
		{
			"deleted while the first of two init containers ran",
			Input{Pod: pod(v1.RestartPolicyAlways, "init:i", "init:j", "a"), View: view(run("i", exited, 137, 0))},
			[]string{"i ended: Error", "j " + waits, "a " + waits}, v1.PodFailed, v1.ConditionFalse,
			"containers with incomplete status: [i j]",
		},
		{
			"deleted before anything ran",
			Input{Pod: pod(v1.RestartPolicyAlways, "init:i", "init:j", "a")},
			[]string{"i " + lost, "j " + waits, "a " + waits}, v1.PodFailed, v1.ConditionFalse,
			"containers with incomplete status: [i j]",
		},
		{
			"initialized, and a container never started",
			Input{Pod: pod(v1.RestartPolicyNever, "init:i", "a"), View: view(run("i", exited, 0, 0))},
			[]string{"i ended: Completed", "a " + lost}, v1.PodFailed, v1.ConditionTrue, "",
		},
		{
			"initialized by a sidecar, and a container never started",
			Input{Pod: pod(v1.RestartPolicyNever, "side:s", "a"), Old: initialized, View: view(run("s", exited, 0, 0))},
			[]string{"s ended: Completed", "a " + lost}, v1.PodFailed, v1.ConditionTrue, "",
		},
		{
			"the runtime has forgotten the init container of a Pod that did its work",
			Input{Pod: pod(v1.RestartPolicyNever, "init:i", "a"), View: view(run("a", exited, 0, 0))},
			[]string{"i ended: Completed", "a ended: Completed"}, v1.PodSucceeded, v1.ConditionTrue, "",
		},
		{
			"no init containers, and nothing started",
			Input{Pod: pod(v1.RestartPolicyAlways, "a", "b"), View: view(run("b", exited, 0, 0))},
			[]string{"a " + lost, "b ended: Completed"}, v1.PodFailed, v1.ConditionTrue, "",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.in.Terminal, c.in.Over = true, true
			s := compute(c.in)
			if got := states(s); !slices.Equal(got, c.want) {
				t.Errorf("states = %q, want %q", got, c.want)
			}
			if s.Phase != c.phase {
				t.Errorf("phase = %s, want %s", s.Phase, c.phase)
			}
			if got := condition(s, v1.PodInitialized); got.Status != c.initialized || got.Message != c.message {
				t.Errorf("Initialized = %s %q, want %s %q", got.Status, got.Message, c.initialized, c.message)
			}
			c.in.Old = s
			if again := states(compute(c.in)); !slices.Equal(again, c.want) {
				t.Errorf("states of the next time = %q, want %q", again, c.want)
			}
		})
	}
}
