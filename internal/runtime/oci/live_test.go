package oci

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	utilexec "k8s.io/utils/exec"

	"minato/internal/host"
	"minato/internal/runtime/image"
)

const testImage = "minato.test/tool:1"

// deadline is for things that take milliseconds; machines that run tests are
// sometimes slow.
const deadline = 20 * time.Second

// node is one node's runtime on this machine, with everything it needs.
type node struct {
	*Runtime
	t          testing.TB
	cfg        Config
	logs       string
	clusterDir string // the cluster's, on disk and not; the node sees its own parts of them only
	clusterRun string
	cancel     context.CancelFunc
	done       chan error
}

// toolImage is built once: a static binary, with users and a few files.
var toolImage = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "mt-runtime-image-")
	if err != nil {
		return "", err
	}
	bin := filepath.Join(dir, "tool")
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", bin, "./testdata/tool")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build test program: %w: %s", err, out)
	}
	data, err := os.ReadFile(bin)
	if err != nil {
		return "", err
	}
	var layer bytes.Buffer
	tw := tar.NewWriter(&layer)
	for _, f := range []struct {
		name, body string
		mode       int64
	}{
		{"tool", string(data), 0o755},
		{"etc/passwd", "root:x:0:0:root:/root:/bin/sh\napp:x:1234:1235::/home/app:/bin/sh\n", 0o644},
		{"etc/group", "root:x:0:\napp:x:1235:\nextra:x:4000:app,root\n", 0o644},
	} {
		tw.WriteHeader(&tar.Header{Name: f.name, Mode: f.mode, Size: int64(len(f.body)), Typeflag: tar.TypeReg})
		io.WriteString(tw, f.body)
	}
	for _, d := range []string{"proc", "sys", "dev"} {
		tw.WriteHeader(&tar.Header{Name: d, Mode: 0o755, Typeflag: tar.TypeDir})
	}
	tw.WriteHeader(&tar.Header{Name: "tmp", Mode: 0o1777, Typeflag: tar.TypeDir})
	tw.Close()
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(layer.Bytes())), nil })
	if err != nil {
		return "", err
	}
	img, err := mutate.AppendLayers(empty.Image, l)
	if err != nil {
		return "", err
	}
	cf, err := img.ConfigFile()
	if err != nil {
		return "", err
	}
	cf = cf.DeepCopy()
	cf.OS, cf.Architecture = "linux", goarch()
	cf.Config = v1.Config{Entrypoint: []string{"/tool"}, Cmd: []string{"echo", "default"}, Env: []string{"FROM_IMAGE=yes", "PATH=/"}, WorkingDir: "/"}
	if img, err = mutate.ConfigFile(img, cf); err != nil {
		return "", err
	}
	tag, err := name.NewTag(testImage)
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "tool.tar")
	return path, tarball.WriteToFile(path, tag, img)
})

func TestMain(m *testing.M) {
	code := m.Run()
	if path, err := toolImage(); err == nil {
		os.RemoveAll(filepath.Dir(path))
	}
	os.Exit(code)
}

// newNode skips where the machine can't run containers. MINATO_TEST_RUNTIME
// chooses another OCI runtime than the one that New would.
func newNode(t testing.TB) *node {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("running containers needs root")
	}
	layout, err := host.Cgroups()
	if err != nil {
		t.Skip(err)
	}
	runtimePath := os.Getenv("MINATO_TEST_RUNTIME")
	if _, err := findPrograms(Config{Runtime: runtimePath}, layout); err != nil {
		t.Skip(err)
	}
	archive, err := toolImage()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("/var/tmp", "mt-runtime-") // overlayfs wants a real disk
	if err != nil {
		t.Fatal(err)
	}
	run, err := os.MkdirTemp("/run", "mt-runtime-")
	if err != nil {
		t.Fatal(err)
	}
	store, err := image.Open(filepath.Join(dir, "store"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.Load(t.Context(), archive, nil); err != nil {
		t.Fatal(err)
	}
	n := &node{t: t, logs: filepath.Join(dir, "logs"), clusterDir: dir, clusterRun: run, cfg: Config{
		NodeName: "node-1", Dir: filepath.Join(dir, "node", "containers"), RunDir: filepath.Join(run, "node", "containers"),
		Store: store, Cgroup: host.Cgroup{Path: "minato/" + filepath.Base(dir) + "/node-1"}, Runtime: runtimePath,
		Logger: slog.New(slog.NewTextHandler(testLog{t}, nil)),
	}}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), deadline)
		defer cancel()
		n.stop()
		if err := Delete(ctx, n.cfg); err != nil {
			t.Error(err)
		}
		if err := (host.Cgroup{Path: "minato/" + filepath.Base(dir)}).Delete(); err != nil {
			t.Error(err)
		}
		for _, d := range []string{dir, run} {
			if err := errors.Join(n.cfg.MountNS.Close(), host.UnmountAllUnder(d), host.RemoveTree(d)); err != nil {
				t.Error(err)
			}
			n.cfg.MountNS = nil
		}
	})
	n.openMountNS()
	if err := os.Chmod(filepath.Join(run, "node"), 0o711); err != nil { // as the agent does
		t.Fatal(err)
	}
	n.start()
	return n
}

