package pod

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	testclock "k8s.io/utils/clock/testing"

	"minato/internal/node/allocation"
	"minato/internal/node/fakecri"
	"minato/internal/node/object"
	"minato/internal/node/probe"
	"minato/internal/node/spec"
)

// bench is a manager with everything around it made up.
type bench struct {
	t        *testing.T
	clock    *testclock.FakeClock
	runtime  *fakecri.Runtime
	images   *fakecri.Images
	volumes  *fakeVolumes
	objects  *fakeObjects
	probes   *fakeProbes
	reporter *fakeReporter
	events   *fakeEvents
	node     *fakeNode
	logs     string
	granted  string // the directory of what was granted
	config   Config
	manager  *Manager
	stop     func()
}

func newBench(t *testing.T) *bench {
	t.Helper()
	clk := testclock.NewFakeClock(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
	dir := t.TempDir()
	b := &bench{
		t: t, clock: clk,
		runtime:  fakecri.New(clk),
		images:   fakecri.NewImages("docker.io/library/nginx:1.27", "docker.io/library/busybox:latest"),
		volumes:  &fakeVolumes{dir: filepath.Join(dir, "pods")},
		objects:  &fakeObjects{held: map[types.UID][]object.Ref{}, secrets: map[string]*v1.Secret{}},
		probes:   &fakeProbes{health: map[string]probe.Health{}, running: map[string]string{}},
		reporter: &fakeReporter{status: map[string]v1.PodStatus{}, finished: map[string]bool{}},
		events:   &fakeEvents{},
		node:     newFakeNode(),
		logs:     filepath.Join(dir, "log"),
	}
	b.granted = filepath.Join(dir, "granted")
	b.config = Config{
		NodeName: "node-1", Node: b.node.get,
		RuntimeName: "fake", HostIPs: []string{"172.30.0.11"},
		Runtime: b.runtime, Images: b.images, Volumes: b.volumes, Objects: b.objects, Probes: b.probes, Reporter: b.reporter,
		Services: func(context.Context, *v1.Pod, string) ([]*v1.Service, error) { return nil, nil },
		RuntimeClass: func(_ context.Context, name string) (string, error) {
			if name != "sandboxed" {
				return "", apierrors.NewNotFound(schema.GroupResource{Group: "node.k8s.io", Resource: "runtimeclass"}, name)
			}
			return "kata", nil
		},
		Resolver:  func() spec.Resolver { return spec.Resolver{Domain: "cluster.local"} },
		HostsFile: func() string { return "" },
		LogDir:    b.logs, Memory: resource.MustParse("4Gi"), Events: b.events, Clock: clk,
		Logger: slog.New(slog.DiscardHandler),
	}
	b.start()
	t.Cleanup(func() { b.stop() })
	return b
}

// start makes a manager that finds what is there.
func (b *bench) start() {
	b.t.Helper()
	allocations, err := allocation.Open(b.granted, slog.New(slog.DiscardHandler))
	if err != nil {
		b.t.Fatal(err)
	}
	cfg := b.config
	cfg.Allocations = allocations
	m := New(cfg)
	b.manager = m
	ctx, cancel := context.WithCancel(context.Background())
	ready, done := make(chan struct{}), make(chan struct{})
	go func() { defer close(done); m.Run(ctx, func() { close(ready) }) }()
	<-ready
	go func() {
		for {
			select {
			case <-ctx.Done():
				return
			case e := <-b.runtime.Events:
				m.Happened(Event(e))
			}
		}
	}()
	b.stop = func() { cancel(); <-done }
}

// restart ends the manager and makes another one.
func (b *bench) restart() {
	b.stop()
	b.start()
}

// eventually waits until ok says so, for at most a minute: machines may be busy.
func (b *bench) eventually(what string, ok func() bool) {
	b.t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			b.t.Fatalf("not within a minute: %s\ncalls: %q\nevents: %q\nstatus: %+v", what, b.runtime.Calls(), b.events.all(), b.reporter.status)
		}
	}
}

