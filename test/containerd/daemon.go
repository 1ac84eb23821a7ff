package containerd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"minato/internal/host"
)

// Pause is the image of sandboxes, which test/images makes.
const Pause = "registry.k8s.io/pause:3.10.2"

// loopbacks are where the plugin is that sets up the loopback interface.
var loopbacks = []string{"/usr/lib/cni/loopback", "/opt/cni/bin/loopback"}

// ErrMissing says that programs are not installed.
var ErrMissing = errors.New("install Debian's packages containerd, runc and containernetworking-plugins")

// configuration is containerd's. Tests often run where nobody may make a process
// less likely to be killed, and without AppArmor. The namespaces of Pods are below the
// daemon's directory: one that is killed while it makes a Pod forgets what it has made,
// and Remove unmounts that.
const configuration = `version = 2
root = %[1]q
state = %[2]q
[grpc]
  address = %[3]q
[plugins."io.containerd.internal.v1.opt"]
  path = %[4]q
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = %[5]q
  disable_apparmor = true
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.test-handler]
    runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = %[6]q
    conf_dir = %[7]q
`

// Daemon is a containerd.
type Daemon struct {
	dir     string
	program string
	log     *os.File
	cmd     *exec.Cmd // nil while it does not run
}

// New prepares a daemon whose files are all in dir, which may be one of an earlier
// daemon. CONTAINERD and LOOPBACK name programs that are elsewhere than Debian has
// them.
func New(dir string) (*Daemon, error) {
	program := os.Getenv("CONTAINERD")
	if program == "" {
		program = "containerd"
	}
	program, err := exec.LookPath(program)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMissing, err)
	}
	loopback := os.Getenv("LOOPBACK")
	if i := slices.IndexFunc(loopbacks, exists); loopback == "" && i >= 0 {
		loopback = loopbacks[i]
	}
	plugin, err := os.ReadFile(loopback)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMissing, err)
	}
	d := &Daemon{dir: dir, program: program}
	for _, path := range []string{d.Plugins(), d.Networks()} {
		if err := os.MkdirAll(path, 0o755); err != nil {
			return nil, err
		}
	}
	text := fmt.Sprintf(configuration, d.path("root"), d.path("state"), d.path("sock"), d.path("opt"), Pause, d.Plugins(), d.Networks())
	return d, errors.Join(
		os.WriteFile(filepath.Join(d.Plugins(), "loopback"), plugin, 0o755),
		os.WriteFile(d.path("config.toml"), []byte(text), 0o644))
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func (d *Daemon) path(name string) string { return filepath.Join(d.dir, name) }

// Plugins is where it looks for CNI plugins, and Networks where for their
// configurations.
func (d *Daemon) Plugins() string { return d.path("plugins") }

// Networks is described with Plugins.
func (d *Daemon) Networks() string { return d.path("net.d") }

// Endpoint is its socket.
func (d *Daemon) Endpoint() string { return "unix://" + d.path("sock") }

// Log is what it has printed.
func (d *Daemon) Log() string { return d.path("log") }

// Start runs the daemon until Stop, and returns when it serves the CRI.
func (d *Daemon) Start(ctx context.Context) error {
	var err error
	if d.log, err = os.OpenFile(d.Log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600); err != nil {
		return err
	}
	d.cmd = exec.Command(d.program, "-c", d.path("config.toml"))
	d.cmd.Dir, d.cmd.Stdout, d.cmd.Stderr = "/", d.log, d.log
	d.cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(d.program)+":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // what ends a test by a key is not for it
	if err := d.cmd.Start(); err != nil {
		return errors.Join(err, d.log.Close())
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	if err := d.await(ctx); err != nil {
		return errors.Join(fmt.Errorf("containerd does not serve the CRI: %w", err), d.Stop())
	}
	return nil
}

// await returns when the CRI is served: the socket is there before that is.
func (d *Daemon) await(ctx context.Context) error {
	conn, err := grpc.NewClient(d.Endpoint(), grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultCallOptions(grpc.WaitForReady(true)))
	if err != nil {
		return err
	}
	defer conn.Close()
	client := runtimeapi.NewRuntimeServiceClient(conn)
	for {
		_, err := client.Version(ctx, &runtimeapi.VersionRequest{})
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// Signal sends the daemon a signal: SIGSTOP has it hang, SIGCONT go on.
func (d *Daemon) Signal(s syscall.Signal) error { return d.cmd.Process.Signal(s) }

// Stop ends the daemon. Containers go on.
func (d *Daemon) Stop() error {
	if d.cmd == nil {
		return nil
	}
	_ = d.cmd.Process.Signal(syscall.SIGCONT)
	err := d.cmd.Process.Signal(syscall.SIGTERM)
	_ = d.cmd.Wait() // it was told to end
	d.cmd = nil
	return errors.Join(err, d.log.Close())
}

// Remove ends the daemon and removes all of it. Containers that are left are ended:
// their shims, by the socket's path in their arguments.
func (d *Daemon) Remove() error {
	err := errors.Join(d.Stop(), d.endShims())
	return errors.Join(err, host.UnmountAllUnder(d.dir), host.RemoveTree(d.dir))
}

// Processes are the daemon and the shims of its Pods, which have its socket's path in
// their arguments.
func (d *Daemon) Processes() ([]int, error) {
	shims, err := d.shims()
	if d.cmd != nil {
		shims = append(shims, d.cmd.Process.Pid)
	}
	return shims, err
}

func (d *Daemon) shims() ([]int, error) {
	found, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, path := range found {
		text, err := os.ReadFile(path)
		if args := strings.Split(string(text), "\x00"); err != nil || !strings.Contains(args[0], "containerd-shim") || !slices.Contains(args, d.path("sock")) {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path))); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

func (d *Daemon) endShims() error {
	shims, err := d.shims()
	errs := []error{err}
	for _, pid := range shims {
		children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
		errs = append(errs, end(pid))
		for child := range strings.FieldsSeq(string(children)) {
			if n, err := strconv.Atoi(child); err == nil {
				errs = append(errs, end(n))
			}
		}
	}
	return errors.Join(errs...)
}

func end(pid int) error {
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		return err
	}
	return nil
}

// Import loads images into the daemon.
func (d *Daemon) Import(ctx context.Context, archives ...string) error {
	for _, path := range archives {
		if out, err := d.ctr(ctx, "images", "import", path); err != nil {
			return fmt.Errorf("import %s: %w: %s", path, err, out)
		}
	}
	return nil
}

func (d *Daemon) ctr(ctx context.Context, args ...string) ([]byte, error) {
	all := append([]string{"--address", d.path("sock"), "--namespace", "k8s.io"}, args...)
	return exec.CommandContext(ctx, filepath.Join(filepath.Dir(d.program), "ctr"), all...).CombinedOutput()
}

// Containers lists the IDs of what is left in the daemon.
func (d *Daemon) Containers(ctx context.Context) ([]string, error) {
	out, err := d.ctr(ctx, "containers", "list", "-q")
	if err != nil {
		return nil, fmt.Errorf("list containers: %w: %s", err, out)
	}
	return strings.Fields(string(out)), nil
}
