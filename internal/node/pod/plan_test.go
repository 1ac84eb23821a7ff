package pod

import (
	"strconv"
	"strings"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	podutil "k8s.io/kubernetes/pkg/api/v1/pod"

	"minato/internal/node/observe"
	"minato/internal/node/probe"
	"minato/internal/node/spec"
)

// A view is written as words: "sb" a good sandbox, "sb!" one that is lost, and
// name=running, name=created or name=CODE for containers, with ! for those that
// belong to another sandbox, and @N for those of round N.
func parseView(p *v1.Pod, text string) *observe.Pod {
	view := &observe.Pod{}
	for i, word := range strings.Fields(text) {
		name, state, ok := strings.Cut(word, "=")
		if !ok {
			view.Sandboxes = append(view.Sandboxes, observe.Sandbox{ID: "sb", Ready: word == "sb", IPs: []string{"10.0.0.1"}, Attempt: 4})
			continue
		}
		state, round, _ := strings.Cut(state, "@")
		state, elsewhere := strings.CutSuffix(state, "!")
		c := observe.Container{ID: name + "-id", Name: name, SandboxID: "sb", CreatedAt: time.Unix(int64(i), 0), State: runtimeapi.ContainerState_CONTAINER_EXITED}
		if elsewhere {
			c.SandboxID = "old"
		}
		if ctr := spec.FindContainer(p, name); ctr != nil {
			c.Annotations = map[string]string{spec.AnnotationHash: spec.Hash(ctr), spec.AnnotationRound: round}
		}
		switch state {
		case "running":
			c.State = runtimeapi.ContainerState_CONTAINER_RUNNING
		case "created":
			c.State = runtimeapi.ContainerState_CONTAINER_CREATED
		default:
			code, _ := strconv.Atoi(state)
			c.ExitCode = int32(code)
		}
		view.Containers = append(view.Containers, c)
	}
	return view
}

func (p Plan) String() string {
	var words []string
	if p.NewSandbox {
		words = append(words, "sandbox")
	}
	if p.Replace != nil {
		words = append(words, "replace")
	}
	for _, k := range p.Kill {
		words = append(words, "kill:"+k.Container.Name)
	}
	for _, c := range p.Start {
		words = append(words, "start:"+c.Name)
	}
	if p.Done {
		words = append(words, "done")
	}
	return strings.Join(words, " ")
}

func TestPlans(t *testing.T) {
	const always, onFailure, never = v1.RestartPolicyAlways, v1.RestartPolicyOnFailure, v1.RestartPolicyNever
	for _, c := range []struct {
		policy     v1.RestartPolicy
		containers string // i: init, s: sidecar, others regular
		view       string
		want       string
	}{
		{always, "a", "", "sandbox"},
		{always, "a", "sb", "start:a"},
		{always, "a b", "sb", "start:a start:b"},
		{always, "a", "sb a=running", ""},
		{always, "a", "sb a=created", "start:a"},
		{always, "a", "sb a=0", "start:a"},
		{always, "a", "sb a=1", "start:a"},
		{onFailure, "a", "sb a=1", "start:a"},
		{onFailure, "a", "sb a=0", "done"},
		{never, "a", "sb a=1", "done"},
		{never, "a b", "sb a=1 b=running", ""},
		{always, "a", "sb! a=1", "sandbox replace"},
		{always, "a", "sb! a=running", "sandbox replace kill:a"},
		{always, "a", "sb a=1!", "start:a"},
		{never, "a", "sb! a=1", "done"},
		{never, "a", "sb! a=running", "done"},
		{onFailure, "a", "sb! a=0", "done"},
		{onFailure, "a b", "sb! a=0 b=1", "sandbox replace"},
		{onFailure, "a b", "sb a=0! b=1!", "start:b"},
		{always, "i1 a", "sb", "start:i1"},
		{always, "i1 a", "sb i1=running", ""},
		{always, "i1 i2 a", "sb i1=0", "start:i2"},
		{always, "i1 i2 a", "sb i1=0 i2=0", "start:a"},
		{always, "i1 a", "sb i1=1", "start:i1"},
		{never, "i1 a", "sb i1=1", "done"},
		{always, "i1 a", "sb i1=0!", "start:i1"},
		{always, "i1 a", "sb a=running", ""},
		{always, "s1 a", "sb", "start:s1"},
		{always, "s1 a", "sb s1=running", "start:a"},
		{always, "s1 i1 a", "sb s1=running", "start:i1"},
		{always, "s1 a", "sb s1=1 a=running", "start:s1"},
		{never, "s1 a", "sb s1=running a=0", "done"},
		{never, "s1 a", "sb s1=1 a=0", "done"},
		{never, "s1 a", "sb s1=1 a=running", "start:s1"},
	} {
		p := &v1.Pod{Spec: v1.PodSpec{RestartPolicy: c.policy}}
		for _, name := range strings.Fields(c.containers) {
			switch ctr := (v1.Container{Name: name, Image: "x"}); name[0] {
			case 's':
				sidecar(&ctr)
				fallthrough
			case 'i':
				p.Spec.InitContainers = append(p.Spec.InitContainers, ctr)
			default:
				p.Spec.Containers = append(p.Spec.Containers, ctr)
			}
		}
		healthy := func(string) probe.Health { return probe.Health{Started: true, Ready: true} }
		if got := MakePlan(p, parseView(p, c.view), Facts{Health: healthy}).String(); got != c.want {
			t.Errorf("%s, containers %q, runtime has %q: plan = %q, want %q", c.policy, c.containers, c.view, got, c.want)
		}
	}
}

