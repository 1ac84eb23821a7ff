package pod

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"minato/internal/node/probe"
	"minato/internal/node/volume"
)

func TestCrashingContainerBacksOff(t *testing.T) {
	b := newBench(t)
	b.manager.Update(newPod("web"))
	b.eventually("it runs", b.phase("web", v1.PodRunning))
	b.runtime.Exit("main", 1)
	b.eventually("it is restarted at once", func() bool { return b.count("StartContainer main") == 2 })
	for i, want := range []time.Duration{10, 20, 40} {
		b.eventually("the restart is seen", func() bool {
			s := b.reporter.get("web").ContainerStatuses
			return len(s) == 1 && s[0].State.Running != nil && int(s[0].RestartCount) == i+1
		})
		b.runtime.Exit("main", 1)
		b.eventually("it waits", b.waitingFor("web", "CrashLoopBackOff"))
		if st := b.reporter.get("web"); st.Phase != v1.PodRunning || st.ContainerStatuses[0].LastTerminationState.Terminated.ExitCode != 1 {
			t.Errorf("while it waits, phase = %s, last state = %+v", st.Phase, st.ContainerStatuses[0].LastTerminationState)
		}
		starts := b.count("StartContainer main")
		passed := b.stepUntil("the next start", time.Minute, func() bool { return b.count("StartContainer main") > starts })
		if d := passed - want*time.Second; d < -time.Second || d > time.Second {
			t.Errorf("restart %d after %v, want %v s", i+2, passed, want)
		}
	}
	if !b.events.has("BackOff Back-off restarting failed container main in pod web_default(uid-web)")() {
		t.Errorf("events = %q", b.events.all())
	}
	b.eventually("only two runs are kept", func() bool { return b.count("RemoveContainer main") == 3 })
}

// TestBackOffOfAnEndInTheFuture sets the clock back by a day while a container waits: it waits as long as it would have.
func TestBackOffOfAnEndInTheFuture(t *testing.T) {
	b := newBench(t)
	b.manager.Update(newPod("web"))
	b.eventually("it runs", b.phase("web", v1.PodRunning))
	b.runtime.Exit("main", 1)
	b.eventually("it is restarted at once", func() bool { return b.count("StartContainer main") == 2 })
	b.eventually("the restart is seen", func() bool {
		s := b.reporter.get("web").ContainerStatuses
		return len(s) == 1 && s[0].State.Running != nil && int(s[0].RestartCount) == 1
	})
	b.runtime.Exit("main", 1)
	b.eventually("it waits", b.waitingFor("web", "CrashLoopBackOff"))
	for _, jump := range []time.Duration{-24 * time.Hour, 0} {
		b.clock.SetTime(b.clock.Now().Add(jump))
		b.manager.RefreshAll()
	}
	if passed := b.stepUntil("the next start", time.Minute, func() bool { return b.count("StartContainer main") == 3 }); passed < 9*time.Second || passed > 12*time.Second {
		t.Errorf("it was started again after %v, want 10 s", passed)
	}
	b.eventually("the run that looks older is the one that counts", func() bool {
		s := b.reporter.get("web").ContainerStatuses
		return len(s) == 1 && s[0].State.Running != nil && s[0].RestartCount == 2
	})
}

func TestFinishedPods(t *testing.T) {
	for _, c := range []struct {
		name   string
		policy v1.RestartPolicy
		code   int32
		want   v1.PodPhase
	}{
		{"never and well", v1.RestartPolicyNever, 0, v1.PodSucceeded},
		{"never and failed", v1.RestartPolicyNever, 3, v1.PodFailed},
		{"on failure and well", v1.RestartPolicyOnFailure, 0, v1.PodSucceeded},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t)
			b.manager.Update(newPod("job", restart(c.policy)))
			b.eventually("it runs", b.phase("job", v1.PodRunning))
			b.runtime.Exit("main", c.code)
			b.eventually("it has ended", b.phase("job", c.want))
			st := b.reporter.get("job").ContainerStatuses[0].State.Terminated
			if st == nil || st.ExitCode != c.code {
				t.Errorf("state = %+v", st)
			}
			b.eventually("its sandbox is stopped", b.called("StopPodSandbox job"))
			if b.count("RemovePodSandbox job") > 0 || b.count("StartContainer main") != 1 {
				t.Errorf("calls = %q", b.runtime.Calls())
			}
		})
	}
}

