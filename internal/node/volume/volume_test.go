package volume

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	authv1 "k8s.io/api/authentication/v1"
	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	testclock "k8s.io/utils/clock/testing"

	"minato/internal/host"
)

type fakeObjects struct {
	configMaps map[string]*v1.ConfigMap
	secrets    map[string]*v1.Secret
}

func (o *fakeObjects) ConfigMap(_ context.Context, _ types.UID, _, name string) (*v1.ConfigMap, error) {
	if cm := o.configMaps[name]; cm != nil {
		return cm, nil
	}
	return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "configmap"}, name)
}

func (o *fakeObjects) Secret(_ context.Context, _ types.UID, _, name string) (*v1.Secret, error) {
	if s := o.secrets[name]; s != nil {
		return s, nil
	}
	return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "secret"}, name)
}

type fakeTokens struct {
	clock    *testclock.FakePassiveClock
	requests []*authv1.TokenRequest
}

func (f *fakeTokens) Token(_ context.Context, _, _ string, req *authv1.TokenRequest) (*authv1.TokenRequest, error) {
	f.requests = append(f.requests, req)
	got := req.DeepCopy()
	got.Status = authv1.TokenRequestStatus{
		Token:               "token-" + string(rune('0'+len(f.requests))),
		ExpirationTimestamp: metav1.NewTime(f.clock.Now().Add(time.Duration(*req.Spec.ExpirationSeconds) * time.Second)),
	}
	return got, nil
}

// fakeMounter keeps a list instead of mounting, and copies a bind's source by
// name, so that a test sees what would have been mounted.
type fakeMounter struct {
	mounts map[string]string
	tmpfs  int // how many were mounted
	stuck  bool
	nfs    func(path string, e host.NFS) error
	looked []string // where mounts were looked for
	device *fakeDevice
}

func (m *fakeMounter) MountNFS(_ context.Context, path string, e host.NFS) error {
	if m.nfs != nil {
		return m.nfs(path, e)
	}
	return host.ErrNoNFS
}
func (m *fakeMounter) MountTmpfs(path, options string) error {
	m.tmpfs++
	m.mounts[path] = options
	return nil
}
func (m *fakeMounter) MountHugePages(path string, size, limit int64, options string) error {
	m.mounts[path] = fmt.Sprintf("%d,%d,%s", size, limit, options)
	return nil
}
func (m *fakeMounter) BindMount(source, target string, _ bool) error {
	real, err := os.Readlink(source)
	m.mounts[target] = real
	return err
}
func (m *fakeMounter) BindWith(source *os.File, target string, options []string, readOnly bool) error {
	m.mounts[target] = fmt.Sprintf("%s %v %v", source.Name(), options, readOnly)
	return nil
}
func (m *fakeMounter) OpenDevice(place *os.File) (Device, error) {
	m.device.opened = append(m.device.opened, place.Name())
	return m.device, nil
}
func (m *fakeMounter) Unmount(path string) error { delete(m.mounts, path); return nil }
func (m *fakeMounter) UnmountAllUnder(dir string) error {
	for p := range m.mounts {
		if strings.HasPrefix(p, dir) && !m.stuck {
			delete(m.mounts, p)
		}
	}
	return nil
}
func (m *fakeMounter) ClearTree(dir string) error {
	_ = m.UnmountAllUnder(dir) // never fails
	if left, _ := m.MountsUnder(dir); len(left) > 0 {
		return fmt.Errorf("%v: %w", left, host.ErrMounted)
	}
	return host.RemoveTree(dir)
}
func (m *fakeMounter) MountsUnder(dir string) ([]string, error) {
	m.looked = append(m.looked, dir)
	var out []string
	for p := range m.mounts {
		if strings.HasPrefix(p, dir) {
			out = append(out, p)
		}
	}
	return out, nil
}

func (m *fakeMounter) ShareMounts(string) error { return nil }

type bench struct {
	*Manager
	objects *fakeObjects
	tokens  *fakeTokens
	mounter *fakeMounter
	clock   *testclock.FakePassiveClock
}