// stepUntil advances the clock in small steps until ok, and returns how far. However slow the
// machine is, the workers do what is due before the next step, and once more after the last one.
func (b *bench) stepUntil(what string, limit time.Duration, ok func() bool) time.Duration {
	b.t.Helper()
	const step = 500 * time.Millisecond
	for passed := time.Duration(0); ; passed += step {
		for range 30 { // not until a moment: none of this process may have run until then
			if ok() {
				return passed
			}
			time.Sleep(time.Millisecond)
		}
		if passed+step > limit {
			b.eventually(fmt.Sprintf("%s, %v later", what, passed), ok)
			return passed
		}
		b.rest()
		b.clock.Step(step)
	}
}

// rest waits until each worker has set its timer again, for at most two seconds: one that
// stops a container, or pulls an image, has none.
func (b *bench) rest() {
	for deadline := time.Now().Add(2 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		b.manager.mu.Lock()
		workers := len(b.manager.workers)
		b.manager.mu.Unlock()
		if b.clock.Waiters() >= workers {
			return
		}
	}
}

func (b *bench) phase(name string, want v1.PodPhase) func() bool {
	return func() bool { return b.reporter.get(name).Phase == want }
}

func (b *bench) waitingFor(name, reason string) func() bool {
	return func() bool {
		for _, c := range b.reporter.get(name).ContainerStatuses {
			if w := c.State.Waiting; w != nil && w.Reason == reason {
				return true
			}
		}
		return false
	}
}

func (b *bench) called(call string) func() bool {
	return func() bool { return b.count(call) > 0 }
}

func (b *bench) count(call string) int {
	n := 0
	for _, c := range b.runtime.Calls() {
		if c == call {
			n++
		}
	}
	return n
}

func newPod(name string, change ...func(*v1.Pod)) *v1.Pod {
	p := &v1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID("uid-" + name), Generation: 1},
		Spec: v1.PodSpec{
			NodeName: "node-1", RestartPolicy: v1.RestartPolicyAlways, DNSPolicy: v1.DNSClusterFirst,
			Containers: []v1.Container{{Name: "main", Image: "nginx:1.27", ImagePullPolicy: v1.PullIfNotPresent}},
		},
	}
	for _, fn := range change {
		fn(p)
	}
	return p
}

func restart(policy v1.RestartPolicy) func(*v1.Pod) {
	return func(p *v1.Pod) { p.Spec.RestartPolicy = policy }
}

func deleted(p *v1.Pod, seconds int64) *v1.Pod {
	p = p.DeepCopy()
	now := metav1.Now()
	p.DeletionTimestamp, p.DeletionGracePeriodSeconds = &now, &seconds
	return p
}

// fakeNode is the API server's Node.
type fakeNode struct {
	mu   sync.Mutex
	node v1.Node
	err  error
}

func newFakeNode() *fakeNode {
	n := &fakeNode{}
	n.node.Name, n.node.Labels = "node-1", map[string]string{"disk": "ssd"}
	n.node.Status.Allocatable = v1.ResourceList{
		v1.ResourceCPU: resource.MustParse("4"), v1.ResourceMemory: resource.MustParse("4Gi"),
		v1.ResourceEphemeralStorage: resource.MustParse("10Gi"), v1.ResourcePods: resource.MustParse("2000"),
	}
	return n
}

func (f *fakeNode) get(context.Context) (*v1.Node, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.node.DeepCopy(), f.err
}

func (f *fakeNode) change(fn func(*v1.Node)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fn(&f.node)
}

type fakeVolumes struct {
	keeps error // why volumes can't be torn down
	dir   string

	mu       sync.Mutex
	err      error
	setUps   int
	tornDown []types.UID
	panics   types.UID // of the Pod whose volumes make it panic
}

