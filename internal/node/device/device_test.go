package device

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	pluginapi "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
	testclock "k8s.io/utils/clock/testing"

	"minato/internal/host"
	"minato/internal/node/plugins"
)

const gpu = "example.com/gpu"

// fakePlugin is a plugin of a few devices.
type fakePlugin struct {
	pluginapi.UnimplementedDevicePluginServer
	options *pluginapi.DevicePluginOptions
	lists   chan []*pluginapi.Device
	fails   bool
	started chan []string
}

func (p *fakePlugin) GetDevicePluginOptions(context.Context, *pluginapi.Empty) (*pluginapi.DevicePluginOptions, error) {
	return p.options, nil
}

func (p *fakePlugin) ListAndWatch(_ *pluginapi.Empty, s grpc.ServerStreamingServer[pluginapi.ListAndWatchResponse]) error {
	for {
		select {
		case list := <-p.lists:
			if err := s.Send(&pluginapi.ListAndWatchResponse{Devices: list}); err != nil {
				return err
			}
		case <-s.Context().Done():
			return nil
		}
	}
}

func (p *fakePlugin) GetPreferredAllocation(_ context.Context, r *pluginapi.PreferredAllocationRequest) (*pluginapi.PreferredAllocationResponse, error) {
	ids := slices.Sorted(slices.Values(r.ContainerRequests[0].AvailableDeviceIDs))
	slices.Reverse(ids)
	return &pluginapi.PreferredAllocationResponse{ContainerResponses: []*pluginapi.ContainerPreferredAllocationResponse{{DeviceIDs: ids[:r.ContainerRequests[0].AllocationSize]}}}, nil
}

func (p *fakePlugin) Allocate(_ context.Context, r *pluginapi.AllocateRequest) (*pluginapi.AllocateResponse, error) {
	if p.fails {
		return nil, errors.New("out of order")
	}
	ids := r.ContainerRequests[0].DevicesIds
	return &pluginapi.AllocateResponse{ContainerResponses: []*pluginapi.ContainerAllocateResponse{{
		Envs:        map[string]string{"GPU": strings.Join(ids, ",")},
		Mounts:      []*pluginapi.Mount{{ContainerPath: "/lib/gpu", HostPath: "/opt/gpu", ReadOnly: true}},
		Devices:     []*pluginapi.DeviceSpec{{ContainerPath: "/dev/gpu", HostPath: "/dev/null", Permissions: "rw"}},
		Annotations: map[string]string{"example.com/gpu": "yes"},
		CdiDevices:  []*pluginapi.CDIDevice{{Name: "example.com/gpu=" + ids[0]}},
	}}}, nil
}

func (p *fakePlugin) PreStartContainer(_ context.Context, r *pluginapi.PreStartContainerRequest) (*pluginapi.PreStartContainerResponse, error) {
	p.started <- r.DevicesIds
	return &pluginapi.PreStartContainerResponse{}, nil
}

// bench is a node with a manager.
type bench struct {
	*testing.T
	dir   string
	clock *testclock.FakePassiveClock
	m     *Manager
	woken chan types.UID
	// changed counts how often the Node may have changed.
	changed atomic.Int64
	stop    func()
}

func newBench(t *testing.T) *bench {
	b := &bench{T: t, dir: t.TempDir(), clock: testclock.NewFakePassiveClock(time.Now()), woken: make(chan types.UID, 100)}
	b.run()
	return b
}

// run starts the manager of the node, in place of the one that runs.
func (b *bench) run() {
	b.Helper()
	if b.stop != nil {
		b.stop()
	}
	root, err := host.OpenInRoot(b.dir)
	if err != nil {
		b.Fatal(err)
	}
	b.m, err = Open(Config{Root: root, File: filepath.Join(b.dir, "granted", "devices.json"), Changed: func() { b.changed.Add(1) }, Wake: func(uid types.UID) { b.woken <- uid }, Clock: b.clock})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.m.Run(ctx) }()
	b.stop = func() { cancel(); <-done; root.Close(); b.stop = nil }
	b.Cleanup(func() {
		if b.stop != nil {
			b.stop()
		}
	})
	b.wait("the node's socket", func() bool {
		conn, err := root.DialUnix(context.Background(), Socket)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
}

func (b *bench) wait(what string, ok func() bool) {
	b.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			b.Fatalf("%s: not within 20 seconds", what)
		}
	}
}

