package loglink

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// dirRoot is a directory as a node's root directory.
type dirRoot string

func (d dirRoot) OpenRoot(path string) (*os.Root, error) {
	return os.OpenRoot(filepath.Join(string(d), path))
}
func (d dirRoot) MkdirAll(path string, mode fs.FileMode) error {
	return os.MkdirAll(filepath.Join(string(d), path), mode)
}
func (d dirRoot) Stat(path string) (fs.FileInfo, error) {
	return os.Stat(filepath.Join(string(d), path))
}

func TestNamesAreTheKubelets(t *testing.T) {
	id := strings.Repeat("0123456789abcdef", 4)
	l := Log{Namespace: "kube-system", Pod: "web-0", UID: "u-1", Container: "app", ID: id, Restarts: 2}
	if got, want := l.Name(), "web-0_kube-system_app-"+id+".log"; got != want {
		t.Errorf("Name = %s, want %s", got, want)
	}
	if got, want := l.Target(), "/var/log/pods/kube-system_web-0_u-1/app/2.log"; got != want {
		t.Errorf("Target = %s, want %s", got, want)
	}
	l.Pod = strings.Repeat("p", 250)
	if got := l.Name(); len(got) != 255 || !strings.HasSuffix(got, ".log") || !strings.HasPrefix(got, l.Pod) {
		t.Errorf("a long name: %d bytes, %s", len(got), got)
	}
}

func TestLinks(t *testing.T) {
	root := dirRoot(t.TempDir())
	l := New(root)
	one, two := Log{"ns", "a", "u1", "c", "id1", 0}, Log{"ns", "a", "u1", "c", "id2", 1}
	present := func(want ...string) {
		t.Helper()
		var got []string
		entries, err := os.ReadDir(filepath.Join(string(root), Dir))
		for _, e := range entries {
			got = append(got, e.Name())
		}
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("links %q, %v, want %q", got, err, want)
		}
	}
	for range 2 { // again is fine
		if err := l.Add(one, two); err != nil {
			t.Fatal(err)
		}
	}
	present("a_ns_c-id1.log", "a_ns_c-id2.log")
	if to, err := os.Readlink(filepath.Join(string(root), Dir, "a_ns_c-id2.log")); err != nil || to != "/var/log/pods/ns_a_u1/c/1.log" {
		t.Errorf("it leads to %s, %v", to, err)
	}
	two.Restarts = 2 // a name that leads elsewhere
	if err := l.Add(two); err != nil {
		t.Fatal(err)
	}
	if to, _ := os.Readlink(filepath.Join(string(root), Dir, "a_ns_c-id2.log")); to != two.Target() {
		t.Errorf("it still leads to %s", to)
	}
	for range 2 {
		if err := l.Remove(one); err != nil {
			t.Fatal(err)
		}
	}
	present("a_ns_c-id2.log")

	// What has no log any more goes, what somebody else made stays.
	if err := os.MkdirAll(filepath.Join(string(root), filepath.Dir(two.Target())), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(string(root), two.Target()), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/elsewhere", filepath.Join(string(root), Dir, "other")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(string(root), Dir, "positions.db"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := l.Add(one); err != nil {
		t.Fatal(err)
	}
	if err := l.Sweep(); err != nil {
		t.Fatal(err)
	}
	present("a_ns_c-id2.log", "other", "positions.db")
	var none *Links
	if err := none.Add(one); err != nil || none.Remove(one) != nil || none.Sweep() != nil {
		t.Errorf("nil Links: %v", err)
	}
}
