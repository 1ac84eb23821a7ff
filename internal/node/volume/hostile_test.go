package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	v1 "k8s.io/api/core/v1"
)

// A container may be privileged and have its volumes writable all the same.
// Whatever it makes of them, the node writes and reads nothing elsewhere.

// hostile is a ConfigMap volume, and a directory that is none of its business.
func hostile(t *testing.T) (b *bench, pod *v1.Pod, dir, outside string) {
	t.Helper()
	b = newBench(t)
	b.objects.configMaps["cm"] = &v1.ConfigMap{Data: map[string]string{"key": "v", "other": "w"}}
	pod = podWith(v1.VolumeSource{ConfigMap: &v1.ConfigMapVolumeSource{LocalObjectReference: v1.LocalObjectReference{Name: "cm"}}})
	if _, err := b.SetUp(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	dir, err := b.Path(pod, "data")
	if err != nil {
		t.Fatal(err)
	}
	outside = t.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "precious"), []byte("p"), 0o600); err != nil {
		t.Fatal(err)
	}
	return b, pod, dir, outside
}

func untouched(t *testing.T, outside string) {
	t.Helper()
	entries, err := os.ReadDir(outside)
	if err != nil || len(entries) != 1 || entries[0].Name() != "precious" {
		t.Errorf("the directory outside has %v, %v; want precious alone", entries, err)
	}
	info, err := os.Stat(filepath.Join(outside, "precious"))
	if err != nil || info.Mode() != 0o600 || info.Size() != 1 {
		t.Errorf("the file outside is %v, %v", info, err)
	}
}

func TestLinksPlantedInAVolumeLeadNowhere(t *testing.T) {
	for name, plant := range map[string]func(dir, outside string) error{
		"..data":              func(dir, outside string) error { return os.Symlink(outside, filepath.Join(dir, "..data")) },
		"..data_tmp":          func(dir, outside string) error { return os.Symlink(outside, filepath.Join(dir, "..data_tmp")) },
		"..data_tmp, a dir":   func(dir, outside string) error { return os.MkdirAll(filepath.Join(dir, "..data_tmp/x"), 0o755) },
		"a file's name":       func(dir, outside string) error { return os.Symlink(outside, filepath.Join(dir, "key")) },
		"a former generation": func(dir, outside string) error { return os.Symlink(outside, filepath.Join(dir, "..2020_01_01.1")) },
	} {
		t.Run(name, func(t *testing.T) {
			b, pod, dir, outside := hostile(t)
			for _, link := range []string{"..data", "key"} {
				if err := os.Remove(filepath.Join(dir, link)); err != nil {
					t.Fatal(err)
				}
			}
			if err := plant(dir, outside); err != nil {
				t.Fatal(err)
			}
			b.objects.configMaps["cm"] = &v1.ConfigMap{Data: map[string]string{"key": "new"}}
			expect(t, b.content(t, pod), map[string]string{"key": "rw-r--r-- new"})
			untouched(t, outside)
		})
	}
}