// register starts a plugin and has it register.
func (b *bench) register(p *fakePlugin, name, version string) (end func(), err error) {
	b.Helper()
	socket := fmt.Sprintf("p-%d.sock", time.Now().UnixNano())
	root, err := host.OpenInRoot(b.dir)
	if err != nil {
		b.Fatal(err)
	}
	defer root.Close()
	l, err := root.ListenUnix(filepath.Join(Dir, socket), 0o600)
	if err != nil {
		b.Fatal(err)
	}
	s := grpc.NewServer()
	pluginapi.RegisterDevicePluginServer(s, p)
	go s.Serve(l)
	b.Cleanup(s.Stop)
	conn, err := plugins.Dial(root, Socket)
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	_, err = pluginapi.NewRegistrationClient(conn).Register(b.Context(), &pluginapi.RegisterRequest{Version: version, Endpoint: socket, ResourceName: name})
	return s.Stop, err
}

func newPlugin() *fakePlugin {
	return &fakePlugin{options: &pluginapi.DevicePluginOptions{}, lists: make(chan []*pluginapi.Device, 10), started: make(chan []string, 10)}
}

func devices(healthy ...string) (list []*pluginapi.Device) {
	for _, id := range healthy {
		list = append(list, &pluginapi.Device{ID: id, Health: pluginapi.Healthy, Topology: &pluginapi.TopologyInfo{Nodes: []*pluginapi.NUMANode{{ID: 1}}}})
	}
	return list
}

// has waits until the node has that many devices, healthy or not.
func (b *bench) has(capacity, allocatable int64) {
	b.Helper()
	b.wait(fmt.Sprintf("%d devices, %d of them healthy", capacity, allocatable), func() bool {
		c, a := b.m.Resources()
		have, can := c[gpu], a[gpu]
		return have.Value() == capacity && can.Value() == allocatable
	})
}

func wants(c string, n int64) v1.Container {
	return v1.Container{Name: c, Resources: v1.ResourceRequirements{Limits: v1.ResourceList{gpu: *resource.NewQuantity(n, resource.DecimalSI)}}}
}

func pod(uid types.UID, containers ...v1.Container) *v1.Pod {
	return &v1.Pod{ObjectMeta: metav1.ObjectMeta{UID: uid}, Spec: v1.PodSpec{Containers: containers}}
}

