package dra

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	v1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	api "k8s.io/kubelet/pkg/apis/dra/v1"

	"minato/internal/host"
	"minato/internal/node/plugins"
)

// fakeDriver notes what it is asked for.
type fakeDriver struct {
	api.UnimplementedDRAPluginServer
	mu    sync.Mutex
	calls []string
	fails bool
}

func (d *fakeDriver) note(what string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.calls = append(d.calls, what)
}

func (d *fakeDriver) taken() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	calls := d.calls
	d.calls = nil
	return calls
}

func (d *fakeDriver) NodePrepareResources(_ context.Context, r *api.NodePrepareResourcesRequest) (*api.NodePrepareResourcesResponse, error) {
	out := &api.NodePrepareResourcesResponse{Claims: map[string]*api.NodePrepareResourceResponse{}}
	for _, c := range r.Claims {
		d.note("prepare " + c.Name)
		if d.fails {
			out.Claims[c.Uid] = &api.NodePrepareResourceResponse{Error: "broken"}
			continue
		}
		out.Claims[c.Uid] = &api.NodePrepareResourceResponse{Devices: []*api.Device{
			{PoolName: "p", DeviceName: "d1", RequestNames: []string{"a"}, CdiDeviceIds: []string{"x.y/z=" + c.Name + "-a"}},
			{PoolName: "p", DeviceName: "d2", RequestNames: []string{"b"}, CdiDeviceIds: []string{"x.y/z=" + c.Name + "-b"}},
		}}
	}
	return out, nil
}

func (d *fakeDriver) NodeUnprepareResources(_ context.Context, r *api.NodeUnprepareResourcesRequest) (*api.NodeUnprepareResourcesResponse, error) {
	out := &api.NodeUnprepareResourcesResponse{Claims: map[string]*api.NodeUnprepareResourceResponse{}}
	for _, c := range r.Claims {
		d.note("unprepare " + c.Name)
		out.Claims[c.Uid] = &api.NodeUnprepareResourceResponse{}
		if d.fails {
			out.Claims[c.Uid].Error = "broken"
		}
	}
	return out, nil
}

const driverName = "driver.example"

// bench is a node with a manager and a driver.
type bench struct {
	*testing.T
	root   *host.InRoot
	client *fake.Clientset
	file   string
	driver *fakeDriver
	m      *Manager
}

func newBench(t *testing.T, objects ...*resourceapi.ResourceClaim) *bench {
	t.Helper()
	root, err := host.OpenInRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	b := &bench{T: t, root: root, client: fake.NewClientset(), file: filepath.Join(t.TempDir(), "claims.json"), driver: &fakeDriver{}}
	for _, c := range objects {
		if err := b.client.Tracker().Add(c); err != nil {
			t.Fatal(err)
		}
	}
	l, err := root.ListenUnix("/dra.sock", 0o600)
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	api.RegisterDRAPluginServer(s, b.driver)
	go s.Serve(l)
	t.Cleanup(s.Stop)
	b.open()
	return b
}

// open makes a manager, as a start of the agent does.
func (b *bench) open() {
	b.Helper()
	m, err := Open(Config{NodeName: "node-1", Client: b.client, Root: b.root, File: b.file})
	if err != nil {
		b.Fatal(err)
	}
	b.m = m
	b.Cleanup(m.drivers.close)
}

func (b *bench) register() plugins.Plugin {
	b.Helper()
	p := plugins.Plugin{Name: driverName, Endpoint: "/dra.sock", Versions: []string{"v1beta1.DRAPlugin", "v1.DRAPlugin"}, Socket: "/reg.sock", Registration: 1}
	if err := b.m.Register(b.Context(), p); err != nil {
		b.Fatal(err)
	}
	return p
}

func (b *bench) asked(want ...string) {
	b.Helper()
	if got := b.driver.taken(); !slices.Equal(got, want) {
		b.Errorf("the driver was asked %q, want %q", got, want)
	}
}

func newClaim(name string, pods ...types.UID) *resourceapi.ResourceClaim {
	c := &resourceapi.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, UID: types.UID("uid-" + name)}}
	c.Status.Allocation = &resourceapi.AllocationResult{Devices: resourceapi.DeviceAllocationResult{Results: []resourceapi.DeviceRequestAllocationResult{{Driver: driverName, Pool: "p", Device: "d1", Request: "a"}}}}
	for _, uid := range pods {
		c.Status.ReservedFor = append(c.Status.ReservedFor, resourceapi.ResourceClaimConsumerReference{Resource: "pods", Name: string(uid), UID: uid})
	}
	return c
}

