package pod

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func onPort(port int32) func(*v1.Pod) {
	return func(p *v1.Pod) {
		p.Spec.Containers[0].Ports = []v1.ContainerPort{{ContainerPort: 80, HostPort: port}}
	}
}

// The scheduler has seen the label before it placed the Pod, so the node must
// have seen it too, each time.
func TestLabelThenSchedule(t *testing.T) {
	b := newBench(t)
	for i := range 200 {
		key := fmt.Sprintf("l%d", i)
		b.node.change(func(n *v1.Node) { n.Labels[key] = "yes" })
		b.manager.Update(newPod(key, func(p *v1.Pod) { p.Spec.NodeSelector = map[string]string{key: "yes"} }))
	}
	for i := range 200 {
		name := fmt.Sprintf("l%d", i)
		b.eventually(name+" runs", b.phase(name, v1.PodRunning))
	}
}

func TestTaintThenBind(t *testing.T) {
	b := newBench(t)
	for i := range 200 {
		taint := v1.Taint{Key: fmt.Sprintf("t%d", i), Effect: v1.TaintEffectNoExecute}
		b.node.change(func(n *v1.Node) { n.Spec.Taints = []v1.Taint{taint} })
		name := fmt.Sprintf("t%d", i)
		b.manager.Update(newPod(name))
		b.eventually(name+" is refused", b.phase(name, v1.PodFailed))
		if st := b.reporter.get(name); st.Reason != "TaintToleration" {
			t.Fatalf("status = %+v", st)
		}
		b.node.change(func(n *v1.Node) { n.Spec.Taints = nil })
		b.manager.Update(newPod(name + "-free"))
		b.eventually(name+"-free runs", b.phase(name+"-free", v1.PodRunning))
	}
}

// Of Pods that arrive together and ask for the same port, the node takes one.
func TestOneOfManyGetsThePort(t *testing.T) {
	for round := range 20 {
		b := newBench(t)
		const many = 5
		for i := range many {
			p := newPod(fmt.Sprintf("p%d", i), onPort(8080))
			// The one that was made first comes last.
			p.CreationTimestamp = metav1.NewTime(b.clock.Now().Add(-time.Duration(i) * time.Minute))
			b.manager.Update(p)
		}
		running, failed := 0, 0
		b.eventually("all are decided about", func() bool {
			running, failed = 0, 0
			for i := range many {
				switch b.reporter.get(fmt.Sprintf("p%d", i)).Phase {
				case v1.PodRunning:
					running++
				case v1.PodFailed:
					failed++
				}
			}
			return running+failed == many
		})
		if running != 1 {
			t.Fatalf("round %d: %d run, %d failed", round, running, failed)
		}
	}
}

// Resources count in the same way: what one Pod was given, no other gets.
func TestOneOfManyGetsTheMemory(t *testing.T) {
	b := newBench(t)
	want := func(p *v1.Pod) {
		p.Spec.Containers[0].Resources.Requests = v1.ResourceList{v1.ResourceMemory: resource.MustParse("3Gi")}
	}
	for i := range 4 {
		b.manager.Update(newPod(fmt.Sprintf("p%d", i), want))
	}
	b.eventually("three are refused", func() bool {
		n := 0
		for i := range 4 {
			if st := b.reporter.get(fmt.Sprintf("p%d", i)); st.Phase == v1.PodFailed {
				if st.Reason != "OutOfmemory" {
					t.Fatalf("status = %+v", st)
				}
				n++
			}
		}
		return n == 3
	})
}

func TestRejectedPodHasNoContainers(t *testing.T) {
	b := newBench(t)
	p := newPod("web", func(p *v1.Pod) { p.Spec.NodeSelector = map[string]string{"disk": "tape"} })
	b.manager.Update(p)
	b.eventually("it is refused", b.phase("web", v1.PodFailed))
	st := b.reporter.get("web")
	if st.Reason != "NodeAffinity" || !strings.HasPrefix(st.Message, "Pod was rejected: Predicate NodeAffinity failed") || len(st.ContainerStatuses) != 0 {
		t.Errorf("status = %+v", st)
	}
	b.manager.Wake(p.UID)
	b.manager.Update(deleted(p, 0))
	b.eventually("the API is told to let go", b.reporter.done("web"))
	if st := b.reporter.get("web"); st.Reason != "NodeAffinity" || len(st.ContainerStatuses) != 0 {
		t.Errorf("last status = %+v", st)
	}
	if b.count("RunPodSandbox web") > 0 {
		t.Error("a sandbox was made")
	}
}

