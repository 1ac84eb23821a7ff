package oci

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"minato/internal/host"
	"minato/internal/runtime/image"
)

func TestSaveWritesWhatIsNew(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "runtime", "sandboxes", "a")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	var s saved
	inode := func(state sandboxState) os.FileInfo {
		t.Helper()
		if err := s.save(dir, &state); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(filepath.Join(dir, stateFile))
		if err != nil {
			t.Fatal(err)
		}
		var got sandboxState
		if err := load(dir, stateFile, &got); err != nil || got.ID != state.ID || got.Ready != state.Ready {
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

// What a Pod with a hostPath has put in the place of the runtime's directories is not
// followed: nothing is written or removed where it leads, neither while the runtime runs
// nor by the next one.
func TestReplacedDirectories(t *testing.T) {
	outside := t.TempDir()
	kind := filepath.Join(outside, "sandboxes")
	precious := []string{filepath.Join(kind, "a", stateFile), filepath.Join(kind, "b", "precious")}
	for _, path := range precious {
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte("mine"), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		replaced string // below the directory of the node
		to       string
		written  bool // in place of what is there
	}{
		{"containers", outside, false}, {"containers/sandboxes", kind, false}, {"containers/sandboxes/a", filepath.Join(kind, "a"), false},
		{"containers/sandboxes/a/" + stateFile, precious[0], true}, {"containers/sandboxes/a/" + stateFile + ".new", precious[0], true},
		{"run", outside, true}, {"run/sandboxes", kind, true}, {"run/sandboxes/b", filepath.Join(kind, "b"), true},
	} {
		node := t.TempDir()
		r := pure("/usr/bin/crun")
		r.log, r.sandboxes, r.containers = slog.New(slog.DiscardHandler), map[string]*sandbox{}, map[string]*container{}
		r.cfg.Dir, r.cfg.RunDir = filepath.Join(node, "containers"), filepath.Join(node, "run")
		sb := r.newSandbox(sandboxState{ID: "a", Config: &runtimeapi.PodSandboxConfig{}})
		replaced := filepath.Join(node, c.replaced)
		if err := errors.Join(os.MkdirAll(sb.dir, 0o700), os.MkdirAll(sb.runDir, 0o700), os.RemoveAll(replaced), os.Symlink(c.to, replaced)); err != nil {
			t.Fatal(err)
		}
		if err := sb.change(func(*sandboxState) {}); (err == nil) != c.written {
			t.Errorf("%s: written, %v", c.replaced, err)
		}
		_ = r.recover() // may fail
		r.sweepRunDirs("sandboxes", func(string) bool { return false })
		for _, path := range precious {
			if text, err := os.ReadFile(path); err != nil || string(text) != "mine" {
				t.Errorf("%s: %s is %q, %v", c.replaced, path, text, err)
			}
		}
		if left, err := os.ReadDir(kind); err != nil || len(left) != 2 {
			t.Errorf("%s: outside are %v, %v", c.replaced, left, err)
		}
	}
}

// Where a runtime's directory was replaced by a link, the next runtime makes and changes
// nothing where that leads, and says what is to be done.
func TestReplacedDirectoriesAreNotMade(t *testing.T) {
	for _, replaced := range []string{"containers", "containers/sandboxes", "containers/containers", "run", "run/containers", "run/exits", "run/runtime"} {
		outside, node := t.TempDir(), t.TempDir()
		if err := os.Chmod(outside, 0o755); err != nil {
			t.Fatal(err)
		}
		r := pure("/usr/bin/crun")
		r.cfg.Dir, r.cfg.RunDir, r.cfg.SeccompDir = filepath.Join(node, "containers"), filepath.Join(node, "run"), filepath.Join(node, "seccomp")
		r.oci.root = filepath.Join(r.cfg.RunDir, "runtime")
		r.handlers = map[string]program{"": r.oci}
		path := filepath.Join(node, replaced)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.Symlink(outside, path)); err != nil {
			t.Fatal(err)
		}
		err := r.makeDirs()
		if !errors.Is(err, unix.EXDEV) || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "put back") {
			t.Errorf("%s: %v, want the path and what to do", replaced, err)
		}
		if left, err := os.ReadDir(outside); err != nil || len(left) != 0 {
			t.Errorf("%s: outside are %v, %v", replaced, left, err)
		}
		if info, err := os.Stat(outside); err != nil || info.Mode().Perm() != 0o755 {
			t.Errorf("%s: the directory outside has the mode %v, %v", replaced, info.Mode(), err)
		}
	}
}