func TestOnFailureRestarts(t *testing.T) {
	b := newBench(t)
	b.manager.Update(newPod("job", restart(v1.RestartPolicyOnFailure)))
	b.eventually("it runs", b.phase("job", v1.PodRunning))
	b.runtime.Exit("main", 1)
	b.eventually("it is restarted", func() bool { return b.count("StartContainer main") == 2 })
	b.eventually("the restart is seen", func() bool {
		s := b.reporter.get("job").ContainerStatuses[0]
		return s.State.Running != nil && s.RestartCount == 1
	})
	b.runtime.Exit("main", 0)
	b.eventually("it has ended", b.phase("job", v1.PodSucceeded))
}

func withInit(name string, change ...func(*v1.Container)) func(*v1.Pod) {
	return func(p *v1.Pod) {
		c := v1.Container{Name: name, Image: "busybox", ImagePullPolicy: v1.PullIfNotPresent}
		for _, fn := range change {
			fn(&c)
		}
		p.Spec.InitContainers = append(p.Spec.InitContainers, c)
	}
}

func sidecar(c *v1.Container) {
	always := v1.ContainerRestartPolicyAlways
	c.RestartPolicy = &always
}

func TestInitContainersRunInOrder(t *testing.T) {
	b := newBench(t)
	b.manager.Update(newPod("web", withInit("one"), withInit("two")))
	b.eventually("the first runs", b.called("StartContainer one"))
	b.eventually("the pod is pending", b.phase("web", v1.PodPending))
	if b.count("CreateContainer two")+b.count("CreateContainer main") > 0 {
		t.Fatalf("calls = %q", b.runtime.Calls())
	}
	b.runtime.Exit("one", 0)
	b.eventually("the second runs", b.called("StartContainer two"))
	b.runtime.Exit("two", 0)
	b.eventually("the pod runs", b.phase("web", v1.PodRunning))
	for _, s := range b.reporter.get("web").InitContainerStatuses {
		if !s.Ready || s.State.Terminated == nil || s.State.Terminated.Reason != "Completed" {
			t.Errorf("init container = %+v", s)
		}
	}
}

func TestFailedInitContainerFailsThePod(t *testing.T) {
	b := newBench(t)
	b.manager.Update(newPod("job", restart(v1.RestartPolicyNever), withInit("one")))
	b.eventually("it runs", b.called("StartContainer one"))
	b.runtime.Exit("one", 1)
	b.eventually("the pod has failed", b.phase("job", v1.PodFailed))
	if b.count("CreateContainer main") > 0 {
		t.Errorf("calls = %q", b.runtime.Calls())
	}
}

func TestSidecarOutlivesTheMainContainer(t *testing.T) {
	b := newBench(t)
	b.manager.Update(newPod("job", restart(v1.RestartPolicyNever), withInit("proxy", sidecar), withInit("setup")))
	b.eventually("the init container after it runs", b.called("StartContainer setup"))
	b.runtime.Exit("setup", 0)
	b.eventually("the pod runs", b.phase("job", v1.PodRunning))
	b.runtime.Exit("main", 0)
	b.eventually("the pod has succeeded", b.phase("job", v1.PodSucceeded))
	if b.count("StopContainer proxy") != 1 {
		t.Errorf("calls = %q", b.runtime.Calls())
	}
}

