package pod

import (
	"strings"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"minato/internal/node/observe"
	"minato/internal/node/probe"
	"minato/internal/node/spec"
)

// A view is written as words: "sb" a good sandbox, "sb!" one that is lost, and
// name=running, name=created or name=CODE for containers, with ! for those that
// belong to another sandbox.
func parseView(p *v1.Pod, text string) *observe.Pod {
	view := &observe.Pod{}
	for i, word := range strings.Fields(text) {
		name, state, ok := strings.Cut(word, "=")
		if !ok {
			view.Sandboxes = append(view.Sandboxes, observe.Sandbox{ID: "sb", Ready: word == "sb", IPs: []string{"10.0.0.1"}, Attempt: 4})
			continue
		}
		state, elsewhere := strings.CutSuffix(state, "!")
		c := observe.Container{ID: name + "-id", Name: name, SandboxID: "sb", CreatedAt: time.Unix(int64(i), 0), State: runtimeapi.ContainerState_CONTAINER_EXITED}
		if elsewhere {
			c.SandboxID = "old"
		}
		if ctr := spec.FindContainer(p, name); ctr != nil {
			c.Annotations = map[string]string{spec.AnnotationHash: spec.Hash(ctr)}
		}
		switch state {
		case "running":
			c.State = runtimeapi.ContainerState_CONTAINER_RUNNING
		case "created":
			c.State = runtimeapi.ContainerState_CONTAINER_CREATED
		case "0":
		default:
			c.ExitCode = 1
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