func newPod(uid types.UID, claim string, uses ...v1.ResourceClaim) *v1.Pod {
	return &v1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: string(uid), UID: uid}, Spec: v1.PodSpec{
		ResourceClaims: []v1.PodResourceClaim{{Name: "c", ResourceClaimName: &claim}},
		Containers:     []v1.Container{{Name: "main", Resources: v1.ResourceRequirements{Claims: uses}}},
	}}
}

// A claim that two Pods share is prepared once and given up after the last one, also
// when the agent was started again in between.
func TestSharedClaim(t *testing.T) {
	b := newBench(t, newClaim("shared", "one", "two"))
	b.register()
	one, two := newPod("one", "shared", v1.ResourceClaim{Name: "c"}), newPod("two", "shared", v1.ResourceClaim{Name: "c", Request: "b"})
	for _, p := range []*v1.Pod{one, two, one} {
		if err := b.m.Prepare(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	b.asked("prepare shared")
	b.open()
	for _, c := range []struct {
		pod  *v1.Pod
		want []string
	}{{one, []string{"x.y/z=shared-a", "x.y/z=shared-b"}}, {two, []string{"x.y/z=shared-b"}}} {
		if got, err := b.m.CDI(c.pod, &c.pod.Spec.Containers[0]); err != nil || !slices.Equal(got, c.want) {
			t.Errorf("pod %s gets %v, %v", c.pod.Name, got, err)
		}
	}
	if got := b.m.Of(one, &one.Spec.Containers[0]); len(got) != 1 || got[0].ClaimName != "shared" || len(got[0].ClaimResources) != 2 || got[0].ClaimResources[0].CdiDevices[0].Name != "x.y/z=shared-a" {
		t.Errorf("monitors are told %v", got)
	}
	if pods := b.m.Pods(); len(pods) != 2 {
		t.Errorf("%v have claims", pods)
	}
	if err := b.m.Unprepare(t.Context(), "one"); err != nil { // no driver is needed for that
		t.Error(err)
	}
	if err := b.m.Unprepare(t.Context(), "two"); err == nil || !strings.Contains(err.Error(), "DRA driver driver.example is not registered") {
		t.Errorf("without a driver: %v", err)
	}
	b.register()
	b.driver.fails = true
	if err := b.m.Unprepare(t.Context(), "two"); err == nil || !strings.Contains(err.Error(), "NodeUnprepareResources failed for ResourceClaim shared: broken") {
		t.Errorf("a driver that fails: %v", err)
	}
	b.driver.fails = false
	for range 2 {
		if err := b.m.Unprepare(t.Context(), "two"); err != nil {
			t.Error(err)
		}
	}
	b.asked("unprepare shared", "unprepare shared")
	if pods := b.m.Pods(); len(pods) != 0 {
		t.Errorf("%v have claims", pods)
	}
}

// What a Pod may not have is refused before a driver is asked, and leaves nothing to
// undo.
func TestRefusedClaims(t *testing.T) {
	other, loose, foreign := newClaim("other", "another"), newClaim("loose", "p"), newClaim("foreign", "p")
	loose.Status.Allocation = nil
	foreign.Status.Allocation.Devices.Results[0].Driver = "nobody.example"
	b := newBench(t, other, loose, foreign)
	b.register()
	for name, want := range map[string]string{
		"none": "fetch ResourceClaim none", "other": "pod p (p) is not allowed to use ResourceClaim other (uid-other)",
		"loose": "not allocated", "foreign": "DRA driver nobody.example is not registered",
	} {
		if err := b.m.Prepare(t.Context(), newPod("p", name)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
	owned := newPod("p", "")
	template, name := "t", "other"
	owned.Spec.ResourceClaims[0] = v1.PodResourceClaim{Name: "c", ResourceClaimTemplateName: &template}
	owned.Status.ResourceClaimStatuses = []v1.PodResourceClaimStatus{{Name: "c", ResourceClaimName: &name}}
	if err := b.m.Prepare(t.Context(), owned); err == nil || !strings.Contains(err.Error(), "ResourceClaim") {
		t.Errorf("a claim that was made for another Pod: %v", err)
	}
	owned.Status.ResourceClaimStatuses[0].ResourceClaimName = nil // none was needed
	if err := b.m.Prepare(t.Context(), owned); err != nil {
		t.Error(err)
	}
	if got := b.m.Pods(); len(got) != 0 {
		t.Errorf("%v have claims", got)
	}
	b.asked()
}

// What was prepared for a Pod that was removed by force is not given to another one,
// for which the claim has been allocated anew.
func TestAllocatedAnew(t *testing.T) {
	b := newBench(t, newClaim("c", "one"))
	b.register()
	one, two := newPod("one", "c", v1.ResourceClaim{Name: "c"}), newPod("two", "c", v1.ResourceClaim{Name: "c"})
	if err := b.m.Prepare(t.Context(), one); err != nil {
		t.Fatal(err)
	}
	anew := newClaim("c", "two")
	anew.Status.Allocation.Devices.Results[0].Device = "d2"
	if _, err := b.client.ResourceV1().ResourceClaims("ns").UpdateStatus(t.Context(), anew, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	b.open() // what was allocated is known after a start of the agent too
	b.register()
	if err := b.m.Prepare(t.Context(), two); err == nil || !strings.Contains(err.Error(), "ResourceClaim c has been allocated anew") {
		t.Errorf("%v", err)
	}
	if got := b.m.Pods(); !slices.Equal(got, []types.UID{"one"}) {
		t.Errorf("%v have claims", got)
	}
	if err := errors.Join(b.m.Unprepare(t.Context(), "one"), b.m.Prepare(t.Context(), two)); err != nil {
		t.Error(err)
	}
	b.asked("prepare c", "unprepare c", "prepare c")
}

// Monitors are told of devices in the order of the drivers' names.
func TestOrderOfDevices(t *testing.T) {
	b := newBench(t)
	c := &claim{Namespace: "ns", Name: "c", UID: "u", Pods: []types.UID{"p"}, Drivers: map[string][]device{}}
	for i := range 10 {
		c.Drivers[fmt.Sprintf("driver-%d.example", i)] = []device{{Pool: "p", Name: "d"}}
	}
	b.m.ledger[c.key()] = c
	p := newPod("p", "c", v1.ResourceClaim{Name: "c"})
	for i, r := range b.m.Of(p, &p.Spec.Containers[0])[0].ClaimResources {
		if want := fmt.Sprintf("driver-%d.example", i); r.DriverName != want {
			t.Errorf("device %d is of %s, want %s", i, r.DriverName, want)
		}
	}
}

// A link in the place of the record is not followed.
func TestLinkedRecord(t *testing.T) {
	b := newBench(t)
	victim := filepath.Join(t.TempDir(), "victim")
	if err := os.Symlink(victim, b.file+".new"); err != nil {
		t.Fatal(err)
	}
	if err := b.m.save(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(victim); err == nil {
		t.Error("it was followed")
	}
}

// A driver that fails is asked again; what was begun is undone though the Pod never ran.
func TestFailingDriver(t *testing.T) {
	b := newBench(t, newClaim("c", "p"))
	b.register()
	b.driver.fails = true
	p := newPod("p", "c", v1.ResourceClaim{Name: "c"})
	if err := b.m.Prepare(t.Context(), p); err == nil || err.Error() != "NodePrepareResources failed for ResourceClaim c: broken" {
		t.Errorf("%v", err)
	}
	b.driver.fails = false
	if err := b.m.Unprepare(t.Context(), "p"); err != nil {
		t.Error(err)
	}
	b.asked("prepare c", "unprepare c")
}

// Devices of an extended resource that the scheduler has claimed reach the container
// that asks for it.
func TestExtendedResource(t *testing.T) {
	b := newBench(t, newClaim("extended", "p"))
	b.register()
	p := newPod("p", "")
	p.Spec.ResourceClaims = nil
	p.Spec.Containers[0].Resources.Requests = v1.ResourceList{"example.com/gpu": resource.MustParse("1")}
	p.Status.ExtendedResourceClaimStatus = &v1.PodExtendedResourceClaimStatus{ResourceClaimName: "extended", RequestMappings: []v1.ContainerExtendedResourceRequest{
		{ContainerName: "main", ResourceName: "example.com/gpu", RequestName: "a"},
	}}
	if err := b.m.Prepare(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	if got, err := b.m.CDI(p, &p.Spec.Containers[0]); err != nil || !slices.Equal(got, []string{"x.y/z=extended-a"}) {
		t.Errorf("the container gets %v, %v", got, err)
	}
}

// Drivers that speak nothing that the node speaks are refused, and slices are removed
// for the node at the start.
func TestDrivers(t *testing.T) {
	b := newBench(t)
	if err := b.m.Register(t.Context(), plugins.Plugin{Name: "x", Endpoint: "/x", Versions: []string{"v1alpha3.Node"}}); err == nil || !strings.Contains(err.Error(), "v1.DRAPlugin") {
		t.Errorf("%v", err)
	}
	for _, name := range []string{"", "a,b=c", strings.Repeat("a", 64)} {
		if err := b.m.Register(t.Context(), plugins.Plugin{Name: name, Endpoint: "/dra.sock", Versions: []string{"v1.DRAPlugin"}}); err == nil {
			t.Errorf("a driver registers as %q; once it is gone, what is removed is not its own", name)
		}
	}
	p := b.register()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		if d, err := b.m.drivers.get(driverName); err == nil && b.m.drivers.has(d) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the driver is not connected within 20 seconds")
		}
	}
	second := p
	second.Socket = "/other.sock"
	if err := b.m.Register(t.Context(), second); err == nil || !strings.Contains(err.Error(), "already registered") {
		t.Errorf("another plugin at the same endpoint: %v", err)
	}
	b.m.Deregister(plugins.Plugin{Name: driverName, Socket: "/reg.sock", Registration: 7}) // of an older life
	if _, err := b.m.drivers.get(driverName); err != nil {
		t.Error(err)
	}
	b.m.Deregister(p)
	if _, err := b.m.drivers.get(driverName); err == nil {
		t.Error("a driver that is gone is asked")
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- b.m.Run(ctx) }()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		if slices.ContainsFunc(b.client.Actions(), func(a clienttesting.Action) bool {
			return a.Matches("delete-collection", "resourceslices")
		}) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("no ResourceSlices are removed within 20 seconds")
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// A driver that closes each connection at once is not connected to without a pause.
func TestRestlessDriver(t *testing.T) {
	b := newBench(t)
	l, err := b.root.ListenUnix("/restless.sock", 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var taken atomic.Int64
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			taken.Add(1)
			conn.Write([]byte{0, 0, 0, 4, 0, 0, 0, 0, 0}) // HTTP/2's SETTINGS, with which the connection is ready
			io.CopyN(io.Discard, conn, 24+9+9)            // what the client says until it has read them
			conn.Close()
		}
	}()
	begun := time.Now()
	if err := b.m.Register(t.Context(), plugins.Plugin{Name: driverName, Endpoint: "/restless.sock", Versions: []string{"v1.DRAPlugin"}, Socket: "/reg.sock"}); err != nil {
		t.Fatal(err)
	}
	for taken.Load() < 3 {
		if time.Since(begun) > 20*time.Second {
			t.Fatal("it is not connected to again within 20 seconds")
		}
		time.Sleep(time.Millisecond)
	}
	if most := 2 + int64(time.Since(begun)/reconnectPause); taken.Load() > most {
		t.Errorf("it was connected to %d times in %v", taken.Load(), time.Since(begun))
	}
}

func TestLocks(t *testing.T) {
	var l locks
	unlock, err := l.lock(t.Context(), key{"a", "b"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.lock(ctx, key{"a", "b"}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	unlock()
	if _, err := l.lock(t.Context(), key{"a", "b"}); err != nil {
		t.Error(err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`[{"namespace":"a","name":"b","uid":"c","pods":["p"],"drivers":{"d":[{"pool":"p","name":"n","cdi":["x"]}]}}]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		l, err := decode(data)
		if err != nil {
			return
		}
		if _, err := l.encode(); err != nil {
			t.Error(fmt.Errorf("%q: %w", data, err))
		}
		for _, c := range l {
			c.cdi("")
		}
	})
}