func TestDeletedPodEnds(t *testing.T) {
	b := newBench(t)
	p := newPod("web", withInit("proxy", sidecar))
	b.manager.Update(p)
	b.eventually("it runs", b.phase("web", v1.PodRunning))
	b.manager.Update(deleted(p, 30))
	b.eventually("the API is told to let go", b.reporter.done("web"))
	st := b.reporter.get("web")
	if st.Phase != v1.PodSucceeded || st.ContainerStatuses[0].State.Terminated == nil {
		t.Errorf("last status = %+v", st)
	}
	if b.count("RemovePodSandbox web") > 0 {
		t.Error("the sandbox was removed before the API let go of the pod")
	}
	calls := b.runtime.Calls()
	if slices.Index(calls, "StopContainer main") > slices.Index(calls, "StopContainer proxy") {
		t.Errorf("the sidecar was stopped first: %q", calls)
	}
	b.manager.Delete(deleted(p, 30))
	b.eventually("nothing is left", func() bool { return len(b.runtime.Sandboxes()) == 0 })
	if !b.events.has("Killing Stopping container main")() {
		t.Errorf("events = %q", b.events.all())
	}
}

func TestEndingPodTellsThatItIsNoLongerReady(t *testing.T) {
	b := newBench(t)
	release := b.runtime.HoldStop("main")
	defer release()
	ready := func() bool {
		s := b.reporter.get("web").ContainerStatuses
		return len(s) == 1 && s[0].Ready
	}
	p := newPod("web")
	b.manager.Update(p)
	b.eventually("it is ready", ready)
	b.manager.Update(deleted(p, 30))
	b.eventually("it is being stopped", b.called("StopContainer main"))
	if !ready() {
		t.Error("it is not ready though its probe has not said so")
	}
	b.eventually("it is probed", func() bool { return b.probes.set("main", probe.Health{Started: true}) })
	b.manager.Wake(p.UID)
	b.eventually("it is not ready", func() bool { return !ready() })
	if st := b.reporter.get("web"); b.reporter.done("web")() || st.Phase != v1.PodRunning {
		t.Errorf("its container runs, and its status is %+v", st)
	}
	release()
	b.eventually("the API is told to let go", b.reporter.done("web"))
}

func TestForcedDeletionCutsTheGracePeriod(t *testing.T) {
	b := newBench(t)
	release := b.runtime.HoldStop("main")
	defer release()
	p := newPod("web")
	b.manager.Update(p)
	b.eventually("it runs", b.phase("web", v1.PodRunning))
	b.manager.Update(deleted(p, 30))
	b.eventually("it is being stopped", b.called("StopContainer main"))
	if b.reporter.done("web")() {
		t.Fatal("the pod ended though its container runs")
	}
	b.manager.Update(deleted(p, 0))
	b.eventually("the API is told to let go", b.reporter.done("web"))
	killing := 0
	for _, e := range b.events.all() {
		if strings.HasPrefix(e, "Killing") {
			killing++
		}
	}
	if killing != 1 {
		t.Errorf("%d Killing events, want 1: %q", killing, b.events.all())
	}
}

func TestPodGoneWithoutNotice(t *testing.T) {
	b := newBench(t)
	p := newPod("web")
	b.manager.Update(p)
	b.eventually("it runs", b.phase("web", v1.PodRunning))
	b.manager.Delete(p)
	b.eventually("nothing is left", func() bool { return len(b.runtime.Sandboxes()) == 0 })
	b.eventually("its logs are gone", func() bool {
		left, _ := filepath.Glob(filepath.Join(b.logs, "*"))
		return len(left) == 0
	})
	if _, known := b.manager.Status(p.UID); known {
		b.eventually("the worker ends", func() bool { _, known := b.manager.Status(p.UID); return !known })
	}
}

