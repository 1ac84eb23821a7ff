package cdi

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"minato/internal/host"
)

const spec = `{"cdiVersion": "0.3.0", "kind": "example.com/gpu", "containerEdits": {"env": ["SPEC=1"]}, "devices": [
  {"name": "a", "containerEdits": {"env": ["DEVICE=a"], "deviceNodes": [{"path": "/dev/gpu-a", "type": "c", "major": 1, "minor": 3}]}},
  {"name": "b", "containerEdits": {"env": ["DEVICE=b"]}}]}`

// A device is found in the specs of the node, the edits of its spec come once, and a
// spec in /var/run/cdi replaces one in /etc/cdi.
func TestEdits(t *testing.T) {
	root := tree(t, map[string]string{
		"etc/cdi/a.json":     spec,
		"etc/cdi/b.yaml":     "cdiVersion: 0.5.0\nkind: example.com/nic\ndevices:\n- {name: x, containerEdits: {env: [OLD=1]}}\n- {name: twice, containerEdits: {env: [A=1]}}\n",
		"etc/cdi/c.yaml":     "cdiVersion: 0.5.0\nkind: example.com/nic\ndevices:\n- {name: twice, containerEdits: {env: [A=1]}}\n",
		"run/cdi/b.yaml":     "cdiVersion: 0.5.0\nkind: example.com/nic\ndevices:\n- {name: x, containerEdits: {env: [NEW=1]}}\n",
		"run/cdi/broken.yml": "not a spec by its name",
		"run/cdi/empty.json": "",
		"run/cdi/none.json":  `{"cdiVersion": "0.3.0", "kind": "example.com/none", "devices": [{"name": "n", "containerEdits": {"mounts": [null]}}]}`,
	})
	edits, err := Edits(root, []string{"example.com/gpu=b", "example.com/gpu=a", "example.com/nic=x"})
	if err != nil {
		t.Fatal(err)
	}
	var env []string
	for _, e := range edits {
		env = append(env, e.Env...)
	}
	if got := strings.Join(env, " "); got != "SPEC=1 DEVICE=b DEVICE=a NEW=1" {
		t.Errorf("the edits have the variables %q", got)
	}
	for name, want := range map[string]string{
		"example.com/gpu=c": "no CDI spec", "gpu": "VENDOR/CLASS=NAME", "example.com/nic=twice": "both describe", "example.com/none=n": "is null",
	} {
		if _, err := Edits(root, []string{name}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
	if _, err := Edits(root, []string{"example.com/gpu=c"}); !errors.Is(err, ErrUnknown) {
		t.Errorf("a device that nothing describes: %v", err)
	}
}

// A link out of the root directory, and a FIFO, are no specs; what is no regular file is
// not even opened.
func TestHostileFiles(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "spec.json")
	if err := os.WriteFile(outside, []byte(spec), 0o600); err != nil {
		t.Fatal(err)
	}
	root := tree(t, map[string]string{"etc/cdi/x": ""})
	if err := os.Symlink(outside, filepath.Join(rootDir(t, root), "etc/cdi/link.json")); err != nil {
		t.Fatal(err)
	}
	if _, err := Edits(root, []string{"example.com/gpu=a"}); !errors.Is(err, ErrUnknown) {
		t.Errorf("a spec outside of the root directory was read: %v", err)
	}
	if err := unix.Mkfifo(filepath.Join(rootDir(t, root), "etc/cdi/pipe.json"), 0o600); err != nil {
		t.Fatal(err)
	}
	opened := &recorder{Root: root}
	if _, err := Edits(opened, []string{"example.com/gpu=a"}); !errors.Is(err, ErrUnknown) || !strings.Contains(err.Error(), "pipe.json: it is no regular file") {
		t.Errorf("a FIFO: %v", err)
	}
	for path, flag := range opened.flags {
		if flag&unix.O_DIRECTORY == 0 {
			t.Errorf("%s was opened, whatever it is", path)
		}
	}
}

// recorder notes what is opened.
type recorder struct {
	Root
	flags map[string]int
}

func (r *recorder) OpenFile(path string, flag int, mode fs.FileMode) (*os.File, error) {
	if r.flags == nil {
		r.flags = map[string]int{}
	}
	r.flags[path] = flag
	return r.Root.OpenFile(path, flag, mode)
}

type testRoot struct {
	*host.InRoot
	dir string
}

func rootDir(_ *testing.T, r testRoot) string { return r.dir }

// tree makes a root directory in which /var/run is a link to /run, as on machines.
func tree(t *testing.T, files map[string]string) testRoot {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		full := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Join(dir, "var"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/run", filepath.Join(dir, "var/run")); err != nil {
		t.Fatal(err)
	}
	root, err := host.OpenInRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return testRoot{root, dir}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(spec))
	f.Add([]byte("cdiVersion: 0.5.0\nkind: a.b/c\ndevices:\n- {name: x, containerEdits: {mounts: [{hostPath: /a, containerPath: /b}]}}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if s, err := parse(data); err == nil && len(s.Devices) == 0 {
			t.Error("a spec without devices is taken")
		}
	})
}
