package allocation

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"

	"minato/internal/node/spec"
)

func needs(cpu string) v1.ResourceRequirements {
	return v1.ResourceRequirements{Requests: v1.ResourceList{v1.ResourceCPU: resource.MustParse(cpu)}}
}

func open(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := Open(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestRecordsOutliveTheStore(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "granted")
	s := open(t, dir)
	want := Record{Granted: spec.Allocation{"main": needs("1")}}.WithContainer("c1", needs("500m")).WithSandbox("sb", spec.PodLimits{CPUShares: 512})
	if err := s.Set("a", want); err != nil {
		t.Fatal(err)
	}
	if err := s.Set("b", Record{Granted: spec.Allocation{}}); err != nil {
		t.Fatal(err)
	}
	if err := s.Remove("b"); err != nil {
		t.Fatal(err)
	}
	again := open(t, dir)
	got, ok := again.Get("a")
	if !ok || !equality.Semantic.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if uids := again.UIDs(); len(uids) != 1 || uids[0] != "a" {
		t.Errorf("records of %q", uids)
	}
	if err := again.Remove("b"); err != nil {
		t.Errorf("a second removal: %v", err)
	}
}

// A server that is killed, or a machine that loses its power, leaves halves.
func TestHalfARecordIsDropped(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"cut.json": `{"granted":{"ma`, "empty.json": "", "nothing.json": "{}", "good.json": `{"granted":{}}`, "good.json.new": `{"gra`} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := open(t, dir)
	if uids := s.UIDs(); len(uids) != 1 || uids[0] != "good" {
		t.Errorf("records of %q", uids)
	}
	if left, _ := os.ReadDir(dir); len(left) != 1 {
		t.Errorf("files: %v", left)
	}
}

// What a Pod with a hostPath has put in the place of the records, or of their directory,
// is not followed: nothing is written, removed or read where it leads.
func TestReplacedRecords(t *testing.T) {
	outside := t.TempDir()
	precious := filepath.Join(outside, "a.json")
	if err := errors.Join(os.WriteFile(precious, []byte(`{"granted":{"mine":{}}}`), 0o600), os.WriteFile(filepath.Join(outside, "hosts"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ replaced, to string }{{"granted", outside}, {"granted/a.json", precious}, {"granted/a.json.new", precious}} {
		for _, again := range []bool{false, true} { // a new store finds it, or the old one
			node := t.TempDir()
			dir, replaced := filepath.Join(node, "granted"), filepath.Join(node, c.replaced)
			s := open(t, dir)
			if err := errors.Join(os.RemoveAll(replaced), os.Symlink(c.to, replaced)); err != nil {
				t.Fatal(err)
			}
			if again {
				s = open(t, dir)
			}
			if _, read := s.Get("a"); read {
				t.Errorf("%s: a record from outside is read", c.replaced)
			}
			// The directory is made anew by a new store only.
			fails := c.replaced == "granted" && !again
			if err := s.Set("a", Record{Granted: spec.Allocation{}}); (err != nil) != fails {
				t.Errorf("%s, new store %t: written, %v", c.replaced, again, err)
			}
			if err := s.Remove("a"); (err != nil) != fails {
				t.Errorf("%s, new store %t: removed, %v", c.replaced, again, err)
			}
			if text, err := os.ReadFile(precious); err != nil || string(text) != `{"granted":{"mine":{}}}` {
				t.Errorf("%s: outside is %q, %v", c.replaced, text, err)
			}
			if left, err := os.ReadDir(outside); err != nil || len(left) != 2 {
				t.Errorf("%s: outside are %v, %v", c.replaced, left, err)
			}
		}
	}
}

func TestARecordStaysInItsDirectory(t *testing.T) {
	s := open(t, t.TempDir())
	for _, uid := range []types.UID{"", "../a", "a/b", "a\x00"} {
		if err := s.Set(uid, Record{}); err == nil {
			t.Errorf("a record was written for %q", uid)
		}
		if err := s.Remove(uid); err == nil {
			t.Errorf("a record was removed for %q", uid)
		}
	}
}

// A record is handed out as it is, so a change must make another one.
func TestChangesLeaveTheRecord(t *testing.T) {
	r := Record{}.WithContainer("a", needs("1"))
	r.WithContainer("b", needs("2"))
	r.WithSandbox("sb", spec.PodLimits{})
	r.Forget(func(string) bool { return true })
	if len(r.Containers) != 1 || len(r.Sandboxes) != 0 {
		t.Errorf("the record changed: %+v", r)
	}
	if left := r.WithContainer("b", needs("2")).Forget(func(id string) bool { return id == "a" }); len(left.Containers) != 1 || len(r.Containers) != 1 {
		t.Errorf("left %+v", left)
	}
}
