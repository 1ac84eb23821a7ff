package pod

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
)

// lines is a log that tests read.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}
func (l *lines) has(text string) func() bool {
	return func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return strings.Contains(l.buf.String(), text)
	}
}

func TestPanicOfOnePodLeavesAThousandAlone(t *testing.T) {
	b := newBench(t)
	log := &lines{}
	b.manager.cfg.Logger = slog.New(slog.NewTextHandler(log, nil))
	go func() { // the runtime's events are of no interest here
		for range b.runtime.Events {
		}
	}()
	b.volumes.panicFor("uid-broken")
	const many = 1000
	for i := range many {
		if i == many/2 {
			b.manager.Update(newPod("broken"))
		}
		b.manager.Update(newPod(fmt.Sprintf("p%d", i)))
	}
	for i := range many {
		name := fmt.Sprintf("p%d", i)
		b.eventually(name+" runs", b.phase(name, v1.PodRunning))
	}
	b.eventually("an event tells", b.events.has(`FailedSync set up volumes: the node agent has a fault and panicked in "set up volumes": runtime error: invalid memory address`))
	b.eventually("the log has the stack", log.has("fakeVolumes"))
	if st := b.reporter.get("broken"); st.Phase != v1.PodPending {
		t.Errorf("status = %+v", st)
	}
	// It is tried again, and its deletion is not in anybody's way.
	b.volumes.panicFor("")
	b.stepUntil("it runs", time.Minute, b.phase("broken", v1.PodRunning))
}

func TestPanicWhileAPodEnds(t *testing.T) {
	b := newBench(t)
	p := newPod("web", func(p *v1.Pod) {
		p.Spec.Containers[0].Lifecycle = &v1.Lifecycle{PreStop: &v1.LifecycleHandler{Exec: &v1.ExecAction{Command: []string{"x"}}}}
	})
	b.manager.Update(p)
	b.eventually("it runs", b.phase("web", v1.PodRunning))
	b.runtime.OnExec(func(string, []string) (string, error) { panic("broken hook") })
	b.manager.Update(deleted(p, 30))
	b.eventually("an event tells", b.events.has(`FailedSync the node agent has a fault and panicked in "stop container main": broken hook`))
	b.stepUntil("it ends", time.Minute, b.reporter.done("web"))
}