func (n *node) mountNSPin() string { return filepath.Join(n.clusterRun, "mntns", "node-1") }

// openMountNS makes the node's mount namespace, or opens it again.
func (n *node) openMountNS() {
	n.t.Helper()
	if err := n.cfg.MountNS.Close(); err != nil {
		n.t.Fatal(err)
	}
	var files []string
	if path := n.cfg.NodeNetns.Path; path != "" {
		files = append(files, path) // the OCI runtime looks it up there
	}
	var err error
	n.cfg.MountNS, err = host.CreateMountNS(host.MountNSConfig{
		Name: n.cfg.NodeName, Path: n.mountNSPin(), Files: files,
		Root: filepath.Join(n.clusterDir, "node", "root"), Changes: filepath.Join(n.clusterDir, "node", "changes"),
		Binds: []host.Bind{{Source: os.TempDir(), Target: os.TempDir()}}, // where tests have what containers mount
		Cover: []string{n.clusterDir, n.clusterRun}, Keep: []string{filepath.Join(n.clusterDir, "node"), n.logs, filepath.Join(n.clusterRun, "node")},
	})
	if err != nil {
		n.t.Fatal(err)
	}
}

func (n *node) start() {
	n.t.Helper()
	r, err := New(n.cfg)
	if err != nil {
		n.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	n.Runtime, n.cancel, n.done = r, cancel, make(chan error, 1)
	go func() { n.done <- r.Run(ctx) }()
}

func (n *node) stop() {
	if n.cancel == nil {
		return
	}
	n.cancel()
	if err := <-n.done; !errors.Is(err, context.Canceled) {
		n.t.Errorf("Run: %v", err)
	}
	n.cancel = nil
}

type testLog struct{ t testing.TB }

func (l testLog) Write(p []byte) (int, error) {
	l.t.Logf("%s", bytes.TrimSpace(p))
	return len(p), nil
}

func sandboxConfig(name string) *runtimeapi.PodSandboxConfig {
	return &runtimeapi.PodSandboxConfig{
		Metadata:  &runtimeapi.PodSandboxMetadata{Name: name, Namespace: "default", Uid: "uid-" + name},
		Hostname:  name,
		DnsConfig: &runtimeapi.DNSConfig{Servers: []string{"10.96.0.10"}, Searches: []string{"default.svc.cluster.local"}, Options: []string{"ndots:5"}},
		Labels:    map[string]string{"app": name},
		Linux: &runtimeapi.LinuxPodSandboxConfig{SecurityContext: &runtimeapi.LinuxSandboxSecurityContext{
			NamespaceOptions: &runtimeapi.NamespaceOption{Pid: runtimeapi.NamespaceMode_CONTAINER},
		}},
	}
}

func containerConfig(args ...string) *runtimeapi.ContainerConfig {
	return &runtimeapi.ContainerConfig{
		Metadata: &runtimeapi.ContainerMetadata{Name: "main"},
		Image:    &runtimeapi.ImageSpec{Image: testImage},
		Args:     args,
		LogPath:  "main/0.log",
		Linux: &runtimeapi.LinuxContainerConfig{SecurityContext: &runtimeapi.LinuxContainerSecurityContext{
			NamespaceOptions: &runtimeapi.NamespaceOption{Pid: runtimeapi.NamespaceMode_CONTAINER},
		}},
	}
}

// pod makes a sandbox whose logs have a directory of their own.
func (n *node) pod(cfg *runtimeapi.PodSandboxConfig) string {
	n.t.Helper()
	cfg.LogDirectory = filepath.Join(n.logs, cfg.GetMetadata().GetUid())
	id, err := n.RunPodSandbox(n.t.Context(), cfg, "")
	if err != nil {
		n.t.Fatal(err)
	}
	return id
}

// run creates and starts a container.
func (n *node) run(sandboxID string, cfg *runtimeapi.ContainerConfig) string {
	n.t.Helper()
	id, err := n.CreateContainer(n.t.Context(), sandboxID, cfg, nil)
	if err != nil {
		n.t.Fatal(err)
	}
	if err := n.StartContainer(n.t.Context(), id); err != nil {
		n.t.Fatal(err)
	}
	return id
}

func (n *node) status(id string) *runtimeapi.ContainerStatus {
	n.t.Helper()
	resp, err := n.ContainerStatus(n.t.Context(), id, false)
	if err != nil {
		n.t.Fatal(err)
	}
	return resp.GetStatus()
}

func (n *node) awaitExit(id string) *runtimeapi.ContainerStatus {
	n.t.Helper()
	eventually(n.t, "the container to exit", func() bool {
		return n.status(id).GetState() == runtimeapi.ContainerState_CONTAINER_EXITED
	})
	return n.status(id)
}

// logLines returns the lines that the container has written, without time
// stamps. Those that conmon read in parts, as it may of a terminal, are whole:
// the log's tag P says that the next entry goes on with the line.
func (n *node) logLines(id string) []string {
	n.t.Helper()
	data, err := os.ReadFile(n.status(id).GetLogPath())
	if err != nil {
		n.t.Fatal(err)
	}
	var out []string
	partial := map[string]string{} // of each stream
	for line := range strings.Lines(string(data)) {
		if !strings.HasSuffix(line, "\n") {
			break // conmon is writing it
		}
		fields := strings.SplitN(strings.TrimSuffix(line, "\n"), " ", 4)
		if len(fields) != 4 {
			n.t.Fatalf("log line %q is not in CRI's format", line)
		}
		if _, err := time.Parse(time.RFC3339Nano, fields[0]); err != nil {
			n.t.Fatal(err)
		}
		stream, text := fields[1], partial[fields[1]]+fields[3]
		if fields[2] == "P" {
			partial[stream] = text
			continue
		}
		delete(partial, stream)
		out = append(out, stream+": "+text)
	}
	return out
}

func (n *node) awaitLog(id, line string) {
	n.t.Helper()
	eventually(n.t, "log line "+line, func() bool { return slices.Contains(n.logLines(id), line) })
}

func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	end := time.Now().Add(deadline)
	for !cond() {
		if time.Now().After(end) {
			t.Fatalf("waited %v for %s", deadline, what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// leftovers lists what is there of the node beyond its directories.
func (n *node) leftovers() []string {
	n.t.Helper()
	var out []string
	pids, err := n.cfg.Cgroup.Procs()
	if err != nil {
		n.t.Fatal(err)
	}
	for _, pid := range pids {
		out = append(out, fmt.Sprintf("process %d", pid))
	}
	mounts, err := host.MountsUnder(n.cfg.RunDir)
	if err != nil {
		n.t.Fatal(err)
	}
	out = append(out, mounts...)
	layout, _ := host.Cgroups()
	for _, root := range append(layout.V1, layout.V2Root) {
		pods, _ := filepath.Glob(filepath.Join(root, n.cfg.Cgroup.Path, "pod*"))
		out = append(out, pods...)
	}
	for _, pattern := range []string{"sandboxes/*", "containers/*", "exits/*", "runtime/*"} {
		files, _ := filepath.Glob(filepath.Join(n.cfg.RunDir, pattern))
		more, _ := filepath.Glob(filepath.Join(n.cfg.Dir, pattern))
		out = append(append(out, files...), more...)
	}
	return out
}

type fakeNetwork struct {
	mu       sync.Mutex
	attached map[string]SandboxInfo
	err      error
}

func (f *fakeNetwork) Attach(_ context.Context, sb SandboxInfo) ([]netip.Addr, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return nil, f.err
	}
	if f.attached == nil {
		f.attached = map[string]SandboxInfo{}
	}
	f.attached[sb.ID] = sb
	return []netip.Addr{netip.MustParseAddr("10.244.1.5")}, nil
}

func (f *fakeNetwork) Detach(_ context.Context, sb SandboxInfo) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.attached, sb.ID)
	return nil
}

func exitCode(err error) int {
	var code utilexec.CodeExitError
	if errors.As(err, &code) {
		return code.Code
	}
	return -1
}

func readTestFile(t testing.TB, dir, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(data))
}

func writeTestFile(t testing.TB, dir, name string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
		t.Fatal(err)
	}
}
