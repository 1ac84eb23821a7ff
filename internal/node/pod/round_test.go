package pod

import (
	"slices"
	"testing"

	v1 "k8s.io/api/core/v1"
)

// Only the container whose end has all of them started anew pauses before it starts again, though
// those that were stopped for that have ended in a way that would do so as well.
func TestRestartOfAllPausesForTheOneThatFailed(t *testing.T) {
	b := newBench(t)
	b.runtime.HoldStop("other") // it ends by SIGKILL
	never := v1.ContainerRestartPolicyNever
	p := newPod("web", func(p *v1.Pod) {
		c := &p.Spec.Containers[0]
		c.RestartPolicy = &never
		c.RestartPolicyRules = []v1.ContainerRestartRule{{
			Action:    v1.ContainerRestartRuleActionRestartAllContainers,
			ExitCodes: &v1.ContainerRestartRuleOnExitCodes{Operator: v1.ContainerRestartRuleOnExitCodesOpNotIn, Values: []int32{0}},
		}}
		other := *c.DeepCopy()
		other.Name = "other"
		p.Spec.Containers = append(p.Spec.Containers, other)
	})
	b.manager.Update(p)
	both := func(restarts int32) func() bool {
		return func() bool {
			s := b.reporter.get("web").ContainerStatuses
			return len(s) == 2 && !slices.ContainsFunc(s, func(c v1.ContainerStatus) bool { return c.State.Running == nil || c.RestartCount != restarts })
		}
	}
	b.eventually("both run", both(0))
	b.runtime.Exit("main", 1)
	b.eventually("both are started again at once", both(1))
	b.runtime.Exit("main", 1)
	b.eventually("the one that failed waits", b.waitingFor("web", "CrashLoopBackOff"))
	b.eventually("the other one runs", func() bool { return b.count("StartContainer other") == 3 })
	for _, s := range b.reporter.all() {
		for _, c := range s.ContainerStatuses {
			if w := c.State.Waiting; c.Name == "other" && w != nil && w.Reason == reasonCrashLoop {
				t.Fatalf("the one that was stopped: %+v", c.State)
			}
		}
	}
}
