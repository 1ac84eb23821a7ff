package csi

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	spec "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	authv1 "k8s.io/api/authentication/v1"
	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"

	"minato/internal/host"
	"minato/internal/node/plugins"
)

func ptr[T any](v T) *T { return &v }

// fakeDriver makes directories in place of mounts, and notes its calls.
type fakeDriver struct {
	spec.UnimplementedNodeServer
	caps []spec.NodeServiceCapability_RPC_Type

	mu    sync.Mutex
	calls []string
	fail  map[string]error
	hang  map[string]bool
	last  map[string]any // requests, by method
	hook  func(context.Context, any) error
	limit int64 // of volumes
}

func (d *fakeDriver) intercept(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	method := filepath.Base(info.FullMethod)
	d.mu.Lock()
	if method != "NodeGetCapabilities" && method != "NodeGetInfo" {
		d.calls = append(d.calls, method)
	}
	d.last[method] = req
	err, hangs, hook := d.fail[method], d.hang[method], d.hook
	d.mu.Unlock()
	if hook != nil {
		if err := hook(ctx, req); err != nil {
			return nil, err
		}
	}
	if hangs {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if err != nil {
		return nil, err
	}
	return next(ctx, req)
}

// took returns the calls since the last time.
func (d *fakeDriver) took() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := strings.Join(d.calls, " ")
	d.calls = nil
	return out
}

func (d *fakeDriver) NodeGetInfo(context.Context, *spec.NodeGetInfoRequest) (*spec.NodeGetInfoResponse, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return &spec.NodeGetInfoResponse{NodeId: "id-of-n", MaxVolumesPerNode: d.limit, AccessibleTopology: &spec.Topology{Segments: map[string]string{"zone": "a"}}}, nil
}

func (d *fakeDriver) NodeGetCapabilities(context.Context, *spec.NodeGetCapabilitiesRequest) (*spec.NodeGetCapabilitiesResponse, error) {
	out := &spec.NodeGetCapabilitiesResponse{}
	for _, t := range d.caps {
		out.Capabilities = append(out.Capabilities, &spec.NodeServiceCapability{Type: &spec.NodeServiceCapability_Rpc{Rpc: &spec.NodeServiceCapability_RPC{Type: t}}})
	}
	return out, nil
}

func (d *fakeDriver) NodeStageVolume(context.Context, *spec.NodeStageVolumeRequest) (*spec.NodeStageVolumeResponse, error) {
	return &spec.NodeStageVolumeResponse{}, nil
}

func (d *fakeDriver) NodeUnstageVolume(context.Context, *spec.NodeUnstageVolumeRequest) (*spec.NodeUnstageVolumeResponse, error) {
	return &spec.NodeUnstageVolumeResponse{}, nil
}

func (d *fakeDriver) NodePublishVolume(_ context.Context, req *spec.NodePublishVolumeRequest) (*spec.NodePublishVolumeResponse, error) {
	return &spec.NodePublishVolumeResponse{}, os.MkdirAll(req.TargetPath, 0o750)
}

func (d *fakeDriver) NodeUnpublishVolume(_ context.Context, req *spec.NodeUnpublishVolumeRequest) (*spec.NodeUnpublishVolumeResponse, error) {
	return &spec.NodeUnpublishVolumeResponse{}, os.RemoveAll(req.TargetPath)
}

func (d *fakeDriver) NodeExpandVolume(context.Context, *spec.NodeExpandVolumeRequest) (*spec.NodeExpandVolumeResponse, error) {
	return &spec.NodeExpandVolumeResponse{}, nil
}

func (d *fakeDriver) NodeGetVolumeStats(context.Context, *spec.NodeGetVolumeStatsRequest) (*spec.NodeGetVolumeStatsResponse, error) {
	return &spec.NodeGetVolumeStatsResponse{Usage: []*spec.VolumeUsage{{Unit: spec.VolumeUsage_BYTES, Total: 10, Used: 3, Available: 7}, {Unit: spec.VolumeUsage_INODES, Total: -1}}}, nil
}

// fakeMounter says that a directory is a mount if it is there.
type fakeMounter struct{}

func (fakeMounter) Unmount(string) error { return nil }
func (fakeMounter) MountsUnder(dir string) ([]string, error) {
	if strings.HasSuffix(dir, "mount") {
		if _, err := os.Stat(dir); err == nil && strings.Contains(dir, "kept") {
			return []string{dir}, nil
		}
	}
	return nil, nil
}

type fakeTokens struct{}

func (fakeTokens) Token(_ context.Context, _, _ string, req *authv1.TokenRequest) (*authv1.TokenRequest, error) {
	req.Status.Token = "token for " + strings.Join(req.Spec.Audiences, ",")
	return req, nil
}

// eventList notes events.
type eventList struct{ all chan string }

func (e eventList) Event(_ runtime.Object, _, reason, message string) {
	select {
	case e.all <- reason + ": " + message:
	default:
	}
}