func TestImagePullBackOff(t *testing.T) {
	b := newBench(t)
	b.images.FailPulls(errBroken)
	b.manager.Update(newPod("web", func(p *v1.Pod) { p.Spec.Containers[0].Image = "registry.test/app" }))
	b.eventually("the pull fails", b.waitingFor("web", "ErrImagePull"))
	b.stepUntil("it backs off", time.Minute, b.waitingFor("web", "ImagePullBackOff"))
	if w := b.reporter.get("web").ContainerStatuses[0].State.Waiting; w.Message != `Back-off pulling image "registry.test/app": ErrImagePull: broken` {
		t.Errorf("message = %q", w.Message)
	}
	if b.reporter.get("web").Phase != v1.PodPending {
		t.Errorf("phase = %s", b.reporter.get("web").Phase)
	}
	b.images.FailPulls(nil)
	b.stepUntil("it runs", time.Minute, b.phase("web", v1.PodRunning))
	pulls, _ := b.images.Pulls()
	if pulls[0] != "registry.test/app:latest" {
		t.Errorf("pulled %q", pulls)
	}
	for _, want := range []string{
		`Pulling Pulling image "registry.test/app"`, `Failed Failed to pull image "registry.test/app": broken`, "Failed Error: ErrImagePull",
		`BackOff Back-off pulling image "registry.test/app"`, "Failed Error: ImagePullBackOff", `Pulled Successfully pulled image "registry.test/app" in `,
	} {
		if !b.events.has(want)() {
			t.Errorf("no event %q among %q", want, b.events.all())
		}
	}
}

func TestImageReasons(t *testing.T) {
	for _, c := range []struct {
		name, image string
		policy      v1.PullPolicy
		reason      string
	}{
		{"never pulled", "absent", v1.PullNever, "ErrImageNeverPull"},
		{"no name", "web:bad tag", v1.PullIfNotPresent, "InvalidImageName"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t)
			b.manager.Update(newPod("web", func(p *v1.Pod) {
				p.Spec.Containers[0].Image, p.Spec.Containers[0].ImagePullPolicy = c.image, c.policy
			}))
			b.eventually("it waits", b.waitingFor("web", c.reason))
		})
	}
}

func TestImagePullSecret(t *testing.T) {
	b := newBench(t)
	b.objects.add(&v1.Secret{Type: v1.SecretTypeDockerConfigJson,
		Data: map[string][]byte{v1.DockerConfigJsonKey: []byte(`{"auths":{"https://registry.test/v1/":{"auth":"bWU6c2VjcmV0"},"*.test/other":{"username":"no"}}}`)}})
	b.objects.secrets["login"] = b.objects.secrets[""]
	b.manager.Update(newPod("web", func(p *v1.Pod) {
		p.Spec.Containers[0].Image = "registry.test/app:1"
		p.Spec.ImagePullSecrets = []v1.LocalObjectReference{{Name: "absent"}, {Name: "login"}}
	}))
	b.eventually("it runs", b.phase("web", v1.PodRunning))
	_, auths := b.images.Pulls()
	if len(auths) != 1 || auths[0].GetUsername() != "me" || auths[0].GetPassword() != "secret" {
		t.Errorf("logins = %v", auths)
	}
	if !b.events.has("FailedToRetrieveImagePullSecret")() {
		t.Errorf("events = %q", b.events.all())
	}
}

func TestMissingSecretIsWaitedFor(t *testing.T) {
	b := newBench(t)
	p := newPod("web", func(p *v1.Pod) {
		p.Spec.Containers[0].Env = []v1.EnvVar{{Name: "KEY", ValueFrom: &v1.EnvVarSource{SecretKeyRef: &v1.SecretKeySelector{
			LocalObjectReference: v1.LocalObjectReference{Name: "late"}, Key: "k",
		}}}}
	})
	b.manager.Update(p)
	b.eventually("it waits", b.waitingFor("web", "CreateContainerConfigError"))
	if w := b.reporter.get("web").ContainerStatuses[0].State.Waiting; w.Message != `secret "late" not found` {
		t.Errorf("message = %q", w.Message)
	}
	b.eventually("the secret is watched", func() bool {
		b.objects.mu.Lock()
		defer b.objects.mu.Unlock()
		return len(b.objects.held[p.UID]) == 1
	})
	s := &v1.Secret{Data: map[string][]byte{"k": []byte("v")}}
	s.Name = "late"
	b.objects.add(s)
	b.manager.Refresh(p.UID)
	b.eventually("it runs, without the clock moving", b.phase("web", v1.PodRunning))
	if env := b.runtime.Config("main").Envs; len(env) != 1 || string(env[0].Value) != "v" {
		t.Errorf("environment = %v", env)
	}
}