func (f *fakeVolumes) SetUp(_ context.Context, p *v1.Pod) (time.Time, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if p.UID == f.panics {
		var limit *resource.Quantity
		_ = limit.Value() // as of a field that the Pod leaves out
	}
	f.setUps++
	return time.Time{}, f.err
}
func (f *fakeVolumes) panicFor(uid types.UID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.panics = uid
}
func (f *fakeVolumes) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
}
func (f *fakeVolumes) Mounts(_ *v1.Pod, c *v1.Container, _ []*runtimeapi.KeyValue, images map[string]*runtimeapi.ImageSpec) ([]*runtimeapi.Mount, error) {
	var out []*runtimeapi.Mount
	for _, m := range c.VolumeMounts {
		if image := images[m.Name]; image != nil {
			out = append(out, &runtimeapi.Mount{ContainerPath: m.MountPath, Image: image})
		}
	}
	return out, nil
}
func (f *fakeVolumes) Devices(*v1.Pod, *v1.Container) ([]*runtimeapi.Device, error) { return nil, nil }
func (f *fakeVolumes) TearDown(_ context.Context, uid types.UID) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tornDown = append(f.tornDown, uid)
	return f.keeps
}
func (f *fakeVolumes) UIDs() ([]types.UID, error) { return nil, nil }
func (f *fakeVolumes) ReadFile(context.Context, *v1.Pod, string, string) (string, error) {
	return "", os.ErrNotExist
}
func (f *fakeVolumes) PodDir(uid types.UID) string { return filepath.Join(f.dir, string(uid)) }

type fakeObjects struct {
	mu      sync.Mutex
	secrets map[string]*v1.Secret
	held    map[types.UID][]object.Ref
}

func (f *fakeObjects) ConfigMap(_ context.Context, _, name string) (*v1.ConfigMap, error) {
	return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "configmap"}, name)
}
func (f *fakeObjects) Secret(_ context.Context, _, name string) (*v1.Secret, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if s := f.secrets[name]; s != nil {
		return s, nil
	}
	return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "secret"}, name)
}
func (f *fakeObjects) add(s *v1.Secret) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.secrets[s.Name] = s
}
func (f *fakeObjects) Hold(uid types.UID, refs []object.Ref) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.held[uid] = refs
}
func (f *fakeObjects) Release(uid types.UID) { f.Hold(uid, nil) }

type fakeProbes struct {
	mu      sync.Mutex
	health  map[string]probe.Health
	running map[string]string // container ID by name
}

func (f *fakeProbes) Ensure(_ context.Context, t probe.Target) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.running[t.Container.Name] = t.ContainerID
}
func (f *fakeProbes) Health(id string) probe.Health {
	f.mu.Lock()
	defer f.mu.Unlock()
	if h, ok := f.health[id]; ok {
		return h
	}
	return probe.Health{Started: true, Ready: true}
}
func (f *fakeProbes) set(name string, h probe.Health) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	id, ok := f.running[name]
	if ok {
		f.health[id] = h
	}
	return ok
}
func (f *fakeProbes) Keep(types.UID, map[string]bool) {}
func (f *fakeProbes) Terminating(types.UID)           {}
func (f *fakeProbes) Remove(types.UID)                {}

type fakeReporter struct {
	mu       sync.Mutex
	status   map[string]v1.PodStatus
	history  []v1.PodStatus
	finished map[string]bool
}

func (f *fakeReporter) Set(p *v1.Pod, s v1.PodStatus) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.status[p.Name] = s
	f.history = append(f.history, s)
}
func (f *fakeReporter) Finish(p *v1.Pod, s v1.PodStatus) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.status[p.Name], f.finished[p.Name] = s, true
}
func (f *fakeReporter) Forget(types.UID) {}

// all are the statuses that were told, oldest first.
func (f *fakeReporter) all() []v1.PodStatus {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.history)
}
func (f *fakeReporter) get(name string) v1.PodStatus {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.status[name]
}
func (f *fakeReporter) done(name string) func() bool {
	return func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.finished[name]
	}
}

// fakeEvents records events as REASON MESSAGE.
type fakeEvents struct {
	mu   sync.Mutex
	list []string
}

func (f *fakeEvents) Event(_ runtime.Object, _, reason, message string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.list = append(f.list, reason+" "+message)
}
func (f *fakeEvents) Eventf(o runtime.Object, kind, reason, format string, args ...any) {
	f.Event(o, kind, reason, fmt.Sprintf(format, args...))
}
func (f *fakeEvents) AnnotatedEventf(o runtime.Object, _ map[string]string, kind, reason, format string, args ...any) {
	f.Eventf(o, kind, reason, format, args...)
}
func (f *fakeEvents) all() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.list...)
}
func (f *fakeEvents) has(prefix string) func() bool {
	return func() bool {
		for _, e := range f.all() {
			if strings.HasPrefix(e, prefix) {
				return true
			}
		}
		return false
	}
}

var errBroken = errors.New("broken")
