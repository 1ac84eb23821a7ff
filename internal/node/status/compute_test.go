package status

import (
	"strings"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"minato/internal/node/observe"
	"minato/internal/node/spec"
)

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func run(name string, state runtimeapi.ContainerState, code int32, attempt uint32) observe.Container {
	return observe.Container{
		ID: name + "-id", Name: name, SandboxID: "sb", State: state, ExitCode: code, Attempt: attempt,
		CreatedAt: now.Add(time.Duration(attempt) * time.Second), StartedAt: now, FinishedAt: now, ImageRef: "sha256:1",
	}
}

const (
	created = runtimeapi.ContainerState_CONTAINER_CREATED
	running = runtimeapi.ContainerState_CONTAINER_RUNNING
	exited  = runtimeapi.ContainerState_CONTAINER_EXITED
)

func view(containers ...observe.Container) *observe.Pod {
	return &observe.Pod{
		Sandboxes:  []observe.Sandbox{{ID: "sb", Ready: true, IPs: []string{"10.244.1.5"}}},
		Containers: containers,
	}
}

func pod(policy v1.RestartPolicy, names ...string) *v1.Pod {
	p := &v1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", Generation: 3}, Spec: v1.PodSpec{RestartPolicy: policy}}
	for _, n := range names {
		if init, ok := strings.CutPrefix(n, "init:"); ok {
			p.Spec.InitContainers = append(p.Spec.InitContainers, v1.Container{Name: init})
			continue
		}
		if side, ok := strings.CutPrefix(n, "side:"); ok {
			always := v1.ContainerRestartPolicyAlways
			p.Spec.InitContainers = append(p.Spec.InitContainers, v1.Container{Name: side, RestartPolicy: &always})
			continue
		}
		p.Spec.Containers = append(p.Spec.Containers, v1.Container{Name: n})
	}
	return p
}

func compute(in Input) v1.PodStatus {
	if in.Probes == nil {
		in.Probes = func(string) Probes { return Probes{Started: true, Ready: true} }
	}
	in.Now, in.RuntimeName, in.HostIPs = now, "fake", []string{"172.30.0.11"}
	return Compute(in)
}

