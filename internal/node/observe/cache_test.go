package observe_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/utils/clock"

	"minato/internal/node/fakecri"
	"minato/internal/node/observe"
	"minato/internal/node/spec"
)

// counted counts what a runtime is asked.
type counted struct {
	*fakecri.Runtime
	mu     sync.Mutex
	asked  int
	before func() // called before a container's status is answered
}

func (c *counted) count() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked++
}
func (c *counted) ListPodSandbox(ctx context.Context, f *runtimeapi.PodSandboxFilter) ([]*runtimeapi.PodSandbox, error) {
	out, err := c.Runtime.ListPodSandbox(ctx, f)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked += 1 + len(c.Runtime.Sandboxes()) // a listing looks at all of them
	return out, err
}
func (c *counted) ListContainers(ctx context.Context, f *runtimeapi.ContainerFilter) ([]*runtimeapi.Container, error) {
	c.count()
	return c.Runtime.ListContainers(ctx, f)
}
func (c *counted) PodSandboxStatus(ctx context.Context, id string, verbose bool) (*runtimeapi.PodSandboxStatusResponse, error) {
	c.count()
	return c.Runtime.PodSandboxStatus(ctx, id, verbose)
}
func (c *counted) ContainerStatus(ctx context.Context, id string, verbose bool) (*runtimeapi.ContainerStatusResponse, error) {
	c.count()
	resp, err := c.Runtime.ContainerStatus(ctx, id, verbose)
	if c.before != nil {
		c.before()
	}
	return resp, err
}
func (c *counted) cost(work func()) int {
	c.mu.Lock()
	c.asked = 0
	c.mu.Unlock()
	work()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.asked
}

// add makes a Pod with one running container.
func (c *counted) add(t *testing.T, name string) (sandbox, container string) {
	t.Helper()
	labels := map[string]string{spec.LabelPodUID: "uid-" + name, spec.LabelPodName: name, spec.LabelPodNamespace: "default"}
	config := &runtimeapi.PodSandboxConfig{
		Metadata: &runtimeapi.PodSandboxMetadata{Name: name, Namespace: "default", Uid: "uid-" + name}, Labels: labels,
		Linux: &runtimeapi.LinuxPodSandboxConfig{SecurityContext: &runtimeapi.LinuxSandboxSecurityContext{NamespaceOptions: &runtimeapi.NamespaceOption{}}},
	}
	sandbox, err := c.RunPodSandbox(t.Context(), config, "")
	if err != nil {
		t.Fatal(err)
	}
	container, err = c.CreateContainer(t.Context(), sandbox, &runtimeapi.ContainerConfig{
		Metadata: &runtimeapi.ContainerMetadata{Name: name}, Labels: labels, Image: &runtimeapi.ImageSpec{Image: "x"},
	}, config)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.StartContainer(t.Context(), container); err != nil {
		t.Fatal(err)
	}
	return sandbox, container
}