// The directory that a new generation is written to is swapped for a link the
// moment it appears.
func TestGenerationSwappedForALink(t *testing.T) {
	b, pod, dir, outside := hostile(t)
	data := map[string]string{}
	for i := range 100 {
		data[fmt.Sprintf("key-%d", i)] = "v"
	}
	known := map[string]bool{}
	for _, e := range must(os.ReadDir(dir)) {
		known[e.Name()] = true
	}
	var swapped atomic.Int32
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
			}
			entries, _ := os.ReadDir(dir)
			for _, e := range entries {
				if p := filepath.Join(dir, e.Name()); e.IsDir() && !known[e.Name()] {
					known[e.Name()] = true
					os.Rename(p, p+".away")
					known[e.Name()+".away"] = true
					if os.Symlink(outside, p) == nil {
						swapped.Add(1)
					}
				}
			}
		}
	}()
	deadline := time.Now().Add(10 * time.Second)
	for i := 0; swapped.Load() < 3 && time.Now().Before(deadline); i++ {
		data["round"] = fmt.Sprint(i)
		b.objects.configMaps["cm"] = &v1.ConfigMap{Data: data}
		b.SetUp(t.Context(), pod) // which may fail: then the next one mends it
	}
	close(stop)
	<-stopped
	if swapped.Load() == 0 {
		t.Error("no directory was swapped in time")
	}
	untouched(t, outside)
	data["round"] = "last"
	if got := b.content(t, pod); len(got) != 101 || got["round"] != "rw-r--r-- last" {
		t.Errorf("%d files, round = %q", len(got), got["round"])
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// A file that a container has grown to 300 GiB is not read to learn whether it
// has to be written anew.
func TestGrownFilesAreNotRead(t *testing.T) {
	b, pod, dir, _ := hostile(t)
	if err := os.Truncate(filepath.Join(dir, "..data/key"), 300<<30); err != nil {
		t.Skipf("the file system takes no such file: %v", err)
	}
	b.objects.configMaps["cm"] = &v1.ConfigMap{Data: map[string]string{"key": "new"}}
	expect(t, b.content(t, pod), map[string]string{"key": "rw-r--r-- new"})
}

func TestMountPointsBelowAReadOnlyVolume(t *testing.T) {
	b, pod, dir, _ := hostile(t)
	pod.Spec.Containers[0].VolumeMounts = []v1.VolumeMount{
		{Name: "data", MountPath: "/etc/app"},
		{Name: "x", MountPath: "/etc/app/cache/"},
		{Name: "x", MountPath: "/etc/app/cache/deep"},
		{Name: "x", MountPath: "/etc/app/a/b"},
		{Name: "x", MountPath: "/etc/application"},
		{Name: "x", MountPath: "/etc"},
		{Name: "data", MountPath: "/etc/app/key/x", SubPath: "key"},
	}
	want := []string{"a/b", "cache", "key/x"}
	if got := nestedMountPoints(pod, "data"); !slices.Equal(got, want) {
		t.Errorf("mount points = %v, want %v", got, want)
	}
	pod.Spec.Containers[0].VolumeMounts = pod.Spec.Containers[0].VolumeMounts[:6]
	for range 2 {
		if _, err := b.SetUp(t.Context(), pod); err != nil {
			t.Fatal(err)
		}
		for _, p := range want[:2] {
			if info, err := os.Stat(filepath.Join(dir, p)); err != nil || !info.IsDir() {
				t.Errorf("no mount point %s: %v", p, err)
			}
		}
		b.objects.configMaps["cm"] = &v1.ConfigMap{Data: map[string]string{"key": "again"}}
	}
}

func TestAPIVolumesAreReadOnlyForContainers(t *testing.T) {
	b := newBench(t)
	b.objects.configMaps["cm"] = &v1.ConfigMap{Data: map[string]string{"key": "v"}}
	b.objects.secrets["s"] = &v1.Secret{Data: map[string][]byte{"key": []byte("v")}}
	cm, s := v1.LocalObjectReference{Name: "cm"}, v1.LocalObjectReference{Name: "s"}
	for name, c := range map[string]struct {
		source v1.VolumeSource
		want   bool
	}{
		"configMap":   {v1.VolumeSource{ConfigMap: &v1.ConfigMapVolumeSource{LocalObjectReference: cm}}, true},
		"secret":      {v1.VolumeSource{Secret: &v1.SecretVolumeSource{SecretName: "s"}}, true},
		"downwardAPI": {v1.VolumeSource{DownwardAPI: &v1.DownwardAPIVolumeSource{Items: []v1.DownwardAPIVolumeFile{{Path: "key", FieldRef: &v1.ObjectFieldSelector{FieldPath: "metadata.name"}}}}}, true},
		"projected":   {v1.VolumeSource{Projected: &v1.ProjectedVolumeSource{Sources: []v1.VolumeProjection{{Secret: &v1.SecretProjection{LocalObjectReference: s}}}}}, true},
		"emptyDir":    {v1.VolumeSource{EmptyDir: &v1.EmptyDirVolumeSource{}}, false},
		"hostPath":    {v1.VolumeSource{HostPath: &v1.HostPathVolumeSource{Path: t.TempDir()}}, false},
	} {
		pod := podWith(c.source)
		if _, err := b.SetUp(t.Context(), pod); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for _, sub := range []string{"", "key"} {
			container := v1.Container{Name: "c", VolumeMounts: []v1.VolumeMount{{Name: "data", MountPath: "/m", SubPath: sub}}}
			mounts, err := b.Mounts(pod, &container, nil, nil)
			if err != nil || mounts[0].Readonly != c.want {
				t.Errorf("%s, subPath %q: %+v, %v; want read-only = %v", name, sub, mounts, err, c.want)
			}
		}
		if err := b.TearDown(t.Context(), pod.UID); err != nil {
			t.Fatal(err)
		}
	}
}

// Nothing is written where nothing has changed, by this agent or the next one.
func TestUnchangedVolumesAreLeftAlone(t *testing.T) {
	b, pod, dir, _ := hostile(t)
	before := snapshot(t, b.cfg.Dir)
	for range 2 {
		if _, err := b.SetUp(t.Context(), pod); err != nil {
			t.Fatal(err)
		}
		b.Manager = New(b.Manager.cfg)
	}
	if after := snapshot(t, b.cfg.Dir); !slices.Equal(before, after) {
		t.Errorf("setting up again changed\n%v\nto\n%v", before, after)
	}
	// A privileged container's own changes are mended by the next change.
	if err := os.Remove(filepath.Join(dir, "..data")); err != nil {
		t.Fatal(err)
	}
	expect(t, b.content(t, pod), map[string]string{"key": "rw-r--r-- v", "other": "rw-r--r-- w"})
}

func snapshot(t *testing.T, dir string) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		all = append(all, fmt.Sprint(p, info.Mode(), info.ModTime().UnixNano()))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestUsageOfVolumes(t *testing.T) {
	b, pod, _, outside := hostile(t)
	pod.Spec.Volumes = append(pod.Spec.Volumes,
		v1.Volume{Name: "empty", VolumeSource: v1.VolumeSource{EmptyDir: &v1.EmptyDirVolumeSource{}}},
		v1.Volume{Name: "memory", VolumeSource: v1.VolumeSource{EmptyDir: &v1.EmptyDirVolumeSource{Medium: v1.StorageMediumMemory}}},
		v1.Volume{Name: "host", VolumeSource: v1.VolumeSource{HostPath: &v1.HostPathVolumeSource{Path: outside}}})
	for _, name := range []string{"empty", "memory", "host"} {
		pod.Spec.Containers[0].VolumeMounts = append(pod.Spec.Containers[0].VolumeMounts, v1.VolumeMount{Name: name, MountPath: "/" + name})
	}
	if _, err := b.SetUp(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	empty := must(b.Path(pod, "empty"))
	for _, err := range []error{
		os.WriteFile(filepath.Join(empty, "file"), make([]byte, 1<<20), 0o600),
		os.Symlink(outside, filepath.Join(empty, "link")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	used, err := b.Usage(t.Context(), pod)
	if err != nil || len(used) != 2 || used["data"].Bytes == 0 || used["empty"].Bytes < 1<<20 || used["empty"].Bytes > 2<<20 {
		t.Errorf("usage = %v, %v; want something for data and 1 MiB for empty", used, err)
	}
	if got, want := b.Files("u"), []string{filepath.Join(b.PodDir("u"), "etc-hosts"), filepath.Join(b.PodDir("u"), "containers")}; !slices.Equal(got, want) {
		t.Errorf("files = %v, want %v", got, want)
	}
}

// However deeply a container nests directories in its volume, the node removes
// them with few descriptors.
func TestDeepVolumeIsRemoved(t *testing.T) {
	b := newBench(t)
	pod := podWith(v1.VolumeSource{EmptyDir: &v1.EmptyDirVolumeSource{}})
	if _, err := b.SetUp(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	dir, err := b.Path(pod, "data")
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		t.Fatal(err)
	}
	for range 1500 {
		err := unix.Mkdirat(fd, "d", 0o777)
		next, oerr := unix.Openat(fd, "d", unix.O_RDONLY|unix.O_DIRECTORY, 0)
		unix.Close(fd)
		if err := errors.Join(err, oerr); err != nil {
			t.Fatal(err)
		}
		fd = next
	}
	unix.Close(fd)
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 512, Max: before.Max}); err != nil {
		t.Fatal(err)
	}
	err = b.TearDown(t.Context(), "u")
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	if err != nil {
		t.Fatalf("%.300s", err)
	}
	if _, err := os.Stat(b.PodDir("u")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the directory of the Pod: %v", err)
	}
}

// A file with variables is a container's work: it may be a link out of the volume,
// or nothing that can be read to an end.
func TestEnvFilesThatContainersMade(t *testing.T) {
	b := newBench(t)
	pod := &v1.Pod{Spec: v1.PodSpec{Volumes: []v1.Volume{{Name: "v", VolumeSource: v1.VolumeSource{EmptyDir: &v1.EmptyDirVolumeSource{}}}}}}
	pod.Spec.InitContainers = []v1.Container{{Name: "i", VolumeMounts: []v1.VolumeMount{{Name: "v", MountPath: "/v"}}}}
	pod.UID = "u"
	if _, err := b.SetUp(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	dir, err := b.Path(pod, "v")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(
		os.WriteFile(filepath.Join(dir, "env"), []byte("A='x'\n"), 0o600), os.Symlink("env", filepath.Join(dir, "inside")),
		os.Symlink("/etc/passwd", filepath.Join(dir, "outside")), os.Symlink("../../../..", filepath.Join(dir, "up")),
		unix.Mkfifo(filepath.Join(dir, "fifo"), 0o600), os.WriteFile(filepath.Join(dir, "large"), make([]byte, maxEnvFile+1), 0o600),
	); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"env", "inside"} {
		if text, err := b.ReadFile(t.Context(), pod, "v", name); err != nil || text != "A='x'\n" {
			t.Errorf("%s: %q, %v", name, text, err)
		}
	}
	for _, name := range []string{"outside", "up/x", "fifo", "large", ".", "../x"} {
		if text, err := b.ReadFile(t.Context(), pod, "v", name); err == nil {
			t.Errorf("%s: %d bytes are read", name, len(text))
		}
	}
	if _, err := b.ReadFile(t.Context(), pod, "v", "none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
}