func TestPhases(t *testing.T) {
	for _, c := range []struct {
		name  string
		in    Input
		phase v1.PodPhase
		ready v1.ConditionStatus
	}{
		{"nothing yet", Input{Pod: pod(v1.RestartPolicyAlways, "a")}, v1.PodPending, v1.ConditionFalse},
		{"created only", Input{Pod: pod(v1.RestartPolicyAlways, "a"), View: view(run("a", created, 0, 0))}, v1.PodPending, v1.ConditionFalse},
		{"running", Input{Pod: pod(v1.RestartPolicyAlways, "a"), View: view(run("a", running, 0, 0))}, v1.PodRunning, v1.ConditionTrue},
		{"one of two waits", Input{Pod: pod(v1.RestartPolicyAlways, "a", "b"), View: view(run("a", running, 0, 0))}, v1.PodPending, v1.ConditionFalse},
		{"one of two crashed", Input{Pod: pod(v1.RestartPolicyAlways, "a", "b"), View: view(run("a", running, 0, 0), run("b", exited, 1, 0))}, v1.PodRunning, v1.ConditionFalse},
		{"all crashed, will restart", Input{Pod: pod(v1.RestartPolicyAlways, "a"), View: view(run("a", exited, 1, 0))}, v1.PodRunning, v1.ConditionFalse},
		{"exited well, will restart", Input{Pod: pod(v1.RestartPolicyAlways, "a"), View: view(run("a", exited, 0, 0))}, v1.PodRunning, v1.ConditionFalse},
		{"done", Input{Pod: pod(v1.RestartPolicyNever, "a", "b"), View: view(run("a", exited, 0, 0), run("b", exited, 0, 0))}, v1.PodSucceeded, v1.ConditionFalse},
		{"done, one badly", Input{Pod: pod(v1.RestartPolicyNever, "a", "b"), View: view(run("a", exited, 0, 0), run("b", exited, 2, 0))}, v1.PodFailed, v1.ConditionFalse},
		{"on failure, failed", Input{Pod: pod(v1.RestartPolicyOnFailure, "a"), View: view(run("a", exited, 2, 0))}, v1.PodRunning, v1.ConditionFalse},
		{"on failure, well", Input{Pod: pod(v1.RestartPolicyOnFailure, "a"), View: view(run("a", exited, 0, 0))}, v1.PodSucceeded, v1.ConditionFalse},
		{"terminal, always, failed", Input{Pod: pod(v1.RestartPolicyAlways, "a"), View: view(run("a", exited, 2, 0)), Terminal: true}, v1.PodFailed, v1.ConditionFalse},
		{"terminal, always, well", Input{Pod: pod(v1.RestartPolicyAlways, "a"), View: view(run("a", exited, 0, 0)), Terminal: true}, v1.PodSucceeded, v1.ConditionFalse},
		{"over before it began", Input{Pod: pod(v1.RestartPolicyAlways, "a"), Terminal: true, Over: true}, v1.PodFailed, v1.ConditionFalse},
		{"init runs", Input{Pod: pod(v1.RestartPolicyAlways, "init:i", "a"), View: view(run("i", running, 0, 0))}, v1.PodPending, v1.ConditionFalse},
		{"init failed for good", Input{Pod: pod(v1.RestartPolicyNever, "init:i", "a"), View: view(run("i", exited, 1, 0))}, v1.PodFailed, v1.ConditionFalse},
		{"init failed, will restart", Input{Pod: pod(v1.RestartPolicyAlways, "init:i", "a"), View: view(run("i", exited, 1, 0))}, v1.PodPending, v1.ConditionFalse},
		{"init done", Input{Pod: pod(v1.RestartPolicyAlways, "init:i", "a"), View: view(run("i", exited, 0, 0), run("a", running, 0, 0))}, v1.PodRunning, v1.ConditionTrue},
		{"init forgotten", Input{Pod: pod(v1.RestartPolicyAlways, "init:i", "a"), View: view(run("a", running, 0, 0))}, v1.PodRunning, v1.ConditionTrue},
		{"sidecar and main", Input{Pod: pod(v1.RestartPolicyAlways, "side:s", "a"), View: view(run("s", running, 0, 0), run("a", running, 0, 0))}, v1.PodRunning, v1.ConditionTrue},
		{"sidecar alone", Input{Pod: pod(v1.RestartPolicyAlways, "side:s", "a"), View: view(run("s", running, 0, 0))}, v1.PodPending, v1.ConditionFalse},
		{"sidecar crashed", Input{Pod: pod(v1.RestartPolicyAlways, "side:s", "a"), View: view(run("s", exited, 1, 0), run("a", running, 0, 0))}, v1.PodRunning, v1.ConditionFalse},
		{"sidecar ended after main", Input{Pod: pod(v1.RestartPolicyNever, "side:s", "a"), View: view(run("s", exited, 1, 0), run("a", exited, 0, 0))}, v1.PodSucceeded, v1.ConditionFalse},
		{"not ready", Input{Pod: pod(v1.RestartPolicyAlways, "a"), View: view(run("a", running, 0, 0)), Probes: func(string) Probes { return Probes{Started: true} }}, v1.PodRunning, v1.ConditionFalse},
		{"failed by verdict", Input{Pod: pod(v1.RestartPolicyAlways, "a"), View: view(run("a", running, 0, 0)), Failed: &Verdict{Reason: "DeadlineExceeded"}}, v1.PodRunning, v1.ConditionFalse},
		{"failed by verdict, and over", Input{Pod: pod(v1.RestartPolicyAlways, "a"), View: view(run("a", exited, 0, 0)), Failed: &Verdict{Reason: "DeadlineExceeded"}, Over: true}, v1.PodFailed, v1.ConditionFalse},
		{"a final phase stays", Input{Pod: pod(v1.RestartPolicyAlways, "a"), Old: v1.PodStatus{Phase: v1.PodSucceeded}, View: view(run("a", running, 0, 0))}, v1.PodSucceeded, v1.ConditionFalse},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := compute(c.in)
			if s.Phase != c.phase {
				t.Errorf("phase = %s, want %s", s.Phase, c.phase)
			}
			if got := condition(s, v1.PodReady).Status; got != c.ready {
				t.Errorf("ready = %s, want %s", got, c.ready)
			}
			if condition(s, v1.ContainersReady).Status != c.ready {
				t.Error("ContainersReady differs from Ready")
			}
		})
	}
}