func TestFailedMountIsRetried(t *testing.T) {
	b := newBench(t)
	b.volumes.fail(&volume.Error{Volume: "data", Err: errBroken})
	b.manager.Update(newPod("web"))
	b.eventually("the event is there", b.events.has(`FailedMount MountVolume.SetUp failed for volume "data" : broken`))
	if b.count("CreateContainer main") > 0 {
		t.Error("a container was created without its volumes")
	}
	b.volumes.fail(nil)
	b.stepUntil("it runs", 20*time.Second, b.phase("web", v1.PodRunning))
}

func TestFailedSandboxIsRetried(t *testing.T) {
	b := newBench(t)
	b.runtime.Fail("RunPodSandbox", errBroken)
	b.manager.Update(newPod("web"))
	b.eventually("the event is there", b.events.has("FailedCreatePodSandBox Failed to create pod sandbox: broken"))
	b.runtime.Fail("RunPodSandbox", nil)
	b.stepUntil("it runs", 20*time.Second, b.phase("web", v1.PodRunning))
}

func TestFailedStartShows(t *testing.T) {
	b := newBench(t)
	b.runtime.Fail("StartContainer", errBroken)
	b.manager.Update(newPod("web"))
	b.eventually("it waits", b.waitingFor("web", "RunContainerError"))
	b.runtime.Fail("StartContainer", nil)
	b.stepUntil("it runs", time.Minute, b.phase("web", v1.PodRunning))
}

func TestRefusedPods(t *testing.T) {
	port := func(p *v1.Pod) {
		p.Spec.Containers[0].Ports = []v1.ContainerPort{{ContainerPort: 80, HostPort: 8080}}
	}
	b := newBench(t)
	first := newPod("first", port)
	b.manager.Update(first)
	b.eventually("it runs", b.phase("first", v1.PodRunning))
	b.manager.Update(newPod("second", port))
	b.eventually("the port is taken", b.phase("second", v1.PodFailed))
	if st := b.reporter.get("second"); st.Reason != "NodePorts" || st.Message != "Pod was rejected: Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports" || st.ContainerStatuses != nil {
		t.Errorf("status = %+v", st)
	}
	b.manager.Update(newPod("third", func(p *v1.Pod) { p.Spec.NodeSelector = map[string]string{"disk": "tape"} }))
	b.eventually("the selector does not fit", b.phase("third", v1.PodFailed))
	if st := b.reporter.get("third"); st.Reason != "NodeAffinity" {
		t.Errorf("status = %+v", st)
	}
	b.manager.Update(newPod("fourth", func(p *v1.Pod) { p.Spec.NodeSelector = map[string]string{"disk": "ssd"} }))
	b.eventually("the selector fits", b.phase("fourth", v1.PodRunning))

	b.manager.Delete(first)
	b.eventually("it is gone", func() bool { _, known := b.manager.Status(first.UID); return !known })
	b.manager.Update(newPod("fifth", port))
	b.eventually("the port is free again", b.phase("fifth", v1.PodRunning))
}

func TestActiveDeadline(t *testing.T) {
	b := newBench(t)
	seconds := int64(60)
	b.manager.Update(newPod("job", func(p *v1.Pod) { p.Spec.ActiveDeadlineSeconds = &seconds }))
	b.eventually("it runs", b.phase("job", v1.PodRunning))
	passed := b.stepUntil("it has failed", 2*time.Minute, b.phase("job", v1.PodFailed))
	if passed < 59*time.Second || passed > 61*time.Second {
		t.Errorf("failed after %v, want 60 s", passed)
	}
	if st := b.reporter.get("job"); st.Reason != "DeadlineExceeded" {
		t.Errorf("status = %+v", st)
	}
}