// bench is a manager whose driver "d" is registered.
type bench struct {
	*Manager
	driver *fakeDriver
	client *fake.Clientset
	events eventList
	cfg    Config
	plugin plugins.Plugin
}

func newBench(t *testing.T, objects ...runtime.Object) *bench {
	t.Helper()
	dir := t.TempDir()
	b := &bench{
		driver: &fakeDriver{
			caps:  []spec.NodeServiceCapability_RPC_Type{spec.NodeServiceCapability_RPC_STAGE_UNSTAGE_VOLUME, spec.NodeServiceCapability_RPC_EXPAND_VOLUME, spec.NodeServiceCapability_RPC_GET_VOLUME_STATS},
			limit: 5, fail: map[string]error{}, hang: map[string]bool{}, last: map[string]any{},
		},
		events: eventList{make(chan string, 100)},
	}
	node := &v1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n", UID: "nu"}}
	b.client = fake.NewClientset(append(objects, node)...)
	socket := filepath.Join(dir, "csi.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(grpc.UnaryInterceptor(b.driver.intercept))
	spec.RegisterNodeServer(server, b.driver)
	go server.Serve(l)
	t.Cleanup(server.Stop)
	for _, d := range []string{"pods", "plugins"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o750); err != nil {
			t.Fatal(err)
		}
	}
	b.cfg = Config{
		NodeName: "n", Client: b.client, Tokens: fakeTokens{}, Root: (*host.InRoot)(nil), Dir: dir, NodeDir: dir, Mounter: fakeMounter{}, Events: b.events,
		Node: func(ctx context.Context) (*v1.Node, error) {
			return b.client.CoreV1().Nodes().Get(ctx, "n", metav1.GetOptions{})
		},
		Timeout: 20 * time.Second,
	}
	b.plugin = plugins.Plugin{Name: "d", Endpoint: socket, Versions: []string{"1.0.0"}, Socket: "/reg.sock"}
	b.again(t)
	return b
}

// again is what the next agent knows.
func (b *bench) again(t *testing.T) {
	t.Helper()
	m, err := Open(b.cfg)
	if err != nil {
		t.Fatal(err)
	}
	b.Manager = m
	if err := m.Register(t.Context(), b.plugin); err != nil {
		t.Fatal(err)
	}
}

// grow grows what has to grow, unless that is being done.
func (b *bench) grow(t *testing.T) {
	var group sync.WaitGroup
	b.expandAll(t.Context(), &group)
	group.Wait()
}

func csiDriver(change func(*storagev1.CSIDriverSpec)) *storagev1.CSIDriver {
	o := &storagev1.CSIDriver{ObjectMeta: metav1.ObjectMeta{Name: "d"}, Spec: storagev1.CSIDriverSpec{AttachRequired: ptr(false)}}
	if change != nil {
		change(&o.Spec)
	}
	return o
}

func podNamed(uid types.UID) *v1.Pod {
	return &v1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p-" + string(uid), UID: uid}, Spec: v1.PodSpec{ServiceAccountName: "sa"}}
}

// volumeOf is the PersistentVolume "pv" in a Pod.
func volumeOf(uid types.UID) Volume {
	pv := &v1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "pv"}, Spec: v1.PersistentVolumeSpec{
		AccessModes: []v1.PersistentVolumeAccessMode{v1.ReadWriteOnce}, Capacity: v1.ResourceList{v1.ResourceStorage: resource.MustParse("1Gi")},
		PersistentVolumeSource: v1.PersistentVolumeSource{CSI: &v1.CSIPersistentVolumeSource{Driver: "d", VolumeHandle: "h", VolumeAttributes: map[string]string{"a": "b"}}},
	}}
	claim := &v1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "c"}, Spec: v1.PersistentVolumeClaimSpec{VolumeName: "pv"}, Status: v1.PersistentVolumeClaimStatus{
		Capacity: v1.ResourceList{v1.ResourceStorage: resource.MustParse("1Gi")},
	}}
	return Volume{Pod: podNamed(uid), Name: "data", Persistent: pv, Claim: claim}
}

// nothingLeft checks that neither files nor users are left.
func (b *bench) nothingLeft(t *testing.T) {
	t.Helper()
	var left []string
	for _, dir := range []string{"pods", "plugins"} {
		filepath.WalkDir(filepath.Join(b.cfg.Dir, dir), func(path string, e os.DirEntry, err error) error {
			if err == nil && (!e.IsDir() || strings.Contains(path, "globalmount") || strings.HasSuffix(path, "/mount")) {
				left = append(left, path)
			}
			return nil
		})
	}
	if len(left) > 0 || len(b.users) > 0 || len(b.locks) > 0 || len(b.staged) > 0 {
		t.Errorf("left: files %v, users %v, locks %v, staged %v", left, b.users, b.locks, b.staged)
	}
}

var errBusy = status.Error(codes.Internal, "busy")

func mustFail(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want %q", err, want)
	}
}

func (d *fakeDriver) set(change func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	change()
}