func newBench(t *testing.T) *bench {
	clk := testclock.NewFakePassiveClock(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
	b := &bench{
		objects: &fakeObjects{configMaps: map[string]*v1.ConfigMap{}, secrets: map[string]*v1.Secret{}},
		tokens:  &fakeTokens{clock: clk},
		mounter: &fakeMounter{mounts: map[string]string{}},
		clock:   clk,
	}
	dir := t.TempDir()
	b.Manager = New(Config{
		Dir: filepath.Join(dir, "disk"), MemoryDir: filepath.Join(dir, "memory"),
		Objects: b.objects, Claims: &fakeClaims{}, Tokens: b.tokens, Mounter: b.mounter, Clock: clk,
		Allocatable: func() v1.ResourceList { return v1.ResourceList{v1.ResourceCPU: resource.MustParse("4")} },
	})
	return b
}

func podWith(source v1.VolumeSource) *v1.Pod {
	return &v1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p", UID: "u", Labels: map[string]string{"a": "1"}},
		Spec: v1.PodSpec{
			ServiceAccountName: "robot",
			Volumes:            []v1.Volume{{Name: "data", VolumeSource: source}},
			Containers:         []v1.Container{{Name: "c", VolumeMounts: []v1.VolumeMount{{Name: "data", MountPath: "/data"}}}},
		},
	}
}