func TestFailedLivenessRestarts(t *testing.T) {
	b := newBench(t)
	p := newPod("web")
	b.manager.Update(p)
	b.eventually("it runs", b.phase("web", v1.PodRunning))
	b.eventually("it is probed", func() bool { return b.probes.set("main", probe.Health{Started: true, Dead: true}) })
	b.manager.Wake(p.UID)
	b.eventually("it is restarted", func() bool { return b.count("StartContainer main") == 2 })
	if !b.events.has("Killing Container main failed liveness probe, will be restarted")() {
		t.Errorf("events = %q", b.events.all())
	}
}

func TestLostSandboxIsReplaced(t *testing.T) {
	b := newBench(t)
	p := newPod("web", withInit("setup"))
	b.manager.Update(p)
	b.eventually("the init container runs", b.called("StartContainer setup"))
	b.runtime.Exit("setup", 0)
	b.eventually("it runs", b.phase("web", v1.PodRunning))
	b.clock.Step(time.Minute)
	b.runtime.Reboot()
	b.manager.Wake(p.UID)
	b.eventually("the init container runs again", func() bool { return b.count("StartContainer setup") == 2 })
	b.runtime.Exit("setup", 0)
	b.eventually("it runs again", func() bool {
		st := b.reporter.get("web")
		return st.Phase == v1.PodRunning && st.ContainerStatuses[0].State.Running != nil && st.ContainerStatuses[0].RestartCount == 1
	})
	if !b.events.has("SandboxChanged")() {
		t.Errorf("events = %q", b.events.all())
	}
}

func TestLostSandboxOfAPodThatRunsOnce(t *testing.T) {
	b := newBench(t)
	p := newPod("job", restart(v1.RestartPolicyNever))
	b.manager.Update(p)
	b.eventually("it runs", b.phase("job", v1.PodRunning))
	b.clock.Step(time.Minute)
	b.runtime.Reboot()
	b.manager.Wake(p.UID)
	b.eventually("it has failed", b.phase("job", v1.PodFailed))
	if b.count("RunPodSandbox job") != 1 {
		t.Errorf("calls = %q", b.runtime.Calls())
	}
}

func TestHooks(t *testing.T) {
	b := newBench(t)
	var commands []string
	b.runtime.OnExec(func(_ string, cmd []string) (string, error) {
		commands = append(commands, cmd[0])
		return "", nil
	})
	p := newPod("web", func(p *v1.Pod) {
		p.Spec.Containers[0].Lifecycle = &v1.Lifecycle{
			PostStart: &v1.LifecycleHandler{Exec: &v1.ExecAction{Command: []string{"after"}}},
			PreStop:   &v1.LifecycleHandler{Exec: &v1.ExecAction{Command: []string{"before"}}},
		}
	})
	b.manager.Update(p)
	b.eventually("it runs", b.phase("web", v1.PodRunning))
	b.manager.Update(deleted(p, 30))
	b.eventually("it ends", b.reporter.done("web"))
	if !slices.Equal(commands, []string{"after", "before"}) {
		t.Errorf("hooks ran as %q", commands)
	}
	calls := b.runtime.Calls()
	if i := slices.Index(calls, "StopContainer main"); i < 0 || calls[i-1] != "ExecSync main" {
		t.Errorf("calls = %q", calls)
	}
}

func TestFailedPostStartHook(t *testing.T) {
	b := newBench(t)
	b.runtime.OnExec(func(string, []string) (string, error) { return "", errBroken })
	b.manager.Update(newPod("web", func(p *v1.Pod) {
		p.Spec.Containers[0].Lifecycle = &v1.Lifecycle{PostStart: &v1.LifecycleHandler{Exec: &v1.ExecAction{Command: []string{"x"}}}}
	}))
	b.eventually("the container is stopped", b.called("StopContainer main"))
	b.eventually("after one more try it waits", b.waitingFor("web", "CrashLoopBackOff"))
	if !b.events.has("FailedPostStartHook PostStartHook failed")() {
		t.Errorf("events = %q", b.events.all())
	}
}

