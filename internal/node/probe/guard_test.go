package probe

import (
	"context"
	"strings"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// brokenExec panics for one container.
type brokenExec struct {
	*fakeExec
	broken string
}

func (e *brokenExec) ExecSync(ctx context.Context, id string, cmd []string, timeout time.Duration) ([]byte, []byte, error) {
	if id == e.broken {
		panic("broken probe")
	}
	return e.fakeExec.ExecSync(ctx, id, cmd, timeout)
}

func TestPanicOfOneProbeLeavesTheOthersAlone(t *testing.T) {
	b := newBench(t)
	b.cfg.Exec = &brokenExec{b.exec, "broken"}
	b.cfg.Changed = func(types.UID) {}
	for _, id := range []string{"broken", "id"} {
		target := b.target(&v1.Container{Name: "c", ReadinessProbe: command(nil)})
		target.ContainerID = id
		b.Ensure(t.Context(), target)
	}
	b.stepUntil(t, "the other container is ready", func() bool { return b.Health("id").Ready })
	if b.Health("broken").Ready {
		t.Error("a probe that panicked counts as passed")
	}
	select {
	case e := <-b.events.Events:
		if !strings.Contains(e, `ProbeError the node agent has a fault and panicked in "Readiness probe": broken probe`) {
			t.Errorf("event = %q", e)
		}
	case <-time.After(10 * time.Second):
		t.Error("no event tells of the panic")
	}
}

func TestProbesOfAPodAreForgottenWithIt(t *testing.T) {
	b := newBench(t)
	b.Ensure(t.Context(), b.target(&v1.Container{Name: "c", ReadinessProbe: command(nil)}))
	b.Remove("u")
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.runs)+len(b.pods) != 0 {
		t.Errorf("%d runs of %d pods are kept", len(b.runs), len(b.pods))
	}
}