// Of a Pod whose containers have all to start anew, none has ended for good.
func TestRestartOfAll(t *testing.T) {
	p := pod(v1.RestartPolicyNever, "init:i", "source", "a")
	never := v1.ContainerRestartPolicyNever
	p.Spec.Containers[0].RestartPolicy = &never
	p.Spec.Containers[0].RestartPolicyRules = []v1.ContainerRestartRule{{
		Action:    v1.ContainerRestartRuleActionRestartAllContainers,
		ExitCodes: &v1.ContainerRestartRuleOnExitCodes{Operator: v1.ContainerRestartRuleOnExitCodesOpNotIn, Values: []int32{0, 137}},
	}}
	again := func(c observe.Container) observe.Container {
		c.Annotations = map[string]string{spec.AnnotationRound: "1"}
		return c
	}
	old := v1.PodStatus{Phase: v1.PodRunning}
	init, source, stopped := run("i", exited, 0, 0), run("source", exited, 42, 0), run("a", exited, 137, 0)
	for name, c := range map[string]struct {
		view       *observe.Pod
		terminal   bool
		phase      v1.PodPhase
		restarting v1.ConditionStatus
		states     string // of i, source and a: r, w, t
	}{
		"not yet":             {view(init, run("source", running, 0, 0), run("a", running, 0, 0)), false, v1.PodRunning, v1.ConditionFalse, "trr"},
		"one has to stop":     {view(init, source, run("a", running, 0, 0)), false, v1.PodRunning, v1.ConditionTrue, "wwr"},
		"all have stopped":    {view(init, source, stopped), false, v1.PodRunning, v1.ConditionTrue, "www"},
		"init runs again":     {view(again(run("i", running, 0, 1)), init, source, stopped), false, v1.PodRunning, v1.ConditionTrue, "rww"},
		"init fails":          {view(again(run("i", exited, 1, 1)), init, source, stopped), false, v1.PodRunning, v1.ConditionTrue, "tww"},
		"the first has ended": {view(again(run("i", exited, 0, 1)), again(run("source", exited, 0, 1)), init, source, stopped), false, v1.PodRunning, v1.ConditionTrue, "ttw"},
		"all run again":       {view(again(run("i", exited, 0, 1)), again(run("source", running, 0, 1)), again(run("a", running, 0, 1)), init, source, stopped), false, v1.PodRunning, v1.ConditionFalse, "trr"},
		"all have ended":      {view(again(run("i", exited, 0, 1)), again(run("source", exited, 0, 1)), again(run("a", exited, 0, 1)), init, source, stopped), false, v1.PodSucceeded, v1.ConditionFalse, "ttt"},
		"the Pod is deleted":  {view(init, source, stopped), true, v1.PodFailed, v1.ConditionFalse, "ttt"},
	} {
		s := compute(Input{Pod: p, Old: old, View: c.view, Terminal: c.terminal})
		states := ""
		for _, st := range append(s.InitContainerStatuses, s.ContainerStatuses...) {
			switch {
			case st.State.Running != nil:
				states += "r"
			case st.State.Waiting != nil:
				states += "w"
				if st.State.Waiting.Reason != "PodInitializing" || st.LastTerminationState.Terminated == nil || st.RestartCount != 0 {
					t.Errorf("%s: %+v", name, st)
				}
			case st.State.Terminated != nil:
				states += "t"
			}
		}
		if got := condition(s, v1.AllContainersRestarting).Status; s.Phase != c.phase || got != c.restarting || states != c.states {
			t.Errorf("%s: phase %s, restarting %s, containers %s; want %s, %s, %s", name, s.Phase, got, states, c.phase, c.restarting, c.states)
		}
	}
	if c := condition(compute(Input{Pod: pod(v1.RestartPolicyNever, "a")}), v1.AllContainersRestarting); c.Type != "" {
		t.Errorf("a Pod without such a rule has %+v", c)
	}
}