func read(t *testing.T, c *observe.Cache, name string) *observe.Pod {
	t.Helper()
	p, err := c.Read(t.Context(), types.UID("uid-"+name))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestCostOfOnePodDoesNotGrowWithTheOthers(t *testing.T) {
	var costs []int
	for _, others := range []int{1, 300} {
		r := &counted{Runtime: fakecri.New(clock.RealClock{})}
		for i := range others {
			r.add(t, fmt.Sprintf("other-%d", i))
		}
		sandbox, container := r.add(t, "web")
		c := observe.NewCache(r)
		if _, err := c.Relist(t.Context()); err != nil {
			t.Fatal(err)
		}
		read(t, c, "web")
		costs = append(costs, r.cost(func() {
			c.Changed(sandbox, container)
			if !read(t, c, "web").Latest("web").Running() {
				t.Error("it does not run")
			}
		}))
		if idle := r.cost(func() { read(t, c, "web") }); idle != 0 {
			t.Errorf("a look at a Pod of which nothing changed asked %d times", idle)
		}
	}
	if costs[0] != costs[1] || costs[0] > 2 {
		t.Errorf("a look at one Pod costs %d with one other Pod and %d with 300", costs[0], costs[1])
	}
}

func TestReadIsAsNewAsTheLastEvent(t *testing.T) {
	r := &counted{Runtime: fakecri.New(clock.RealClock{})}
	sandbox, container := r.add(t, "web")
	c := observe.NewCache(r)
	if p := read(t, c, "web"); !p.Latest("web").Running() || p.Name != "web" || p.Namespace != "default" {
		t.Fatalf("before the first listing: %+v", p)
	}
	if _, err := c.Relist(t.Context()); err != nil {
		t.Fatal(err)
	}
	read(t, c, "web")
	// The container ends while its status is on its way: the event that comes
	// then must not be lost.
	c.Changed(sandbox, container)
	r.before = func() {
		r.before = nil
		r.Exit("web", 3)
		c.Changed(sandbox, container)
	}
	read(t, c, "web")
	if run := read(t, c, "web").Latest("web"); !run.Exited() || run.ExitCode != 3 {
		t.Errorf("after the event it is %+v", run)
	}
}

func TestRelistFindsWhatNoEventToldOf(t *testing.T) {
	r := &counted{Runtime: fakecri.New(clock.RealClock{})}
	r.add(t, "ends")
	gone, _ := r.add(t, "goes")
	r.add(t, "stays")
	c := observe.NewCache(r)
	relist := func() map[types.UID]bool {
		t.Helper()
		uids, err := c.Relist(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		out := map[types.UID]bool{}
		for _, uid := range uids {
			out[uid] = true
		}
		return out
	}
	relist()
	for _, name := range []string{"ends", "goes", "stays"} {
		read(t, c, name)
	}
	if changed := relist(); len(changed) != 0 {
		t.Errorf("changed without a change: %v", changed)
	}
	r.Exit("ends", 1)
	if err := r.RemovePodSandbox(t.Context(), gone); err != nil {
		t.Fatal(err)
	}
	r.add(t, "new")
	changed := relist()
	if len(changed) != 3 || !changed["uid-ends"] || !changed["uid-goes"] || !changed["uid-new"] {
		t.Errorf("changed = %v", changed)
	}
	if !read(t, c, "ends").Latest("ends").Exited() || len(read(t, c, "goes").Sandboxes) != 0 || !read(t, c, "new").Latest("new").Running() {
		t.Error("the view is not what the runtime has")
	}
	if c.Knows("uid-goes") || !c.Knows("uid-new") {
		t.Errorf("known = %v", c.UIDs())
	}
}

func TestDistrustedPodIsListed(t *testing.T) {
	r := &counted{Runtime: fakecri.New(clock.RealClock{})}
	c := observe.NewCache(r)
	if _, err := c.Relist(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.add(t, "web") // what a failed action left
	if p := read(t, c, "web"); len(p.Sandboxes) != 0 {
		t.Fatal("the cache listed though nothing asked for that")
	}
	c.Distrust("uid-web")
	r.Fail("ListPodSandbox", errors.New("broken"))
	if _, err := c.Read(t.Context(), "uid-web"); err == nil {
		t.Error("no error of the runtime")
	}
	r.Fail("ListPodSandbox", nil)
	if p := read(t, c, "web"); len(p.Sandboxes) != 1 || !p.Latest("web").Running() {
		t.Errorf("pod = %+v", p)
	}
}

func TestRemovedSandboxTakesItsContainersAlong(t *testing.T) {
	r := &counted{Runtime: fakecri.New(clock.RealClock{})}
	sandbox, _ := r.add(t, "web")
	c := observe.NewCache(r)
	if _, err := c.Relist(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := r.RemovePodSandbox(t.Context(), sandbox); err != nil {
		t.Fatal(err)
	}
	c.Removed(sandbox)
	if cost := r.cost(func() { read(t, c, "web") }); cost != 0 || c.Knows("uid-web") {
		t.Errorf("asked %d times, knows it: %v", cost, c.Knows("uid-web"))
	}
}

// Events, actions, listings and reads come from many sides at once.
func TestCacheSettles(t *testing.T) {
	r := &counted{Runtime: fakecri.New(clock.RealClock{})}
	c := observe.NewCache(r)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			name := fmt.Sprintf("p%d", i)
			for range 50 {
				sandbox, container := r.add(t, name)
				c.AddSandbox(types.UID("uid-"+name), sandbox)
				c.AddContainer(types.UID("uid-"+name), sandbox, container)
				if p, err := c.Read(ctx, types.UID("uid-"+name)); err != nil || !p.Latest(name).Running() || len(p.Sandboxes) != 1 {
					t.Errorf("%s after its start: %+v, %v", name, p, err)
				}
				r.Exit(name, 0)
				<-r.Events
				c.Changed(sandbox, container)
				if p, err := c.Read(ctx, types.UID("uid-"+name)); err != nil || !p.Latest(name).Exited() {
					t.Errorf("%s after its end: %+v, %v", name, p, err)
				}
				if err := r.RemovePodSandbox(ctx, sandbox); err != nil {
					t.Error(err)
				}
				c.Removed(sandbox)
			}
		}()
	}
	for ctx.Err() == nil {
		if _, err := c.Relist(ctx); err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() { wg.Wait(); close(done) }()
		select {
		case <-done:
			cancel()
		case <-time.After(time.Millisecond):
		}
	}
	wg.Wait()
	if _, err := c.Relist(t.Context()); err != nil || len(c.UIDs()) != 0 {
		t.Errorf("left over: %v, %v", c.UIDs(), err)
	}
}