// restartsAll has all containers started anew when this one exits with 42.
func restartsAll(c *v1.Container) {
	never := v1.ContainerRestartPolicyNever
	if c.RestartPolicy == nil {
		c.RestartPolicy = &never
	}
	c.RestartPolicyRules = []v1.ContainerRestartRule{{
		Action:    v1.ContainerRestartRuleActionRestartAllContainers,
		ExitCodes: &v1.ContainerRestartRuleOnExitCodes{Operator: v1.ContainerRestartRuleOnExitCodesOpIn, Values: []int32{42}},
	}}
}

// Containers with R in their name have all started anew when they exit with 42.
func TestPlansOfARestartOfAll(t *testing.T) {
	for _, c := range []struct{ containers, view, want string }{
		{"R a", "sb R=1 a=running", ""},
		{"R a", "sb R=42 a=running", "kill:a"},
		{"R a", "sb R=42 a=137", "start:R start:a"},
		{"R a", "sb R=42 a=0", "start:R start:a"},
		{"R a", "sb R=running@1 R=42 a=137", "start:a"},
		{"R a", "sb R=running@1 R=42 a=created", "start:a"},
		{"R a", "sb R=running@1 R=42 a=running@1 a=137", ""},
		{"R a", "sb R=running@1 R=42 a=1@1 a=137", ""},
		{"R a", "sb R=0@1 R=42 a=0@1 a=137", "done"},
		{"R a", "sb R=42@1 R=42 a=running@1 a=137", "kill:a"},
		{"R a", "sb R=running@2 R=42@1 a=137@1", "start:a"},
		{"R aR", "sb R=42 aR=42", "start:R start:aR"},
		{"R aR", "sb R=running@1 R=42 aR=running@1 aR=42", ""},
		{"i R a", "sb i=0 R=42 a=137", "start:i"},
		{"i R a", "sb i=running@1 i=0 R=42 a=137", ""},
		{"i R a", "sb i=0@1 i=0 R=42 a=137", "start:R start:a"},
		{"i R a", "sb i=1@1 i=0 R=42 a=137", "done"},
		{"s i R a", "sb s=running i=0 R=42 a=running", "kill:s kill:a"},
		{"s i R a", "sb s=137 i=0 R=42 a=137", "start:s"},
		{"s i R a", "sb s=running@1 s=137 i=0 R=42 a=137", "start:i"},
		{"s iR a", "sb s=running iR=42", "kill:s"},
		{"s iR a", "sb s=137 iR=42", "start:s"},
		{"sR a", "sb sR=42 a=running", "kill:a"},
		{"R a", "sb! R=42 a=running", "sandbox replace kill:a"},
		{"R a", "sb! R=42 a=137", "sandbox replace"},
		{"i R a", "sb! i=137 R=42", "sandbox replace"},
		{"R a", "sb R=42! a=137!", "start:R start:a"},
	} {
		p := &v1.Pod{Spec: v1.PodSpec{RestartPolicy: v1.RestartPolicyNever}}
		for _, name := range strings.Fields(c.containers) {
			ctr := v1.Container{Name: name, Image: "x"}
			if name[0] == 's' {
				sidecar(&ctr)
			}
			if strings.Contains(name, "R") {
				restartsAll(&ctr)
			}
			if name[0] == 's' || name[0] == 'i' {
				p.Spec.InitContainers = append(p.Spec.InitContainers, ctr)
			} else {
				p.Spec.Containers = append(p.Spec.Containers, ctr)
			}
		}
		healthy := func(string) probe.Health { return probe.Health{Started: true, Ready: true} }
		plan := MakePlan(p, parseView(p, c.view), Facts{Health: healthy})
		if got := plan.String(); got != c.want {
			t.Errorf("containers %q, runtime has %q: plan = %q, want %q", c.containers, c.view, got, c.want)
		}
		if plan.Again != (strings.HasPrefix(c.want, "kill")) {
			t.Errorf("containers %q, runtime has %q: all are stopped to start anew: %v", c.containers, c.view, plan.Again)
		}
	}
}

