package foreign

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"minato/internal/host"
)

// Two parts in one directory: cleaning up after one leaves the other's pins and their mount, and after both nothing is left.
func TestCleanupLeavesOthers(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	dir := filepath.Join(t.TempDir(), "bpf")
	t.Cleanup(func() { host.Unmount(dir) })
	removePins := func(p Places) error {
		if err := os.Remove(p.Pins); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		return nil
	}
	one, other := At("test-one", dir), At("test-other", dir)
	lock, err := one.Prepare()
	if err != nil {
		t.Fatal(err)
	}
	others, err := other.Prepare()
	if err != nil {
		t.Fatal(err)
	}
	if err := Cleanup("test-one", dir, removePins); !errors.Is(err, ErrRunning) {
		t.Errorf("beside a running part: %v", err)
	}
	lock.Close()
	for range 2 {
		if err := Cleanup("test-one", dir, removePins); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(other.Pins); err != nil || !host.IsBPF(other.Pins) {
			t.Fatalf("the other part's pins are gone: %v", err)
		}
	}
	others.Close()
	if err := Cleanup("test-other", dir, removePins); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is left: %v", dir, err)
	}
}

func TestBPFDirIsAbsolute(t *testing.T) {
	if _, err := FindPlaces("test", "here"); err == nil {
		t.Error("a relative directory is taken")
	}
	if err := Cleanup("test", "here", func(Places) error { t.Error("something is removed"); return nil }); err == nil {
		t.Error("a relative directory is cleaned up")
	}
}
