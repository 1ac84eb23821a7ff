package volume

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"minato/internal/node/csi"
)

// fakeDrivers makes directories, and wants to be asked again after a minute.
type fakeDrivers struct {
	dir     string
	clock   func() time.Time
	err     error
	mu      sync.Mutex
	asked   []csi.Volume // by their names
	endings []types.UID
}

func (f *fakeDrivers) SetUp(_ context.Context, v csi.Volume) (csi.Made, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, v)
	slices.SortFunc(f.asked, func(a, b csi.Volume) int { return strings.Compare(a.Name, b.Name) })
	return csi.Made{Path: f.dir, Again: f.clock().Add(time.Minute)}, f.err
}

func (f *fakeDrivers) TearDown(_ context.Context, uid types.UID) error {
	f.endings = append(f.endings, uid)
	return f.err
}

func (f *fakeDrivers) Stats(_ context.Context, _ types.UID, name string) (csi.Stats, bool) {
	return csi.Stats{Used: 3, Capacity: 10}, name == "pv"
}

// A claim to a volume of a CSI driver is the driver's, again when that is due, and the
// Pod stays until the driver has ended it.
func TestDriver(t *testing.T) {
	b, f, dir := claimBench(t)
	d := &fakeDrivers{dir: dir, clock: b.clock.Now}
	b.cfg.Drivers = d
	f.volumes["pv"].Spec.PersistentVolumeSource = v1.PersistentVolumeSource{CSI: &v1.CSIPersistentVolumeSource{Driver: "d", VolumeHandle: "h"}}
	pod := claiming("u", true)
	pod.Spec.Volumes = append(pod.Spec.Volumes, v1.Volume{Name: "in", VolumeSource: v1.VolumeSource{CSI: &v1.CSIVolumeSource{Driver: "d"}}},
		v1.Volume{Name: "unused", VolumeSource: v1.VolumeSource{CSI: &v1.CSIVolumeSource{Driver: "d"}}})
	pod.Spec.Containers[0].VolumeMounts = append(pod.Spec.Containers[0].VolumeMounts, v1.VolumeMount{Name: "in", MountPath: "/in"})
	d.err = errors.New("not now")
	if _, err := b.SetUp(t.Context(), pod); err == nil || !strings.Contains(err.Error(), "PersistentVolume pv: not now") {
		t.Error(err)
	}
	if _, err := b.Path(pod, "data"); err == nil {
		t.Error("a volume that the driver has not made has a path")
	}
	d.err, d.asked = nil, nil
	for range 2 {
		if renew, err := b.SetUp(t.Context(), pod); err != nil || !renew.Equal(b.clock.Now().Add(time.Minute)) {
			t.Fatal(renew, err)
		}
	}
	if len(d.asked) != 2 || d.asked[0].Claim.Name != "c" || !d.asked[0].ReadOnly || d.asked[1].Inline == nil {
		t.Errorf("asked %+v", d.asked)
	}
	b.clock.SetTime(b.clock.Now().Add(2 * time.Minute))
	d.err = errors.New("later")
	for range 2 {
		d.asked = nil
		if _, err := b.SetUp(t.Context(), pod); err == nil || len(d.asked) != 2 {
			t.Errorf("after a driver failed that was asked again: %v, asked %+v", err, d.asked)
		}
	}
	mounts, err := b.Mounts(pod, &pod.Spec.Containers[0], nil, nil)
	if err != nil || mounts[0].HostPath != dir || !mounts[0].Readonly {
		t.Errorf("mounts %v %v", mounts, err)
	}
	if s := b.Stats(t.Context(), pod); len(s) != 1 || s[0].Claim != "c" || s[0].Used != 3 || s[0].Capacity != 10 {
		t.Errorf("stats %+v", s)
	}
	if err := b.TearDown(t.Context(), "u"); err == nil || !strings.Contains(err.Error(), "later") {
		t.Error(err)
	}
	if _, err := os.Stat(b.PodDir("u")); err != nil {
		t.Error("what the driver has not ended was removed")
	}
	d.err = nil
	if err := b.TearDown(t.Context(), "u"); err != nil {
		t.Error(err)
	}
}