func condition(s v1.PodStatus, kind v1.PodConditionType) v1.PodCondition {
	for _, c := range s.Conditions {
		if c.Type == kind {
			return c
		}
	}
	return v1.PodCondition{}
}

func TestContainerStatuses(t *testing.T) {
	p := pod(v1.RestartPolicyAlways, "a")
	t.Run("waiting", func(t *testing.T) {
		s := compute(Input{Pod: p}).ContainerStatuses[0]
		if s.State.Waiting.Reason != "ContainerCreating" || *s.Started || s.Ready {
			t.Errorf("status = %+v", s)
		}
	})
	t.Run("waiting for init containers", func(t *testing.T) {
		s := compute(Input{Pod: pod(v1.RestartPolicyAlways, "init:i", "a")}).ContainerStatuses[0]
		if s.State.Waiting.Reason != "PodInitializing" {
			t.Errorf("status = %+v", s)
		}
	})
	t.Run("running", func(t *testing.T) {
		s := compute(Input{Pod: p, View: view(run("a", running, 0, 2), run("a", exited, 1, 1))}).ContainerStatuses[0]
		if s.State.Running == nil || !*s.Started || !s.Ready || s.RestartCount != 2 || s.ContainerID != "fake://a-id" || s.ImageID != "sha256:1" {
			t.Errorf("status = %+v", s)
		}
		if l := s.LastTerminationState.Terminated; l == nil || l.ExitCode != 1 || l.Reason != "Error" {
			t.Errorf("last state = %+v", l)
		}
	})
	t.Run("devices", func(t *testing.T) {
		list := func(c *v1.Container) []v1.ResourceStatus {
			return []v1.ResourceStatus{{Name: "example.com/gpu", Resources: []v1.ResourceHealth{{ResourceID: v1.ResourceID(c.Name), Health: v1.ResourceHealthStatusUnhealthy}}}}
		}
		s := compute(Input{Pod: p, View: view(run("a", running, 0, 0)), Devices: list}).ContainerStatuses[0]
		if d := s.AllocatedResourcesStatus; len(d) != 1 || d[0].Name != "example.com/gpu" || d[0].Resources[0].ResourceID != "a" {
			t.Errorf("devices = %+v", d)
		}
	})
	t.Run("crash loop", func(t *testing.T) {
		s := compute(Input{Pod: p, View: view(run("a", exited, 1, 0)), Waiting: map[string]Waiting{"a": {Reason: "CrashLoopBackOff", Message: "m"}}}).ContainerStatuses[0]
		if s.State.Waiting == nil || s.State.Waiting.Reason != "CrashLoopBackOff" || s.LastTerminationState.Terminated == nil {
			t.Errorf("status = %+v", s)
		}
	})
	t.Run("a reason of the past does not hide a running container", func(t *testing.T) {
		s := compute(Input{Pod: p, View: view(run("a", running, 0, 0)), Waiting: map[string]Waiting{"a": {Reason: "ErrImagePull"}}}).ContainerStatuses[0]
		if s.State.Running == nil {
			t.Errorf("status = %+v", s)
		}
	})
	t.Run("the runtime has forgotten a running container", func(t *testing.T) {
		old := v1.PodStatus{ContainerStatuses: []v1.ContainerStatus{{Name: "a", RestartCount: 4, State: v1.ContainerState{Running: &v1.ContainerStateRunning{}}}}}
		s := compute(Input{Pod: p, Old: old}).ContainerStatuses[0]
		if l := s.LastTerminationState.Terminated; l == nil || l.Reason != "ContainerStatusUnknown" || l.ExitCode != 137 || s.RestartCount != 5 {
			t.Errorf("status = %+v", s)
		}
	})
	t.Run("how volumes are mounted", func(t *testing.T) {
		p := pod(v1.RestartPolicyAlways, "a")
		mode := func(m v1.RecursiveReadOnlyMode) *v1.RecursiveReadOnlyMode { return &m }
		p.Spec.Containers[0].VolumeMounts = []v1.VolumeMount{
			{Name: "rw", MountPath: "/rw"},
			{Name: "ro", MountPath: "/ro", ReadOnly: true},
			{Name: "off", MountPath: "/off", ReadOnly: true, RecursiveReadOnly: mode(v1.RecursiveReadOnlyDisabled)},
			{Name: "on", MountPath: "/on", ReadOnly: true, RecursiveReadOnly: mode(v1.RecursiveReadOnlyEnabled)},
			{Name: "may", MountPath: "/may", ReadOnly: true, RecursiveReadOnly: mode(v1.RecursiveReadOnlyIfPossible)},
		}
		want := map[string]string{"rw": "", "ro": "Disabled", "off": "Disabled", "on": "Enabled", "may": "Enabled"}
		for _, m := range compute(Input{Pod: p}).ContainerStatuses[0].VolumeMounts {
			got := ""
			if m.RecursiveReadOnly != nil {
				got = string(*m.RecursiveReadOnly)
			}
			if got != want[m.Name] {
				t.Errorf("volume %s: recursiveReadOnly = %q, want %q", m.Name, got, want[m.Name])
			}
		}
	})
	t.Run("messages are cut", func(t *testing.T) {
		c := run("a", exited, 1, 0)
		c.Message = strings.Repeat("x", 20_000)
		s := compute(Input{Pod: pod(v1.RestartPolicyNever, "a", "b"), View: view(c)}).ContainerStatuses[0]
		if n := len(s.State.Terminated.Message); n != 6*1024 {
			t.Errorf("message of %d bytes", n)
		}
	})
}

