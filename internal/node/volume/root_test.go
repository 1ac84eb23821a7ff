package volume

import (
	"os"
	"path/filepath"
	"testing"

	v1 "k8s.io/api/core/v1"

	"minato/internal/host"
)

// benchIn returns a directory and a manager of volumes whose node has it as root.
func benchIn(t *testing.T) (dir string, b *bench) {
	t.Helper()
	dir = t.TempDir()
	for _, d := range []string{"data/sub", "etc"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/data", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	root, err := host.OpenInRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	b = newBench(t)
	b.cfg.Root = root
	return dir, b
}

func hostPathPod(path string, kind v1.HostPathType) *v1.Pod {
	return podWith(v1.VolumeSource{HostPath: &v1.HostPathVolumeSource{Path: path, Type: &kind}})
}

// The paths of hostPath volumes are the node's, also of what is made for them.
func TestHostPathOnTheNode(t *testing.T) {
	dir, b := benchIn(t)
	outside := t.TempDir()
	for _, c := range []struct {
		kind v1.HostPathType
		path string
		ok   bool
	}{
		{v1.HostPathDirectory, "/data/sub", true},
		{v1.HostPathDirectory, "/link/sub", true},
		{v1.HostPathDirectory, outside, false},
		{v1.HostPathDirectory, "/../../etc", true},
		{v1.HostPathCharDev, "/dev/null", false}, // this node has no devices
		{v1.HostPathDirectoryOrCreate, "/link/new", true},
		{v1.HostPathFileOrCreate, "/link/file", true},
		{v1.HostPathUnset, "/any", true},
		{v1.HostPathDirectoryOrCreate, filepath.Join(outside, "made"), true},
	} {
		if _, err := b.SetUp(t.Context(), hostPathPod(c.path, c.kind)); (err == nil) != c.ok {
			t.Errorf("%s %q: %v, want ok = %v", c.path, c.kind, err, c.ok)
		}
	}
	for name, isDir := range map[string]bool{"data/new": true, "data/file": false, "any": true, filepath.Join(outside, "made"): true} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.IsDir() != isDir {
			t.Errorf("%s was not made: %v", name, err)
		}
	}
	if entries, _ := os.ReadDir(outside); len(entries) > 0 {
		t.Errorf("made on the machine: %v", entries)
	}
}

// So is what a subPath of one leads to.
func TestSubPathOnTheNode(t *testing.T) {
	dir, b := benchIn(t)
	pod := hostPathPod("/link", v1.HostPathUnset)
	mount := func(sub string) (string, error) {
		mounts, err := b.Mounts(pod, &v1.Container{Name: "c", VolumeMounts: []v1.VolumeMount{{Name: "data", MountPath: "/x", SubPath: sub}}}, nil, nil)
		if err != nil {
			return "", err
		}
		return b.mounter.mounts[mounts[0].HostPath], nil
	}
	for sub, want := range map[string]string{"sub": "data/sub", "new/deep": "data/new/deep"} {
		if got, err := mount(sub); err != nil || got != filepath.Join(dir, want) {
			t.Errorf("subPath %s leads to %s, %v, want %s", sub, got, err, filepath.Join(dir, want))
		}
	}
	pod = hostPathPod(t.TempDir(), v1.HostPathUnset)
	if got, err := mount("sub"); err == nil {
		t.Errorf("a subPath of a directory that the node does not have leads to %s", got)
	}
}
