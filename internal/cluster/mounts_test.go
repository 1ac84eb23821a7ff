package cluster

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestMountFlag(t *testing.T) {
	for text, want := range map[string]Mount{
		"/srv/data":           {Source: "/srv/data", Target: "/srv/data"},
		"/srv/data:ro":        {Source: "/srv/data", Target: "/srv/data", ReadOnly: true},
		"/srv/data/:/data//x": {Source: "/srv/data", Target: "/data/x"},
		"/srv:/data:ro":       {Source: "/srv", Target: "/data", ReadOnly: true},
	} {
		var m Mounts
		if err := m.Set(text); err != nil || len(m) != 1 || m[0] != want {
			t.Errorf("%s = %+v, %v, want %+v", text, m, err, want)
		}
		var again Mounts
		if err := again.Set(want.String()); err != nil || again[0] != want {
			t.Errorf("%s = %+v, %v, want %+v", want, again, err, want)
		}
	}
	for _, text := range []string{"", "data", "./data:/data", "/data:data", "/data:rw", "/a:/b:rw", "/a:/b:/c:ro", "ro"} {
		var m Mounts
		if err := m.Set(text); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%q = %+v, %v, want an error that names it", text, m, err)
		}
	}
}

func TestMountsAreValidated(t *testing.T) {
	for target, want := range map[string]string{
		"/data": "", "/opt/x": "", "/mnt": "", "/usr/local/share/x": "", "/var/lib/minator": "",
		"/": "its own", "/var": "its own", "/run": "its own", "/proc": "its own", "/dev/x": "its own", "/var/lib/minato/x": "its own",
		"/var/log/pods": "its own", "/etc/kubernetes/manifests": "its own", "/srv/a": "same place", "/srv/a/b": "same place", "/srv": "same place", "x": "absolute",
	} {
		c := DefaultConfig()
		c.Mounts = Mounts{{Source: "/x", Target: "/srv/a"}, {Source: "/y", Target: target}}
		if err := c.Validate(); want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "--mount")) {
			t.Errorf("%s: %v, want %q", target, err, want)
		}
	}
}

func TestMountsAreChecked(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink("/var/lib", link); err != nil {
		t.Fatal(err)
	}
	for source, want := range map[string]string{
		dir: "", "/usr": "", filepath.Join(dir, "missing"): "there is no", file: "not a directory",
		"/": "clusters' own files", "/var/lib": "clusters' own files", "/run": "clusters' own files", link: "clusters' own files",
	} {
		err := checkMounts(Mounts{{Source: source, Target: "/data"}})
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", source, err, want)
		}
	}
}