func TestConditions(t *testing.T) {
	p := pod(v1.RestartPolicyAlways, "a", "b")
	p.Status.Conditions = []v1.PodCondition{{Type: "example.com/gate", Status: v1.ConditionFalse}, {Type: v1.PodScheduled, Status: v1.ConditionTrue, LastTransitionTime: metav1.NewTime(now.Add(-time.Hour))}}
	s := compute(Input{Pod: p, View: view(run("a", running, 0, 0))})
	if c := condition(s, v1.ContainersReady); c.Reason != "ContainersNotReady" || c.Message != "containers with unready status: [b]" || c.ObservedGeneration != 3 {
		t.Errorf("ContainersReady = %+v", c)
	}
	if c := condition(s, "example.com/gate"); c.Status != v1.ConditionFalse {
		t.Error("a condition of somebody else is gone")
	}
	if c := condition(s, v1.PodScheduled); !c.LastTransitionTime.Time.Equal(now.Add(-time.Hour)) {
		t.Errorf("PodScheduled changed at %v though it did not", c.LastTransitionTime)
	}
	if condition(s, v1.PodReadyToStartContainers).Status != v1.ConditionTrue {
		t.Error("the sandbox is ready, the condition not")
	}

	both := view(run("a", running, 0, 0), run("b", running, 0, 0))
	p.Spec.ReadinessGates = []v1.PodReadinessGate{{ConditionType: "example.com/gate"}}
	s = compute(Input{Pod: p, View: both})
	if c := condition(s, v1.PodReady); c.Status != v1.ConditionFalse || c.Reason != "ReadinessGatesNotReady" {
		t.Errorf("Ready = %+v", c)
	}
	if condition(s, v1.ContainersReady).Status != v1.ConditionTrue {
		t.Error("a gate is none of the containers' business")
	}
	p.Status.Conditions[0].Status = v1.ConditionTrue
	if c := condition(compute(Input{Pod: p, View: both}), v1.PodReady); c.Status != v1.ConditionTrue {
		t.Errorf("Ready = %+v", c)
	}
}