// content reads a volume as a container would see it: NAME -> "MODE TEXT".
func (b *bench) content(t *testing.T, pod *v1.Pod) map[string]string {
	t.Helper()
	if _, err := b.SetUp(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	dir, err := b.Path(pod, "data")
	if err != nil {
		t.Fatal(err)
	}
	data, err := filepath.EvalSymlinks(filepath.Join(dir, "..data"))
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	err = filepath.WalkDir(data, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, _ := filepath.Rel(data, p)
		text, err := os.ReadFile(filepath.Join(dir, name)) // by way of the links
		info, _ := d.Info()
		got[name] = strings.TrimPrefix(info.Mode().String(), "-") + " " + string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func expect(t *testing.T, got map[string]string, want map[string]string) {
	t.Helper()
	for name := range got {
		if _, ok := want[name]; !ok {
			t.Errorf("%s = %q is too much", name, got[name])
		}
	}
	for name := range want {
		if got[name] != want[name] {
			t.Errorf("%s = %q, want %q", name, got[name], want[name])
		}
	}
}

func TestConfigMapVolume(t *testing.T) {
	b := newBench(t)
	b.objects.configMaps["cm"] = &v1.ConfigMap{Data: map[string]string{"k": "v", "x": "y"}, BinaryData: map[string][]byte{"bin": {1}}}
	source := &v1.ConfigMapVolumeSource{LocalObjectReference: v1.LocalObjectReference{Name: "cm"}}
	pod := podWith(v1.VolumeSource{ConfigMap: source})
	expect(t, b.content(t, pod), map[string]string{"k": "rw-r--r-- v", "x": "rw-r--r-- y", "bin": "rw-r--r-- \x01"})

	// An update changes everything at once, and takes old names away.
	dir, _ := b.Path(pod, "data")
	before, _ := os.Readlink(filepath.Join(dir, "..data"))
	if b.content(t, pod); dataTarget(t, dir) != before {
		t.Error("setting up an unchanged volume replaced it")
	}
	b.objects.configMaps["cm"] = &v1.ConfigMap{Data: map[string]string{"k": "w"}}
	expect(t, b.content(t, pod), map[string]string{"k": "rw-r--r-- w"})
	entries, _ := os.ReadDir(dir)
	if len(entries) != 3 { // ..data, its target, k
		t.Errorf("left in the volume: %v", entries)
	}

	mode, private := int32(0o400), int32(0o600)
	source.DefaultMode = &mode
	source.Items = []v1.KeyToPath{{Key: "k", Path: "sub/dir/file"}, {Key: "k", Path: "other", Mode: &private}}
	expect(t, b.content(t, pod), map[string]string{"sub/dir/file": "r-------- w", "other": "rw------- w"})
}

func dataTarget(t *testing.T, dir string) string {
	t.Helper()
	target, err := os.Readlink(filepath.Join(dir, "..data"))
	if err != nil {
		t.Fatal(err)
	}
	return target
}

func TestMissingSources(t *testing.T) {
	yes := true
	ref := v1.LocalObjectReference{Name: "absent"}
	for _, c := range []struct {
		source v1.VolumeSource
		want   string
	}{
		{v1.VolumeSource{ConfigMap: &v1.ConfigMapVolumeSource{LocalObjectReference: ref}}, `MountVolume.SetUp failed for volume "data" : configmap "absent" not found`},
		{v1.VolumeSource{Secret: &v1.SecretVolumeSource{SecretName: "absent"}}, `secret "absent" not found`},
		{v1.VolumeSource{ConfigMap: &v1.ConfigMapVolumeSource{LocalObjectReference: v1.LocalObjectReference{Name: "cm"}, Items: []v1.KeyToPath{{Key: "no", Path: "p"}}}}, "references non-existent config key: no"},
		{v1.VolumeSource{ConfigMap: &v1.ConfigMapVolumeSource{LocalObjectReference: v1.LocalObjectReference{Name: "cm"}, Items: []v1.KeyToPath{{Key: "k", Path: "../p"}}}}, "may not begin with '..'"},
		{v1.VolumeSource{ConfigMap: &v1.ConfigMapVolumeSource{LocalObjectReference: ref, Optional: &yes}}, ""},
		{v1.VolumeSource{Secret: &v1.SecretVolumeSource{SecretName: "absent", Optional: &yes}}, ""},
		{v1.VolumeSource{ISCSI: &v1.ISCSIVolumeSource{}}, "volumes of type iscsi are not supported"},
		{v1.VolumeSource{PersistentVolumeClaim: &v1.PersistentVolumeClaimVolumeSource{ClaimName: "absent"}}, `persistentvolumeclaim "absent" not found`},
	} {
		b := newBench(t)
		b.objects.configMaps["cm"] = &v1.ConfigMap{Data: map[string]string{"k": "v"}}
		_, err := b.SetUp(t.Context(), podWith(c.source))
		if (c.want == "") != (err == nil) || (err != nil && !strings.Contains(err.Error(), c.want)) {
			t.Errorf("error = %v, want %q", err, c.want)
		}
		var ve *Error
		if err != nil && (!errors.As(err, &ve) || ve.Volume != "data") {
			t.Errorf("error %v does not name the volume", err)
		}
	}
}

func TestSecretsStayOffTheDisk(t *testing.T) {
	b := newBench(t)
	b.objects.secrets["s"] = &v1.Secret{Data: map[string][]byte{"k": []byte("v")}}
	group := int64(os.Getgid())
	pod := podWith(v1.VolumeSource{Secret: &v1.SecretVolumeSource{SecretName: "s"}})
	pod.Spec.SecurityContext = &v1.PodSecurityContext{FSGroup: &group}
	mode := int32(0o400)
	pod.Spec.Volumes[0].Secret.DefaultMode = &mode
	expect(t, b.content(t, pod), map[string]string{"k": "r--r----- v"})
	if p, _ := b.Path(pod, "data"); !strings.HasPrefix(p, b.cfg.MemoryDir) {
		t.Errorf("a secret is kept at %s", p)
	}
}

func TestDownwardVolumeFollowsThePod(t *testing.T) {
	b := newBench(t)
	pod := podWith(v1.VolumeSource{DownwardAPI: &v1.DownwardAPIVolumeSource{Items: []v1.DownwardAPIVolumeFile{
		{Path: "labels", FieldRef: &v1.ObjectFieldSelector{FieldPath: "metadata.labels"}},
		{Path: "cpu", ResourceFieldRef: &v1.ResourceFieldSelector{ContainerName: "c", Resource: "limits.cpu"}},
	}}})
	expect(t, b.content(t, pod), map[string]string{"labels": `rw-r--r-- a="1"`, "cpu": "rw-r--r-- 4"})
	pod.Labels["a"] = "2"
	expect(t, b.content(t, pod), map[string]string{"labels": `rw-r--r-- a="2"`, "cpu": "rw-r--r-- 4"})
}

func TestProjectedTokenIsRenewed(t *testing.T) {
	b := newBench(t)
	b.objects.configMaps["kube-root-ca.crt"] = &v1.ConfigMap{Data: map[string]string{"ca.crt": "CA"}}
	seconds := int64(3607)
	pod := podWith(v1.VolumeSource{Projected: &v1.ProjectedVolumeSource{Sources: []v1.VolumeProjection{
		{ServiceAccountToken: &v1.ServiceAccountTokenProjection{Path: "token", ExpirationSeconds: &seconds, Audience: "aud"}},
		{ConfigMap: &v1.ConfigMapProjection{LocalObjectReference: v1.LocalObjectReference{Name: "kube-root-ca.crt"}}},
		{DownwardAPI: &v1.DownwardAPIProjection{Items: []v1.DownwardAPIVolumeFile{{Path: "namespace", FieldRef: &v1.ObjectFieldSelector{FieldPath: "metadata.namespace"}}}}},
	}}})
	want := map[string]string{"token": "rw-r--r-- token-1", "ca.crt": "rw-r--r-- CA", "namespace": "rw-r--r-- ns"}
	expect(t, b.content(t, pod), want)
	expect(t, b.content(t, pod), want) // kept, not asked for again
	req := b.tokens.requests[0]
	if req.Spec.Audiences[0] != "aud" || req.Spec.BoundObjectRef.UID != "u" || *req.Spec.ExpirationSeconds != 3607 {
		t.Errorf("request = %+v", req.Spec)
	}
	renew, err := b.SetUp(t.Context(), pod)
	if err != nil {
		t.Fatal(err)
	}
	if d := renew.Sub(b.clock.Now()); d > 2886*time.Second || d < 2870*time.Second {
		t.Errorf("the token is renewed after %v, want four fifths of 3607 s", d)
	}
	b.clock.SetTime(renew)
	want["token"] = "rw-r--r-- token-2"
	expect(t, b.content(t, pod), want)

	// The clock is set: to when the token has expired, and to before it was issued.
	b.clock.SetTime(b.clock.Now().Add(48 * time.Hour))
	want["token"] = "rw-r--r-- token-3"
	expect(t, b.content(t, pod), want)
	b.clock.SetTime(b.clock.Now().Add(-24 * time.Hour))
	want["token"] = "rw-r--r-- token-4"
	expect(t, b.content(t, pod), want)
	b.clock.SetTime(b.clock.Now().Add(-time.Second)) // as NTP does
	expect(t, b.content(t, pod), want)

	user := int64(os.Getuid())
	pod.Spec.SecurityContext = &v1.PodSecurityContext{RunAsUser: &user}
	want["token"] = "rw------- token-4"
	expect(t, b.content(t, pod), want)
}

func TestEmptyDir(t *testing.T) {
	b := newBench(t)
	pod := podWith(v1.VolumeSource{EmptyDir: &v1.EmptyDirVolumeSource{}})
	if _, err := b.SetUp(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	dir, _ := b.Path(pod, "data")
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o777 {
		t.Errorf("%v, %v", info, err)
	}
	// What a container makes of its volume stays as it is.
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := b.SetUp(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the mode that a container set became %v, %v", info.Mode(), err)
	}
	if err := b.TearDown(t.Context(), "u"); err != nil {
		t.Fatal(err)
	}
	if uids, err := b.UIDs(); err != nil || len(uids) != 0 {
		t.Errorf("left: %v, %v", uids, err)
	}
	if err := b.TearDown(t.Context(), "u"); err != nil {
		t.Error(err)
	}
}

func TestEmptyDirGivesTheGroupOn(t *testing.T) {
	b := newBench(t)
	group := int64(os.Getgid())
	pod := podWith(v1.VolumeSource{EmptyDir: &v1.EmptyDirVolumeSource{}})
	pod.Spec.SecurityContext = &v1.PodSecurityContext{FSGroup: &group}
	if _, err := b.SetUp(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	dir, _ := b.Path(pod, "data")
	if info, err := os.Stat(dir); err != nil || info.Mode() != fs.ModeDir|fs.ModeSetgid|0o777 {
		t.Errorf("mode = %v, %v, want the set-group-ID bit", info.Mode(), err)
	}
}

func TestEmptyDirInMemory(t *testing.T) {
	quantity := func(s string) *resource.Quantity { q := resource.MustParse(s); return &q }
	for _, c := range []struct {
		name        string
		limit       *resource.Quantity
		containers  []string // their memory limits
		group       *int64
		wantOptions string
	}{
		{name: "no limit at all", wantOptions: "mode=0777,noswap"},
		{name: "the volume's limit", limit: quantity("1Mi"), wantOptions: "mode=0777,noswap,size=1048576"},
		{name: "a limit of zero is none", limit: quantity("0"), wantOptions: "mode=0777,noswap"},
		{name: "the containers' limits", containers: []string{"1Mi", "2Mi"}, wantOptions: "mode=0777,noswap,size=3145728"},
		{name: "the smaller of both", limit: quantity("8Mi"), containers: []string{"1Mi"}, wantOptions: "mode=0777,noswap,size=1048576"},
		{name: "one container without limit", limit: quantity("8Mi"), containers: []string{"1Mi", ""}, wantOptions: "mode=0777,noswap,size=8388608"},
		{name: "a group", group: new(int64), wantOptions: "mode=02777,gid=0,noswap"},
	} {
		b := newBench(t)
		pod := podWith(v1.VolumeSource{EmptyDir: &v1.EmptyDirVolumeSource{Medium: v1.StorageMediumMemory, SizeLimit: c.limit}})
		if c.group != nil {
			pod.Spec.SecurityContext = &v1.PodSecurityContext{FSGroup: c.group}
		}
		if c.containers != nil {
			pod.Spec.Containers = nil
		}
		for _, limit := range c.containers {
			r := v1.ResourceList{}
			if limit != "" {
				r[v1.ResourceMemory] = resource.MustParse(limit)
			}
			pod.Spec.Containers = append(pod.Spec.Containers, v1.Container{Resources: v1.ResourceRequirements{Limits: r}, VolumeMounts: []v1.VolumeMount{{Name: "data", MountPath: "/data"}}})
		}
		dir, _ := b.Path(pod, "data")
		for range 2 {
			if _, err := b.SetUp(t.Context(), pod); err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
		}
		if b.mounter.mounts[dir] != c.wantOptions || b.mounter.tmpfs != 1 {
			t.Errorf("%s: %d mounts with %q, want one with %q", c.name, b.mounter.tmpfs, b.mounter.mounts[dir], c.wantOptions)
		}
		// The next agent finds it mounted.
		b.Manager = New(b.Manager.cfg)
		if _, err := b.SetUp(t.Context(), pod); err != nil || b.mounter.tmpfs != 1 {
			t.Errorf("%s: mounted %d times, %v", c.name, b.mounter.tmpfs, err)
		}
	}
}

func TestTearDownSparesWhatIsStillMounted(t *testing.T) {
	b := newBench(t)
	pod := podWith(v1.VolumeSource{EmptyDir: &v1.EmptyDirVolumeSource{}})
	if _, err := b.SetUp(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	dir, _ := b.Path(pod, "data")
	if err := os.WriteFile(filepath.Join(dir, "precious"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	b.mounter.mounts[dir], b.mounter.stuck = "", true
	if err := b.TearDown(t.Context(), "u"); err == nil {
		t.Error("no error though something is still mounted")
	}
	if _, err := os.Stat(filepath.Join(dir, "precious")); err != nil {
		t.Error(err)
	}
}

func TestHostPath(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		kind v1.HostPathType
		path string
		ok   bool
	}{
		{v1.HostPathFileOrCreate, file, true},
		{v1.HostPathFileOrCreate, fifo, false}, // to open it would be to wait for a writer
		{v1.HostPathUnset, filepath.Join(dir, "whatever"), true},
		{v1.HostPathDirectory, dir, true},
		{v1.HostPathDirectory, file, false},
		{v1.HostPathDirectory, filepath.Join(dir, "absent"), false},
		{v1.HostPathDirectoryOrCreate, filepath.Join(dir, "new/dir"), true},
		{v1.HostPathFile, file, true},
		{v1.HostPathFile, dir, false},
		{v1.HostPathFileOrCreate, filepath.Join(dir, "newfile"), true},
		{v1.HostPathSocket, file, false},
		{v1.HostPathCharDev, "/dev/null", true},
		{v1.HostPathBlockDev, "/dev/null", false},
	} {
		err := checkHostPath((*host.InRoot)(nil), &v1.HostPathVolumeSource{Path: c.path, Type: &c.kind})
		if (err == nil) != c.ok {
			t.Errorf("%s %q: %v, want ok = %v", c.path, c.kind, err, c.ok)
		}
	}
	for name, isDir := range map[string]bool{"whatever": true, "new/dir": true, "newfile": false} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.IsDir() != isDir {
			t.Errorf("%s was not made: %v", name, err)
		}
	}
}

// The runtime mounts an image; a part of it is the runtime's to find.
func TestImageVolume(t *testing.T) {
	b := newBench(t)
	pod := podWith(v1.VolumeSource{Image: &v1.ImageVolumeSource{Reference: "example.com/data:1"}})
	if _, err := b.SetUp(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	c := &v1.Container{Name: "c", VolumeMounts: []v1.VolumeMount{{Name: "data", MountPath: "all"}, {Name: "data", MountPath: "/part", SubPathExpr: "$(DIR)/file"}}}
	env := []*runtimeapi.KeyValue{{Key: "DIR", Value: []byte("etc")}}
	if _, err := b.Mounts(pod, c, env, nil); err == nil {
		t.Error("it is mounted without an image")
	}
	image := &runtimeapi.ImageSpec{Image: "sha256:1"}
	got, err := b.Mounts(pod, c, env, map[string]*runtimeapi.ImageSpec{"data": image})
	if err != nil || len(got) != 2 {
		t.Fatalf("mounts = %v, %v", got, err)
	}
	for i, want := range []struct{ path, sub string }{{"/all", ""}, {"/part", "etc/file"}} {
		if m := got[i]; m.ContainerPath != want.path || m.ImageSubPath != want.sub || m.Image != image || !m.Readonly || m.HostPath != "" {
			t.Errorf("mount %d = %+v", i, m)
		}
	}
}

func TestSubPaths(t *testing.T) {
	b := newBench(t)
	pod := podWith(v1.VolumeSource{EmptyDir: &v1.EmptyDirVolumeSource{}})
	if _, err := b.SetUp(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	dir, _ := b.Path(pod, "data")
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc", filepath.Join(dir, "escape")); err != nil {
		t.Fatal(err)
	}
	mounts := func(m v1.VolumeMount, env ...*runtimeapi.KeyValue) (*runtimeapi.Mount, error) {
		m.Name, m.MountPath = "data", "target"
		got, err := b.Mounts(pod, &v1.Container{Name: "c", VolumeMounts: []v1.VolumeMount{m}}, env, nil)
		if err != nil {
			return nil, err
		}
		return got[0], nil
	}
	plain, err := mounts(v1.VolumeMount{ReadOnly: true})
	if err != nil || plain.HostPath != dir || plain.ContainerPath != "/target" || !plain.Readonly {
		t.Errorf("mount = %+v, %v", plain, err)
	}
	for sub, want := range map[string]string{"file": "file", "new/dir": "new/dir"} {
		for range 2 { // a restarted container mounts it again
			got, err := mounts(v1.VolumeMount{SubPath: sub})
			if err != nil || b.mounter.mounts[got.HostPath] != filepath.Join(dir, want) {
				t.Errorf("subPath %s: %+v, %v, mounts %v", sub, got, err, b.mounter.mounts)
			}
		}
	}
	got, err := mounts(v1.VolumeMount{SubPathExpr: "logs/$(POD)"}, &runtimeapi.KeyValue{Key: "POD", Value: []byte("web")})
	if err != nil || b.mounter.mounts[got.HostPath] != filepath.Join(dir, "logs/web") {
		t.Errorf("subPathExpr: %+v, %v", got, err)
	}
	if info, err := os.Stat(filepath.Join(dir, "new/dir")); err != nil || info.Mode().Perm() != 0o777 {
		t.Errorf("a directory made for a subPath has not the volume's mode: %v, %v", info.Mode(), err)
	}
	whole, err := mounts(v1.VolumeMount{SubPathExpr: "$(EMPTY)"}, &runtimeapi.KeyValue{Key: "EMPTY"})
	if err != nil || whole.HostPath != dir {
		t.Errorf("a subPathExpr that is empty in the end: %+v, %v; want all of the volume", whole, err)
	}
	for _, bad := range []v1.VolumeMount{{SubPath: "escape"}, {SubPath: "escape/passwd"}, {SubPath: "../x"}, {SubPathExpr: "$(UNKNOWN)"}, {SubPathExpr: "$(UP)/x"}} {
		if got, err := mounts(bad, &runtimeapi.KeyValue{Key: "UP", Value: []byte("..")}); err == nil {
			t.Errorf("%+v gave %+v, want an error", bad, got)
		}
	}
}
