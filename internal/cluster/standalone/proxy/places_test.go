package proxy

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"minato/internal/cluster/standalone/foreign"
	"minato/internal/host"
)

func TestFindPlaces(t *testing.T) {
	if p, err := findPlaces(&Config{Cgroup: t.TempDir()}); err == nil {
		t.Errorf("a directory that is no cgroup is taken: %+v", p)
	}
	p, err := findPlaces(&Config{BPFDir: "/somewhere/bpf"})
	if err != nil || p.BPF != "/somewhere/bpf" || p.Pins != "/somewhere/bpf/proxy" || p.cgroup == "" {
		t.Errorf("%+v, %v", p, err)
	}
	if os.Geteuid() != 0 {
		t.Skip("the rest needs root")
	}
	// What a container sees of a machine that has version 1 of cgroups as well.
	dir := t.TempDir()
	hybrid := filepath.Join(dir, "unified")
	t.Cleanup(func() { host.Unmount(hybrid) })
	if err := host.MountCgroup2(hybrid); err != nil {
		t.Fatal(err)
	}
	for _, given := range []string{dir, hybrid} {
		if p, err := findPlaces(&Config{Cgroup: given}); err != nil || p.cgroup != hybrid || p.mount {
			t.Errorf("--cgroup %s: %+v, %v, want %s", given, p, err, hybrid)
		}
	}
}

// Only one proxy gets the places, and remove leaves nothing of what prepare
// made.
func TestPlacesComeAndGo(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	dir := t.TempDir()
	p := places{Places: foreign.At(part, filepath.Join(dir, "run", "bpf")), cgroup: filepath.Join(dir, "cgroup"), mount: true}
	t.Cleanup(func() {
		host.Unmount(p.BPF)
		host.Unmount(p.cgroup)
	})
	lock, err := p.prepare()
	if err != nil {
		t.Fatal(err)
	}
	if !host.IsBPF(p.Pins) || !host.IsCgroup2(p.cgroup) {
		t.Errorf("%s is no BPF file system, or %s no cgroup2", p.Pins, p.cgroup)
	}
	if _, err := p.prepare(); !errors.Is(err, foreign.ErrRunning) {
		t.Errorf("a second proxy: %v", err)
	}
	lock.Close()
	again, err := p.prepare()
	if err != nil {
		t.Fatalf("after the first one ended: %v", err)
	}
	again.Close()
	if err := os.Remove(p.Pins); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := p.Remove(); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(p.BPF); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is left: %v", p.BPF, err)
	}
}