func TestInitialized(t *testing.T) {
	p := pod(v1.RestartPolicyAlways, "init:i", "a")
	if c := condition(compute(Input{Pod: p, View: view(run("i", running, 0, 0))}), v1.PodInitialized); c.Status != v1.ConditionFalse || c.Reason != "ContainersNotInitialized" || c.Message != "containers with incomplete status: [i]" {
		t.Errorf("Initialized = %+v", c)
	}
	if c := condition(compute(Input{Pod: p, View: view(run("i", exited, 0, 0))}), v1.PodInitialized); c.Status != v1.ConditionTrue {
		t.Errorf("Initialized = %+v", c)
	}
}

func TestAddresses(t *testing.T) {
	p := pod(v1.RestartPolicyAlways, "a")
	s := compute(Input{Pod: p, View: view()})
	if s.PodIP != "10.244.1.5" || s.HostIP != "172.30.0.11" || len(s.PodIPs) != 1 || len(s.HostIPs) != 1 {
		t.Errorf("addresses = %q %q", s.PodIP, s.HostIP)
	}
	if kept := compute(Input{Pod: p, Old: s}); kept.PodIP != "10.244.1.5" {
		t.Errorf("address of a stopped pod = %q", kept.PodIP)
	}
	dual := view()
	dual.Sandboxes[0].IPs = append(dual.Sandboxes[0].IPs, "fd00:10:244:1::5")
	if s := compute(Input{Pod: p, View: dual}); s.PodIP != "10.244.1.5" || len(s.PodIPs) != 2 || s.PodIPs[1].IP != "fd00:10:244:1::5" {
		t.Errorf("addresses of two families = %q %v", s.PodIP, s.PodIPs)
	}
	p.Spec.HostNetwork = true
	hosts := Input{Pod: p, View: view(), Now: now, HostIPs: []string{"172.30.0.11", "fd00:172:30::b"}}
	if s := Compute(hosts); s.PodIP != "172.30.0.11" || s.HostIP != "172.30.0.11" || len(s.PodIPs) != 2 || s.PodIPs[1].IP != "fd00:172:30::b" || s.HostIPs[1].IP != "fd00:172:30::b" {
		t.Errorf("addresses on the network of a node with two families = %v %v", s.PodIPs, s.HostIPs)
	}
	if s := compute(Input{Pod: p, View: view()}); s.PodIP != "172.30.0.11" {
		t.Errorf("address on the node's network = %q", s.PodIP)
	}
}

func TestTimesAreAsTheAPIKeepsThem(t *testing.T) {
	c := run("a", running, 0, 0)
	c.StartedAt = now.Add(123456789)
	in := Input{Pod: pod(v1.RestartPolicyAlways, "a"), View: view(c), Probes: func(string) Probes { return Probes{} }, Now: now.Add(987654321)}
	s := Compute(in)
	for _, at := range []metav1.Time{*s.StartTime, s.Conditions[0].LastTransitionTime, s.ContainerStatuses[0].State.Running.StartedAt} {
		if at.Nanosecond() != 0 {
			t.Errorf("%v has parts of a second", at.Time)
		}
	}
}
