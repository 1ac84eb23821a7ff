package pod

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	podutil "k8s.io/kubernetes/pkg/api/v1/pod"
)

func TestEvict(t *testing.T) {
	b := newBench(t)
	release := b.runtime.HoldStop("main")
	defer release()
	p := newPod("web")
	b.manager.Update(p)
	b.eventually("it runs", b.phase("web", v1.PodRunning))
	const why = "Usage of EmptyDir volume \"cache\" exceeds the limit \"1Mi\". "
	if !b.manager.Evict(p.UID, "Evicted", why) {
		t.Fatal("it was not evicted")
	}
	// Its container does not end by itself, and is not waited for.
	b.eventually("it has failed", b.phase("web", v1.PodFailed))
	st := b.reporter.get("web")
	if st.Reason != "Evicted" || st.Message != why {
		t.Errorf("reason = %q, message = %q", st.Reason, st.Message)
	}
	if _, c := podutil.GetPodConditionFromList(st.Conditions, v1.DisruptionTarget); c != nil {
		t.Errorf("a Pod that is its own cause has DisruptionTarget = %+v", c)
	}
	if !b.events.has("Evicted " + why)() {
		t.Errorf("events = %q", b.events.all())
	}
	if c := st.ContainerStatuses[0].State.Terminated; c == nil || c.ExitCode != 137 {
		t.Errorf("its container: %+v; want it killed", st.ContainerStatuses[0].State)
	}
	if b.count("StartContainer main") != 1 {
		t.Error("it was started again")
	}
	if b.manager.Evict(p.UID, "Evicted", why) || b.manager.Evict("unknown", "Evicted", why) {
		t.Error("what does not run was evicted")
	}
}

func TestEndAll(t *testing.T) {
	b := newBench(t)
	var mu sync.Mutex
	hooks := 0
	b.runtime.OnExec(func(string, []string) (string, error) {
		mu.Lock()
		defer mu.Unlock()
		hooks++
		return "", nil
	})
	hook := func(p *v1.Pod) {
		p.Spec.Containers[0].Lifecycle = &v1.Lifecycle{PreStop: &v1.LifecycleHandler{Exec: &v1.ExecAction{Command: []string{"x"}}}}
	}
	for _, name := range []string{"a", "b", "c"} {
		b.manager.Update(newPod(name, hook, withInit("proxy-"+name, sidecar)))
	}
	for _, name := range []string{"a", "b", "c"} {
		b.eventually(name+" runs", b.phase(name, v1.PodRunning))
	}
	if err := b.manager.EndAll(t.Context(), []time.Duration{10 * time.Second}, func(*v1.Pod) int { return 0 }); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	if hooks != 3 {
		t.Errorf("%d preStop hooks ran, want 3", hooks)
	}
	mu.Unlock()
	calls := b.runtime.Calls()
	if n := b.count("StopContainer main"); n != 3 {
		t.Errorf("%d containers were stopped, want 3: %q", n, calls)
	}
	for _, name := range []string{"a", "b", "c"} {
		if slices.Index(calls, "StopContainer main") > slices.Index(calls, "StopContainer proxy-"+name) {
			t.Errorf("the sidecar of %s was stopped first: %q", name, calls)
		}
		if st := b.reporter.get(name); st.Phase != v1.PodRunning {
			t.Errorf("%s was reported as %s: a later agent would not start it again", name, st.Phase)
		}
	}
	for _, c := range calls {
		if strings.HasPrefix(c, "StopPodSandbox") || strings.HasPrefix(c, "Remove") {
			t.Errorf("%s", c)
		}
	}
	b.manager.Update(newPod("late"))
	if _, known := b.manager.Status("uid-late"); known || b.count("RunPodSandbox late") > 0 {
		t.Error("a Pod is served after the node was shut down")
	}
}

func TestEndAllHasABound(t *testing.T) {
	b := newBench(t)
	release := b.runtime.HoldStop("main") // ignores its signal if it has more than two seconds
	defer release()
	b.manager.Update(newPod("web", func(p *v1.Pod) {
		seconds := int64(3600)
		p.Spec.TerminationGracePeriodSeconds = &seconds
	}))
	b.eventually("it runs", b.phase("web", v1.PodRunning))
	if err := b.manager.EndAll(t.Context(), []time.Duration{2 * time.Second}, func(*v1.Pod) int { return 0 }); err != nil {
		t.Fatal(err)
	}
}

func TestNothingIsKeptOfAPodThatIsGone(t *testing.T) {
	b := newBench(t)
	p := newPod("web")
	b.manager.Update(p)
	b.eventually("it runs", b.phase("web", v1.PodRunning))
	b.runtime.Exit("main", 1)
	b.eventually("it is started again", func() bool { return b.count("StartContainer main") == 2 })
	b.eventually("the restart is seen", b.phase("web", v1.PodRunning))
	b.runtime.Exit("main", 1)
	b.eventually("it backs off", b.waitingFor("web", "CrashLoopBackOff"))
	key := "uid-web_main_"
	for k := range b.manager.workers["uid-web"].crashKeys {
		key = k
	}
	if b.manager.restarts.Get(key) == 0 {
		t.Fatalf("no back-off for %s", key)
	}
	b.manager.Delete(p)
	b.eventually("it is gone", func() bool { _, known := b.manager.Status(p.UID); return !known })
	b.eventually("its back-off is forgotten", func() bool { return b.manager.restarts.Get(key) == 0 })
	if b.manager.view.Knows(p.UID) {
		t.Error("the view of the runtime still has it")
	}
}