// A container for debugging goes on, and half of a round survives a restart of the agent.
func TestRestartOfAll(t *testing.T) {
	b := newBench(t)
	job := newPod("job", restart(v1.RestartPolicyNever), withInit("setup"), func(p *v1.Pod) {
		p.Spec.Containers = append(p.Spec.Containers, v1.Container{Name: "source", Image: "nginx:1.27", ImagePullPolicy: v1.PullIfNotPresent})
		restartsAll(&p.Spec.Containers[1])
		p.Spec.EphemeralContainers = []v1.EphemeralContainer{{EphemeralContainerCommon: v1.EphemeralContainerCommon{Name: "debug", Image: "busybox", ImagePullPolicy: v1.PullIfNotPresent}}}
	})
	b.manager.Update(job)
	b.eventually("setup runs", b.called("StartContainer setup"))
	b.runtime.Exit("setup", 0)
	b.eventually("the pod runs", b.phase("job", v1.PodRunning))
	b.eventually("the debugger runs", b.called("StartContainer debug"))
	b.runtime.Exit("source", 42)
	b.eventually("setup runs again", func() bool { return b.count("StartContainer setup") == 2 })
	b.eventually("that is told", func() bool {
		s := b.reporter.get("job")
		_, c := podutil.GetPodCondition(&s, v1.AllContainersRestarting)
		return c != nil && c.Status == v1.ConditionTrue && s.InitContainerStatuses[0].State.Running != nil && s.ContainerStatuses[0].State.Waiting != nil
	})
	if s := b.reporter.get("job"); s.Phase != v1.PodRunning || b.count("StopContainer main") != 1 || b.count("StopContainer debug") != 0 || b.count("StartContainer main") != 1 {
		t.Errorf("phase %s, calls %q", s.Phase, b.runtime.Calls())
	}
	b.restart()
	job = job.DeepCopy()
	job.Status = b.reporter.get("job")
	b.manager.Update(job)
	b.runtime.Exit("setup", 0)
	again := func() bool {
		s := b.reporter.get("job")
		_, c := podutil.GetPodCondition(&s, v1.AllContainersRestarting)
		if c == nil || c.Status != v1.ConditionFalse || s.Phase != v1.PodRunning {
			return false
		}
		for _, st := range append(s.InitContainerStatuses, s.ContainerStatuses...) {
			if last := st.LastTerminationState.Terminated; st.RestartCount != 1 || last == nil || st.Name == "source" && last.ExitCode != 42 {
				return false
			}
		}
		return s.ContainerStatuses[0].State.Running != nil && s.ContainerStatuses[1].State.Running != nil
	}
	b.eventually("all run again", again)
	if b.count("RunPodSandbox job") != 1 {
		t.Errorf("the sandbox is not the same: %q", b.runtime.Calls())
	}
}

func TestPlanKillsWhatIsNotAsItShouldBe(t *testing.T) {
	p := newPod("web", withInit("side", sidecar))
	view := parseView(p, "sb side=running main=running")
	for _, c := range []struct {
		name   string
		change func(*v1.Pod)
		health probe.Health
		kill   string
	}{
		{"all is well", nil, probe.Health{Started: true}, ""},
		{"dead", nil, probe.Health{Started: true, Dead: true}, "Container side failed liveness probe, will be restarted"},
		{"never started", nil, probe.Health{Dead: true, StartupFailed: true}, "Container side failed startup probe, will be restarted"},
		{"new image", func(p *v1.Pod) { p.Spec.InitContainers[0].Image = "other" }, probe.Health{Started: true}, "Container side definition changed, will be restarted"},
	} {
		t.Run(c.name, func(t *testing.T) {
			changed := p.DeepCopy()
			if c.change != nil {
				c.change(changed)
			}
			plan := MakePlan(changed, view, Facts{Health: func(id string) probe.Health {
				if id == "side-id" {
					return c.health
				}
				return probe.Health{Started: true}
			}})
			got := ""
			if len(plan.Kill) > 0 {
				got = plan.Kill[0].Message
			}
			if got != c.kill || len(plan.Kill) > 1 {
				t.Errorf("plan = %v with message %q, want %q", plan, got, c.kill)
			}
		})
	}
}

func TestSidecarIsWaitedFor(t *testing.T) {
	p := newPod("web", withInit("side", sidecar))
	plan := MakePlan(p, parseView(p, "sb side=running"), Facts{Health: func(string) probe.Health { return probe.Health{} }})
	if plan.String() != "" {
		t.Errorf("plan = %q before the sidecar has started", plan)
	}
}