// What can't be read or removed at the start is named by its whole path.
func TestStatesAreNamed(t *testing.T) {
	outside, node := t.TempDir(), t.TempDir()
	dir := filepath.Join(node, "containers")
	if err := errors.Join(os.MkdirAll(filepath.Join(dir, "containers", "a"), 0o700), os.Symlink(outside, filepath.Join(dir, "sandboxes"))); err != nil {
		t.Fatal(err)
	}
	err := eachState(dir, "sandboxes", nil)
	if !errors.Is(err, unix.EXDEV) || !strings.Contains(err.Error(), filepath.Join(dir, "sandboxes")) || !strings.Contains(err.Error(), "put back") {
		t.Errorf("a link in place of the states: %v", err)
	}
	if err := eachState(dir, "containers", func(parent *os.File, path, id string) error {
		if filepath.Join(parent.Name(), id) != path || path != filepath.Join(dir, "containers", "a") {
			t.Errorf("%s is in %s and has the path %s", id, parent.Name(), path)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}

// Something that is no state is no obstacle to the next runtime.
func TestStrangeStates(t *testing.T) {
	node := t.TempDir()
	r := pure("/usr/bin/crun")
	r.log, r.sandboxes, r.containers = slog.New(slog.DiscardHandler), map[string]*sandbox{}, map[string]*container{}
	r.cfg.Dir, r.cfg.RunDir = filepath.Join(node, "containers"), filepath.Join(node, "run")
	dir := filepath.Join(r.cfg.Dir, "sandboxes")
	if err := errors.Join(
		os.MkdirAll(filepath.Join(dir, "empty"), 0o700), os.MkdirAll(filepath.Join(dir, "fifo", "deep"), 0o700), unix.Mkfifo(filepath.Join(dir, "fifo", stateFile), 0o600),
		os.WriteFile(filepath.Join(dir, "file"), nil, 0o600), os.Symlink("/", filepath.Join(dir, "link")),
	); err != nil {
		t.Fatal(err)
	}
	if err := r.recover(); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left are %v, %v", left, err)
	}
}

// A container whose state was lost, as by a loss of power, keeps no image from being removed.
func TestLostStateUnpins(t *testing.T) {
	node := t.TempDir()
	store, err := image.Open(filepath.Join(node, "store"))
	if err != nil {
		t.Fatal(err)
	}
	r := pure("/usr/bin/crun")
	r.log, r.cfg.Store, r.cfg.Dir, r.cfg.RunDir = slog.New(slog.DiscardHandler), store, filepath.Join(node, "containers"), filepath.Join(node, "run")
	dir, pins := filepath.Join(r.cfg.Dir, "containers", "lost"), filepath.Join(store.Dir(), "pins")
	if err := errors.Join(os.MkdirAll(dir, 0o700), os.WriteFile(filepath.Join(dir, stateFile), nil, 0o600), os.MkdirAll(filepath.Join(pins, "lost"), 0o700)); err != nil {
		t.Fatal(err)
	}
	if err := r.recover(); err != nil {
		t.Error(err)
	}
	for _, dir := range []string{filepath.Dir(dir), pins} {
		if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
			t.Errorf("%s has %v, %v", dir, left, err)
		}
	}
}

// A process that has no file left to open forgets nothing for that.
func TestRecoverWithoutFiles(t *testing.T) {
	for _, kind := range []string{"sandboxes", "containers"} {
		r := pure("/usr/bin/crun")
		r.log, r.cfg.Dir, r.cfg.RunDir = slog.New(slog.DiscardHandler), filepath.Join(t.TempDir(), "containers"), filepath.Join(t.TempDir(), "run")
		state := filepath.Join(r.cfg.Dir, kind, "a", stateFile)
		if err := errors.Join(os.MkdirAll(filepath.Dir(state), 0o700), os.WriteFile(state, []byte(`{"ID":"a","Config":{}}`), 0o600)); err != nil {
			t.Fatal(err)
		}
		// Enough files for the list of states, not for one of them.
		// Files that something else closes meanwhile are more.
		err := withFiles(t, 2, r.recover)
		for try := 0; err == nil && try < 20; try++ {
			err = withFiles(t, 2, r.recover)
		}
		if !errors.Is(err, unix.EMFILE) {
			t.Errorf("%s: recovered, %v", kind, err)
		}
		if _, err := os.Stat(state); err != nil {
			t.Error(err)
		}
	}
}

// withFiles calls fn while this process may open only so many files more.
func withFiles(t *testing.T, more int, fn func() error) error {
	t.Helper()
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	last, top := 0, 0
	for _, e := range entries {
		if n, err := strconv.Atoi(e.Name()); err == nil {
			last = max(last, n)
		}
	}
	for took := -1; took < last; { // no number below that of the last one stays free
		f, err := os.Open("/dev/null")
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		took = int(f.Fd())
		top = max(top, took)
	}
	few := limit
	few.Cur = uint64(top + 1 + more)
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &few); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
			t.Error(err)
		}
	}()
	return fn()
}

// A sandbox is stopped on a full disk, too: what its Pod has on it goes only after that.
func TestSandboxIsStoppedOnAFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("file systems are mounted by root")
	}
	r := pure("/usr/bin/crun")
	r.log = slog.New(slog.DiscardHandler)
	r.cfg.Dir, r.cfg.RunDir, r.cfg.Cgroup = t.TempDir(), t.TempDir(), host.Cgroup{Root: t.TempDir(), Path: "node"}
	config := &runtimeapi.PodSandboxConfig{Metadata: &runtimeapi.PodSandboxMetadata{Uid: "uid"}}
	sb := r.newSandbox(sandboxState{ID: newID(), Config: config, Ready: true})
	r.sandboxes[sb.state.ID] = sb
	disk := filepath.Dir(sb.dir)
	if err := errors.Join(os.Mkdir(disk, 0o700), host.MountTmpfs(disk, "nr_inodes=2")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := host.Unmount(disk); err != nil {
			t.Error(err)
		}
	})
	if err := os.Mkdir(sb.dir, 0o700); err != nil {
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