func TestTerminationMessages(t *testing.T) {
	b := newBench(t)
	p := newPod("job", restart(v1.RestartPolicyNever), func(p *v1.Pod) {
		p.Spec.Containers[0].TerminationMessagePath = "/dev/termination-log"
		p.Spec.Containers = append(p.Spec.Containers, v1.Container{
			Name: "logs", Image: "busybox", TerminationMessagePath: "/dev/termination-log",
			TerminationMessagePolicy: v1.TerminationMessageFallbackToLogsOnError,
		})
	})
	b.manager.Update(p)
	b.eventually("it runs", b.phase("job", v1.PodRunning))
	for _, m := range b.runtime.Config("main").Mounts {
		if m.ContainerPath == "/dev/termination-log" {
			if err := os.WriteFile(m.HostPath, []byte("last words"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	log := filepath.Join(b.logs, "default_job_uid-job", "logs", "0.log")
	if err := os.WriteFile(log, []byte("2026-01-02T03:04:05Z stderr F it broke\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	b.runtime.Exit("main", 1)
	b.runtime.Exit("logs", 1)
	b.eventually("it has failed", b.phase("job", v1.PodFailed))
	got := map[string]string{}
	for _, s := range b.reporter.get("job").ContainerStatuses {
		got[s.Name] = s.State.Terminated.Message
	}
	if got["main"] != "last words" || got["logs"] != "it broke\n" {
		t.Errorf("messages = %q", got)
	}
}

func TestDebugContainerIsAdded(t *testing.T) {
	b := newBench(t)
	p := newPod("web")
	b.manager.Update(p)
	b.eventually("it runs", b.phase("web", v1.PodRunning))
	p = p.DeepCopy()
	p.Spec.EphemeralContainers = []v1.EphemeralContainer{{
		EphemeralContainerCommon: v1.EphemeralContainerCommon{Name: "debug", Image: "busybox", ImagePullPolicy: v1.PullIfNotPresent},
		TargetContainerName:      "main",
	}}
	b.manager.Update(p)
	b.eventually("it runs", b.called("StartContainer debug"))
	if target := b.runtime.Config("debug").Linux.SecurityContext.NamespaceOptions.TargetId; target == "" {
		t.Error("the debug container does not see the main one's processes")
	}
	b.runtime.Exit("debug", 1)
	b.eventually("its end shows", func() bool {
		s := b.reporter.get("web").EphemeralContainerStatuses
		return len(s) == 1 && s[0].State.Terminated != nil
	})
	if b.count("StartContainer debug") != 1 {
		t.Error("a debug container was restarted")
	}
}

func TestFinishedPodIsLeftAloneByANewAgent(t *testing.T) {
	b := newBench(t)
	p := newPod("job", restart(v1.RestartPolicyNever))
	p.Status = v1.PodStatus{Phase: v1.PodSucceeded, ContainerStatuses: []v1.ContainerStatus{{
		Name: "main", State: v1.ContainerState{Terminated: &v1.ContainerStateTerminated{Message: "kept"}},
	}}}
	b.manager.Update(p)
	b.eventually("its volumes are gone", func() bool {
		b.volumes.mu.Lock()
		defer b.volumes.mu.Unlock()
		return slices.Contains(b.volumes.tornDown, types.UID("uid-job"))
	})
	if st := b.reporter.get("job"); st.Phase != "" {
		t.Errorf("it was reported anew: %+v", st)
	}
	st, _ := b.manager.Status(p.UID)
	if len(st.ContainerStatuses) != 1 || st.ContainerStatuses[0].State.Terminated.Message != "kept" {
		t.Errorf("status = %+v", st)
	}
}
