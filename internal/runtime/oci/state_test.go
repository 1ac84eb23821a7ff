package oci

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"minato/internal/host"
)

func TestSaveWritesWhatIsNew(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.json")
	var s saved
	inode := func(state sandboxState) os.FileInfo {
		t.Helper()
		if err := s.save(path, &state); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		var got sandboxState
		if err := load(path, &got); err != nil || got.ID != state.ID || got.Ready != state.Ready {
			t.Fatalf("the file has %+v, %v; want %+v", got, err, state)
		}
		return info
	}
	first := inode(sandboxState{ID: "a"})
	if again := inode(sandboxState{ID: "a"}); !os.SameFile(first, again) {
		t.Error("the same state was written again")
	}
	inode(sandboxState{ID: "a", Ready: true})
	inode(sandboxState{ID: "a"})
}

// A sandbox is stopped on a full disk, too: what its Pod has on it goes only after that.
func TestSandboxIsStoppedOnAFullDisk(t *testing.T) {
	r := pure("/usr/bin/crun")
	r.log = slog.New(slog.DiscardHandler)
	r.cfg.Dir, r.cfg.RunDir, r.cfg.Cgroup = t.TempDir(), t.TempDir(), host.Cgroup{Root: t.TempDir(), Path: "node"}
	config := &runtimeapi.PodSandboxConfig{Metadata: &runtimeapi.PodSandboxMetadata{Uid: "uid"}}
	sb := r.newSandbox(sandboxState{ID: newID(), Config: config, Ready: true})
	r.sandboxes[sb.state.ID] = sb
	if err := errors.Join(os.MkdirAll(sb.dir, 0o700), os.Symlink("/dev/full", stateFile(sb.dir)+".new")); err != nil {
		t.Fatal(err)
	}
	if err := sb.change(func(*sandboxState) {}); !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("the disk is not full: %v", err)
	}
	if err := r.StopPodSandbox(t.Context(), sb.state.ID); err != nil {
		t.Error(err)
	}
	if sb.ready() {
		t.Error("the sandbox is still ready")
	}
	if err := r.RemovePodSandbox(t.Context(), sb.state.ID); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(sb.dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("left behind: %v", err)
	}
}

func TestParseStat(t *testing.T) {
	const rest = " 7 41 6 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 98765 1 2 3"
	for in, want := range map[string]procStat{
		"42 (tool) S" + rest:          {group: 41, start: 98765},
		"42 (a) Z 1 2 (b)) Z" + rest:  {zombie: true, group: 41, start: 98765},
		"42 (with\nnewline) R" + rest: {group: 41, start: 98765},
	} {
		if got, err := parseStat(in); err != nil || got != want {
			t.Errorf("parseStat(%q) = %v, %v; want %v", in, got, err, want)
		}
	}
	for _, in := range []string{"", ")", "1 (x) S", "1 (x) S 1 group" + rest} {
		if got, err := parseStat(in); err == nil {
			t.Errorf("parseStat(%q) = %v, want an error", in, got)
		}
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add("42 (tool) S 7 41 6 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 98765 1 2 3")
	f.Fuzz(func(_ *testing.T, stat string) { parseStat(stat) }) // does not panic
}