// A plugin's life: it registers, its devices are given with all that it says, survive a
// restart of the agent, are free when the Pod has ended, unhealthy when the plugin says
// so, and none when it is gone for longer than the grace period.
func TestLifeOfAPlugin(t *testing.T) {
	b := newBench(t)
	p := newPlugin()
	p.options.PreStartRequired, p.options.GetPreferredAllocationAvailable = true, true
	if _, err := b.register(p, gpu, pluginapi.Version); err != nil {
		t.Fatal(err)
	}
	p.lists <- devices("a", "b", "c")
	b.has(3, 3)
	first := pod("first", wants("c", 1))
	if err := b.m.Allocate(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	given, err := b.m.Container(t.Context(), first, &first.Spec.Containers[0])
	if err != nil {
		t.Fatal(err)
	}
	if ids := <-p.started; !slices.Equal(ids, []string{"c"}) { // the one that it prefers
		t.Errorf("the plugin prepared %v", ids)
	}
	if len(given.Envs) != 1 || string(given.Envs[0].Value) != "c" || len(given.Mounts) != 1 || !given.Mounts[0].Readonly || given.Mounts[0].HostPath != "/opt/gpu" ||
		len(given.Devices) != 1 || given.Devices[0].Permissions != "rw" || given.Annotations["example.com/gpu"] != "yes" || !slices.Equal(given.CDI, []string{"example.com/gpu=c"}) {
		t.Errorf("the container gets %v", given)
	}
	allocated := b.m.Allocated()
	if n := allocated[gpu]; n.Value() != 1 {
		t.Errorf("Pods have %v devices", n.Value())
	}

	b.run() // the agent is started again
	b.has(0, 0)
	if _, err := b.m.Container(t.Context(), first, &first.Spec.Containers[0]); err == nil || !strings.Contains(err.Error(), "has not registered since") {
		t.Errorf("a container whose plugin is not there is started: %v", err)
	}
	var busy *Busy
	if err := b.m.Allocate(t.Context(), pod("second", wants("c", 1))); !errors.As(err, &busy) || !busy.Soon {
		t.Errorf("a Pod for a plugin that is not there yet: %v", err)
	}
	q := newPlugin()
	end, err := b.register(q, gpu, pluginapi.Version)
	if err != nil {
		t.Fatal(err)
	}
	if uid := <-b.woken; uid != "first" {
		t.Errorf("%s is woken by the plugin", uid)
	}
	if err := b.m.Allocate(t.Context(), pod("second", wants("c", 1))); !errors.As(err, &busy) || !busy.Soon {
		t.Errorf("a Pod for a plugin that has listed nothing yet: %v", err)
	}
	b.clock.SetTime(b.clock.Now().Add(restartPatience))
	if err := b.m.Allocate(t.Context(), pod("second", wants("c", 1))); err == nil || errors.As(err, &busy) {
		t.Errorf("a Pod for a plugin that lists nothing: %v", err)
	}
	q.lists <- devices("a", "b", "c")
	b.has(3, 3)
	if given, err = b.m.Container(t.Context(), first, &first.Spec.Containers[0]); err != nil || string(given.Envs[0].Value) != "c" {
		t.Errorf("after a restart the container gets %v, %v", given, err)
	}
	if err := b.m.Allocate(t.Context(), pod("second", wants("c", 3))); !errors.As(err, &busy) || busy.Soon || !slices.Equal(busy.Holders, []types.UID{"first"}) ||
		err.Error() != "requested number of devices unavailable for example.com/gpu. Requested: 3, Available: 2" {
		t.Errorf("more devices than there are: %v", err)
	}

	sick := devices("a", "b", "c")
	sick[2].Health = pluginapi.Unhealthy
	q.lists <- sick
	b.has(3, 2)
	if s := b.m.Status("first", "c"); len(s) != 1 || s[0].Resources[0].Health != v1.ResourceHealthStatusUnhealthy || s[0].Resources[0].ResourceID != "c" {
		t.Errorf("the Pod's device is %v", s)
	}
	b.m.Release("first")
	if got := b.m.Pods(); len(got) != 0 {
		t.Errorf("%v have devices", got)
	}
	end()
	b.has(3, 0)
	b.clock.SetTime(b.clock.Now().Add(gracePeriod + time.Second))
	b.has(0, 0)
	if c, _ := b.m.Resources(); c[gpu] != *resource.NewQuantity(0, resource.DecimalSI) {
		t.Errorf("a resource that is gone has the capacity %v; want one of 0", c)
	}
}

// Init containers hand their devices on, sidecars don't; what fails leaves nothing.
func TestAllocate(t *testing.T) {
	b := newBench(t)
	p := newPlugin()
	if _, err := b.register(p, gpu, pluginapi.Version); err != nil {
		t.Fatal(err)
	}
	p.lists <- devices("a", "b", "c")
	b.has(3, 3)
	always := v1.ContainerRestartPolicyAlways
	both := pod("p", wants("c", 1), wants("d", 1))
	both.Spec.InitContainers = []v1.Container{wants("init", 2), wants("sidecar", 1)}
	both.Spec.InitContainers[1].RestartPolicy = &always
	if err := b.m.Allocate(t.Context(), both); err != nil {
		t.Fatal(err)
	}
	ids := func(c string) string {
		var out []string
		for _, h := range b.m.Of("p", c) {
			for _, d := range h.Devices {
				out = append(out, d.ID)
				if !slices.Equal(d.NUMA, []int64{1}) {
					t.Errorf("device %s is near to %v", d.ID, d.NUMA)
				}
			}
		}
		return strings.Join(out, ",")
	}
	if got := []string{ids("init"), ids("sidecar"), ids("c"), ids("d")}; !slices.Equal(got, []string{"a,b", "a", "b", "c"}) {
		t.Errorf("the containers have %v", got)
	}
	if err := b.m.Allocate(t.Context(), both); err != nil { // again
		t.Error(err)
	}
	b.m.Release("p")
	p.fails = true
	if err := b.m.Allocate(t.Context(), both); err == nil || len(b.m.Pods()) != 0 {
		t.Errorf("a plugin that refuses: %v; %v have devices", err, b.m.Pods())
	}
	p.fails = false
	none := pod("none")
	if b.m.Wants(none) || !b.m.Wants(both) {
		t.Error("Wants is wrong")
	}
	by := pod("claimed", wants("c", 1))
	by.Status.ExtendedResourceClaimStatus = &v1.PodExtendedResourceClaimStatus{RequestMappings: []v1.ContainerExtendedResourceRequest{{ContainerName: "c", ResourceName: gpu}}}
	if b.m.Wants(by) {
		t.Error("devices that a ResourceClaim has are asked of a plugin")
	}
	if got := b.m.Healthy(); len(got) != 1 || len(got[0].Devices) != 3 {
		t.Errorf("healthy are %v", got)
	}
}

// What is no plugin is refused in the kubelet's words.
func TestRefusedPlugins(t *testing.T) {
	b := newBench(t)
	for _, c := range []struct{ name, version, want string }{
		{gpu, "v1", "is not supported by kubelet"},
		{"gpu", pluginapi.Version, `the ResourceName "gpu" is invalid`},
		{"cpu", pluginapi.Version, `the ResourceName "cpu" is invalid`},
		{"kubernetes.io/gpu", pluginapi.Version, "is invalid"},
	} {
		if _, err := b.register(newPlugin(), c.name, c.version); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %s: %v", c.name, c.version, err)
		}
	}
}