// A local block volume is a device of the Pod's own with the numbers that the path has
// when the Pod starts.
func TestBlock(t *testing.T) {
	b, f, dir := claimBench(t)
	device := filepath.Join(dir, "device")
	if err := unix.Mknod(device, unix.S_IFBLK|0o600, int(unix.Mkdev(7, 0))); err != nil {
		t.Skip("needs root, to make a device:", err)
	}
	f.volumes["pv"].Spec.VolumeMode = ptr(v1.PersistentVolumeBlock)
	f.volumes["pv"].Spec.Local.Path = device
	pod := claiming("u", true)
	c := &pod.Spec.Containers[0]
	c.VolumeMounts, c.VolumeDevices = nil, []v1.VolumeDevice{{Name: "data", DevicePath: "/dev/x"}}
	if _, err := b.Devices(pod, c); err == nil {
		t.Error("a device of a volume that is not set up")
	}
	if _, err := b.SetUp(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	devices, err := b.Devices(pod, c)
	if err != nil || len(devices) != 1 || devices[0].ContainerPath != "/dev/x" || devices[0].Permissions != "mr" {
		t.Fatalf("%v %v", devices, err)
	}
	if err := os.Remove(device); err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Lstat(devices[0].HostPath, &st); err != nil || st.Rdev != unix.Mkdev(7, 0) || st.Mode&unix.S_IFMT != unix.S_IFBLK {
		t.Errorf("%+v %v", st, err)
	}
	if err := b.TearDown(t.Context(), "u"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(b.PodDir("u")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("left: %v", err)
	}
}

// waitingDrivers answers once all that are to be asked at the same time are.
type waitingDrivers struct {
	fakeDrivers
	together sync.WaitGroup
}

func (f *waitingDrivers) SetUp(_ context.Context, v csi.Volume) (csi.Made, error) {
	f.together.Done()
	f.together.Wait()
	if v.Name == "v2" {
		panic("v2")
	}
	return csi.Made{Path: f.dir}, nil
}

// Volumes that drivers make are waited for side by side, and a fault in one of them is an
// error of that one.
func TestDriversSideBySide(t *testing.T) {
	b, _, dir := claimBench(t)
	d := &waitingDrivers{fakeDrivers: fakeDrivers{dir: dir, clock: b.clock.Now}}
	b.cfg.Drivers = d
	pod := claiming("u", false)
	pod.Spec.Volumes = nil
	for i := range sideBySide {
		pod.Spec.Containers[0].VolumeMounts = append(pod.Spec.Containers[0].VolumeMounts, v1.VolumeMount{Name: fmt.Sprintf("v%d", i), MountPath: fmt.Sprintf("/v%d", i)})
		pod.Spec.Volumes = append(pod.Spec.Volumes, v1.Volume{Name: fmt.Sprintf("v%d", i), VolumeSource: v1.VolumeSource{CSI: &v1.CSIVolumeSource{Driver: "d"}}})
	}
	d.together.Add(sideBySide)
	_, err := b.SetUp(t.Context(), pod)
	if err == nil || !strings.Contains(err.Error(), `volume "v2" : the node agent has a fault`) || strings.Contains(err.Error(), `"v1"`) {
		t.Error(err)
	}
	if path, err := b.Path(pod, "v1"); err != nil || path != dir {
		t.Error(path, err)
	}
}

func TestAwaited(t *testing.T) {
	pod := &v1.Pod{}
	claim := func(name string) v1.VolumeSource {
		return v1.VolumeSource{PersistentVolumeClaim: &v1.PersistentVolumeClaimVolumeSource{ClaimName: name}}
	}
	for _, source := range []v1.VolumeSource{
		claim("a"), {EmptyDir: &v1.EmptyDirVolumeSource{}}, claim("b"), claim("a"), {Ephemeral: &v1.EphemeralVolumeSource{}}, {CSI: &v1.CSIVolumeSource{}},
	} {
		pod.Spec.Volumes = append(pod.Spec.Volumes, v1.Volume{Name: fmt.Sprint(len(pod.Spec.Volumes)), VolumeSource: source})
	}
	if got := fmt.Sprint(awaited(pod, map[string]bool{"0": true, "1": true, "2": true, "3": true, "4": true})); got != "[[0 3] [2] [4]]" {
		t.Error(got)
	}
}

// What no container names is left alone, whatever it is: the Pod runs without it.
func TestUnusedVolumes(t *testing.T) {
	b := newBench(t)
	pod := podWith(v1.VolumeSource{EmptyDir: &v1.EmptyDirVolumeSource{}})
	pod.Spec.Volumes = append(pod.Spec.Volumes,
		v1.Volume{Name: "map", VolumeSource: v1.VolumeSource{ConfigMap: &v1.ConfigMapVolumeSource{LocalObjectReference: v1.LocalObjectReference{Name: "absent"}}}},
		v1.Volume{Name: "claim", VolumeSource: v1.VolumeSource{PersistentVolumeClaim: &v1.PersistentVolumeClaimVolumeSource{ClaimName: "absent"}}})
	if _, err := b.SetUp(t.Context(), pod); err != nil {
		t.Error(err)
	}
	if path, err := b.Path(pod, "data"); err != nil || !isDir(path) {
		t.Error(path, err)
	}
	// An ephemeral container comes later, and names one.
	pod.Spec.EphemeralContainers = []v1.EphemeralContainer{{EphemeralContainerCommon: v1.EphemeralContainerCommon{Name: "e", VolumeMounts: []v1.VolumeMount{{Name: "map", MountPath: "/m"}}}}}
	if _, err := b.SetUp(t.Context(), pod); err == nil || !strings.Contains(err.Error(), `configmap "absent" not found`) {
		t.Error(err)
	}
	pod.Spec.EphemeralContainers, pod.Spec.InitContainers = nil, []v1.Container{{Name: "i", VolumeDevices: []v1.VolumeDevice{{Name: "claim", DevicePath: "/dev/x"}}}}
	if _, err := b.SetUp(t.Context(), pod); err == nil || !strings.Contains(err.Error(), `persistentvolumeclaim "absent" not found`) {
		t.Error(err)
	}
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}
