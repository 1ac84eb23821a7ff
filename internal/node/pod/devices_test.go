package pod

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// fakeDevices gives every Pod one device, and fakeClaims every Pod one claim. Both note
// what they are asked for in one list.
type fakeDevices struct {
	noDevices
	calls *callList

	mu  sync.Mutex
	has map[types.UID]bool
}

func (f *fakeDevices) Wants(*v1.Pod) bool { return true }
func (f *fakeDevices) Allocate(_ context.Context, p *v1.Pod) error {
	f.set(p.UID, true)
	f.calls.add("allocate")
	return nil
}
func (f *fakeDevices) Release(uid types.UID) {
	if f.set(uid, false) {
		f.calls.add("release")
	}
}
func (f *fakeDevices) set(uid types.UID, to bool) (was bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	was, f.has[uid] = f.has[uid], to
	return was
}
func (f *fakeDevices) Status(uid types.UID, _ string) []v1.ResourceStatus {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.has[uid] {
		return nil
	}
	return []v1.ResourceStatus{{Name: "example.com/gpu", Resources: []v1.ResourceHealth{{ResourceID: "a", Health: v1.ResourceHealthStatusUnhealthy}}}}
}

type fakeClaims struct {
	noClaims
	calls *callList
	// hangs says that drivers do not answer, as gRPC puts it when it is interrupted.
	hangs bool
}

func (f *fakeClaims) Prepare(ctx context.Context, _ *v1.Pod) error {
	f.calls.add("prepare")
	if f.hangs {
		<-ctx.Done()
		return errors.New("rpc error: code = Canceled")
	}
	return nil
}
func (f *fakeClaims) Unprepare(context.Context, types.UID) error {
	f.calls.add("unprepare")
	return nil
}
func (f *fakeClaims) Status(*v1.Pod, *v1.Container) []v1.ResourceStatus {
	if slices.Contains(f.calls.all(), "unprepare") {
		return nil
	}
	return []v1.ResourceStatus{{Name: "claim:c", Resources: []v1.ResourceHealth{{ResourceID: "x.y/z=a", Health: v1.ResourceHealthStatusHealthy}}}}
}
func (f *fakeClaims) CDI(*v1.Pod, *v1.Container) ([]string, error) {
	return []string{"x.y/z=a"}, nil
}

// callList is what was asked for, and what the node warned of, in order.
type callList struct {
	mu   sync.Mutex
	list []string
}

func (c *callList) add(call string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.list = append(c.list, call)
}

// Write notes a warning of the log.
func (c *callList) Write(line []byte) (int, error) {
	c.add(string(line))
	return len(line), nil
}

func (c *callList) all() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.list)
}

// newDeviceBench is a bench with devices and claims.
func newDeviceBench(t *testing.T, hangs bool) (*bench, *callList) {
	b, calls := newBench(t), &callList{}
	b.config.Devices = &fakeDevices{calls: calls, has: map[types.UID]bool{}}
	b.config.Claims = &fakeClaims{calls: calls, hangs: hangs}
	b.config.Logger = slog.New(slog.NewTextHandler(calls, &slog.HandlerOptions{Level: slog.LevelWarn}))
	b.restart()
	return b, calls
}

// A Pod has devices before the node takes it, and claims before its sandbox is made; both
// are given up before its end is told, and that tells how the devices were.
func TestDevicesAndClaims(t *testing.T) {
	b, calls := newDeviceBench(t, false)
	b.manager.Update(newPod("job", restart(v1.RestartPolicyNever)))
	b.eventually("it runs", b.phase("job", v1.PodRunning))
	if got := calls.all(); !slices.Equal(got, []string{"allocate", "prepare"}) {
		t.Errorf("before it runs: %q", got)
	}
	b.runtime.Exit("main", 1)
	b.eventually("it has ended", b.phase("job", v1.PodFailed))
	if got := calls.all(); !slices.Equal(got, []string{"allocate", "prepare", "unprepare", "release"}) {
		t.Errorf("when its end is told: %q", got)
	}
	for _, st := range b.reporter.all() {
		told := map[v1.ResourceName]v1.ResourceHealthStatus{}
		for _, s := range st.ContainerStatuses {
			for _, d := range s.AllocatedResourcesStatus {
				told[d.Name] = d.Resources[0].Health
			}
		}
		if told["example.com/gpu"] != v1.ResourceHealthStatusUnhealthy || told["claim:c"] != v1.ResourceHealthStatusHealthy {
			t.Errorf("of the %s Pod's devices is told %v", st.Phase, told)
		}
	}
}

// A Pod that is deleted does not wait for a driver that prepares its claim, and that is
// no failure of the node.
func TestDeletedWhilePreparing(t *testing.T) {
	b, calls := newDeviceBench(t, true)
	pod := newPod("web")
	b.manager.Update(pod)
	b.eventually("its claim is prepared", func() bool { return slices.Contains(calls.all(), "prepare") })
	b.manager.Update(deleted(pod, 1))
	b.eventually("it has ended", b.reporter.done("web"))
	if got := calls.all(); !slices.Equal(got, []string{"allocate", "prepare", "unprepare", "release"}) {
		t.Errorf("%q", got)
	}
	if b.events.has("FailedPrepareDynamicResources")() || b.count("RunPodSandbox web") > 0 {
		t.Errorf("events %q, calls %q", b.events.all(), b.runtime.Calls())
	}
}