// A Pod that was deleted by force is gone from the API, but its containers hold
// its port until they have ended.
func TestPortOfAPodDeletedByForceIsWaitedFor(t *testing.T) {
	b := newBench(t)
	release := b.runtime.HoldStop("main")
	defer release()
	p := newPod("first", onPort(8080))
	b.manager.Update(p)
	b.eventually("it runs", b.phase("first", v1.PodRunning))
	b.manager.Delete(p)
	b.eventually("it is being stopped", b.called("StopContainer main"))
	b.manager.Update(newPod("second", onPort(8080)))
	b.eventually("the event is there", b.events.has("NodePorts Waiting for host port 8080/TCP, which pod default/first (uid-first) holds"))
	b.manager.Update(newPod("other", onPort(8081)))
	b.eventually("another port is free", b.phase("other", v1.PodRunning))
	if st := b.reporter.get("second"); st.Phase != "" {
		t.Errorf("while it waits, its status is %+v", st)
	}
	release()
	b.eventually("it gets the port", b.phase("second", v1.PodRunning))
}

// A place is free once the API hears that the Pod that had it is over.
func TestPortIsFreeWhenThePodIsOver(t *testing.T) {
	b := newBench(t)
	for i := range 50 {
		name := fmt.Sprintf("job%d", i)
		p := newPod(name, restart(v1.RestartPolicyNever), onPort(8080))
		b.manager.Update(p)
		b.eventually(name+" runs", b.phase(name, v1.PodRunning))
		b.runtime.Exit("main", 0)
		b.eventually(name+" is over", b.phase(name, v1.PodSucceeded))
	}
}

func TestNodeThatCannotBeReadIsAskedAgain(t *testing.T) {
	b := newBench(t)
	b.node.mu.Lock()
	b.node.err = errBroken
	b.node.mu.Unlock()
	b.manager.Update(newPod("web"))
	b.node.mu.Lock()
	b.node.err = nil
	b.node.mu.Unlock()
	b.stepUntil("it runs", 20*time.Second, b.phase("web", v1.PodRunning))
}

func TestPodsOfAnEarlierAgentAreNotAskedAgain(t *testing.T) {
	b := newBench(t)
	p := newPod("web", onPort(8080))
	b.manager.Update(p)
	b.eventually("it runs", b.phase("web", v1.PodRunning))
	b.node.change(func(n *v1.Node) { n.Spec.Taints = []v1.Taint{{Key: "k", Effect: v1.TaintEffectNoExecute}} })

	later := New(b.manager.cfg)
	ctx, cancel := context.WithCancel(t.Context())
	ready, done := make(chan struct{}), make(chan struct{})
	go func() { defer close(done); later.Run(ctx, func() { close(ready) }) }()
	defer func() { cancel(); <-done }()
	<-ready
	later.Update(p)
	b.eventually("it is known", func() bool { st, ok := later.Status(p.UID); return ok && st.Phase == v1.PodRunning })
}

func TestRuntimeClass(t *testing.T) {
	b := newBench(t)
	class := func(name string) func(*v1.Pod) { return func(p *v1.Pod) { p.Spec.RuntimeClassName = &name } }
	b.manager.Update(newPod("web", class("sandboxed")))
	b.eventually("it runs", b.phase("web", v1.PodRunning))
	if h := b.runtime.Handler("web"); h != "kata" {
		t.Errorf("the runtime was given the handler %q", h)
	}
	b.manager.Update(newPod("lost", class("absent")))
	b.eventually("the event is there", b.events.has(`FailedCreatePodSandBox Failed to create pod sandbox: look up RuntimeClass absent: runtimeclass.node.k8s.io "absent" not found`))
	if b.count("RunPodSandbox lost") > 0 {
		t.Error("a sandbox was made")
	}
}