// Whoever asks to be registered and does not answer leaves no trace.
func TestUnreachablePlugin(t *testing.T) {
	b := newBench(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.m.connect(ctx, gpu, Dir+"/nobody.sock"); err == nil {
		t.Error("nobody is registered")
	}
	counts := make(chan prometheus.Metric, 10)
	b.m.counted.Collect(counts)
	if len(counts) != 0 || len(b.m.plugins) != 0 {
		t.Errorf("%d counts and %d plugins are kept", len(counts), len(b.m.plugins))
	}
}

// A plugin that lists without end costs the Node little, and nothing if it always says
// the same.
func TestRestlessPlugin(t *testing.T) {
	b := newBench(t)
	p := newPlugin()
	if _, err := b.register(p, gpu, pluginapi.Version); err != nil {
		t.Fatal(err)
	}
	p.lists <- devices("a")
	b.has(1, 1)
	begun, before := time.Now(), b.changed.Load()
	for range 300 {
		p.lists <- devices("a")
	}
	for i := range 300 {
		p.lists <- devices("a", "b")[:1+i%2]
	}
	b.wait("a second, and changes that were heard", func() bool {
		got, most := b.changed.Load()-before, listsBurst+1+listsPerSecond*time.Since(begun).Seconds()
		if float64(got) > most {
			t.Fatalf("the Node changes %d times in %v", got, time.Since(begun))
		}
		return time.Since(begun) > time.Second && got >= listsBurst
	})
}

// Plugins that register without end are slowed down.
func TestManyRegistrations(t *testing.T) {
	b := newBench(t)
	root, err := host.OpenInRoot(b.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	conn, err := plugins.Dial(root, Socket)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := b.register(newPlugin(), gpu, pluginapi.Version); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(filepath.Join(b.dir, Dir))
	if err != nil {
		t.Fatal(err)
	}
	var endpoint string
	for _, e := range entries {
		if e.Name() != filepath.Base(Socket) {
			endpoint = e.Name()
		}
	}
	begun := time.Now()
	for range registrationsBurst + registrationsPerSecond/2 {
		if _, err := pluginapi.NewRegistrationClient(conn).Register(t.Context(), &pluginapi.RegisterRequest{Version: pluginapi.Version, Endpoint: endpoint, ResourceName: gpu}); err != nil {
			t.Fatal(err)
		}
	}
	if took := time.Since(begun); took < time.Second/2 {
		t.Errorf("so many registrations take %v", took)
	}
}

// unusable is the root directory of a node on which no socket can be made.
type unusable struct{ Root }

func (unusable) MkdirAll(string, os.FileMode) error { return errors.New("the disk is gone") }

// The Node is looked at now and then, for plugins that are gone for too long, also while
// none can register.
func TestReminder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		changed := 0
		m, err := Open(Config{Root: unusable{}, File: filepath.Join(t.TempDir(), "devices.json"), Changed: func() { changed++ }})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), gracePeriod+time.Second)
		defer cancel()
		if err := m.Run(ctx); err != nil || changed != 10 {
			t.Errorf("looked at %d times in %v, %v", changed, gracePeriod, err)
		}
	})
}

// A file that can't be understood costs nothing but what it said.
func TestBrokenRecord(t *testing.T) {
	file := filepath.Join(t.TempDir(), "devices.json")
	if err := os.WriteFile(file, []byte(`{"grants": [{"pod": ""}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	root, err := host.OpenInRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	m, err := Open(Config{Root: root, File: file})
	if err != nil || len(m.Pods()) != 0 {
		t.Fatalf("%v, %v", m, err)
	}
	victim := filepath.Join(t.TempDir(), "victim")
	if err := os.Symlink(victim, file+".new"); err != nil {
		t.Fatal(err)
	}
	if err := m.save(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(victim); err == nil {
		t.Error("a link in the place of the record was followed")
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"resources":["a/b"],"grants":[{"pod":"p","container":"c","resource":"a/b","devices":["x"],"response":""}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		l, err := decode(data)
		if err != nil {
			return
		}
		if _, err := l.encode(); err != nil {
			t.Error(err)
		}
	})
}
