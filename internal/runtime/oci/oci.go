package oci

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"sync"

	"github.com/opencontainers/selinux/go-selinux"
	cri "k8s.io/cri-api/pkg/apis"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"minato/internal/host"
	"minato/internal/runtime/image"
)

var _ cri.RuntimeService = (*Runtime)(nil)

var (
	// ErrNotFound says that there is no such sandbox or container.
	ErrNotFound = errors.New("not found")
	// ErrNotRunning says that the container runs no process.
	ErrNotRunning = errors.New("container is not running")
	// ErrUnsupported says that this runtime can't do what was asked.
	ErrUnsupported = errors.New("not supported by this runtime")
)

// Config says where one node's containers live.
type Config struct {
	// NodeName is for messages; Hostname is what pods on the host's network
	// see as their host name (NodeName where empty).
	NodeName, Hostname string
	// Dir keeps what has to survive a reboot: state and writable layers.
	Dir string
	// RunDir keeps the rest: namespaces, mounts, sockets. It should be on a
	// tmpfs, so that a reboot empties it.
	RunDir string
	Store  *image.Store
	// Cgroup is the node's own; it is made if missing.
	Cgroup host.Cgroup
	// Network connects pods; nil leaves them with a loopback interface only.
	Network Network
	// NodeNetns is where pods on the host's network run.
	NodeNetns host.Netns
	// MountNS is the node's; nil is this process's own. The OCI runtime and
	// conmon run in it, so what containers mount of the node is looked up there.
	// It has to show Dir, RunDir and log directories at the same paths, with
	// mounts that this process makes below them.
	MountNS *host.MountNS
	// Runtime and Conmon are paths or names of programs. An empty Runtime
	// takes crun, or runc where there is no crun or it can't work.
	Runtime, Conmon string
	// Handlers are further OCI runtimes, paths or names of programs by the names
	// that RuntimeClasses have for them.
	Handlers map[string]string
	// SeccompDir holds the node's seccomp profiles of type Localhost, as the
	// kubelet's /var/lib/kubelet/seccomp does; "seccomp" beside Dir where empty.
	SeccompDir string
	// PodPidsLimit limits the processes and threads of each Pod, as the
	// kubelet's podPidsLimit does: 0 is 32768, or half of the machine's process
	// numbers where that is less, and a negative number no limit.
	PodPidsLimit int64
	// Limits are those of the node, in whose cgroup all of its Pods are.
	Limits Limits
	// RaiseLimit makes a limit of the machine, named by its path below
	// /proc/sys, at least so high; whoever gives it puts the limit back in the
	// end. Nil leaves the machine as it is.
	RaiseLimit func(path string, least int64) error
	// Gate is what containers pass on their way to be created and started.
	Gate   *Gate
	Logger *slog.Logger
}

// Network connects pod sandboxes. Both methods may be called again for a
// sandbox that they were called for before.
type Network interface {
	Attach(ctx context.Context, sb SandboxInfo) ([]netip.Addr, error)
	Detach(ctx context.Context, sb SandboxInfo) error
}

// SandboxInfo is what a Network may know about a sandbox.
type SandboxInfo struct {
	ID, Namespace, Name, UID string
	// NetnsPath is the sandbox's network namespace. On Detach the namespace
	// may be gone already, after a reboot.
	NetnsPath    string
	Labels       map[string]string
	PortMappings []*runtimeapi.PortMapping
}

// Runtime runs the containers of one node.
type Runtime struct {
	cfg Config
	log *slog.Logger
	oci program
	// handlers are the OCI runtimes by the names that RuntimeClasses have for them.
	handlers map[string]program
	layout   host.CgroupLayout
	hugetlb  hugetlb
	boot     string // this boot's ID, to tell processes from those of the last one
	// selinux tells whether the kernel has SELinux and uses it.
	selinux bool

	mu         sync.Mutex
	sandboxes  map[string]*sandbox
	containers map[string]*container

	watch  watcher
	events Broadcaster
}

// New finds the programs that are needed and what an earlier process has left
// running. Nothing is started; [Runtime.Run] does that.
func New(cfg Config) (*Runtime, error) {
	if err := cfg.complete(); err != nil {
		return nil, fmt.Errorf("container runtime of node %s: %w", cfg.NodeName, err)
	}
	r := &Runtime{
		cfg: cfg, log: cfg.Logger, selinux: selinux.GetEnabled(),
		sandboxes: map[string]*sandbox{}, containers: map[string]*container{},
	}
	var err error
	if r.layout, err = host.Cgroups(); err != nil {
		return nil, err
	}
	if r.oci, err = findPrograms(cfg, r.layout); err != nil {
		return nil, fmt.Errorf("container runtime of node %s: %w", cfg.NodeName, err)
	}
	r.findHandlers()
	if r.boot, err = bootID(); err != nil {
		return nil, err
	}
	if err := r.makeDirs(); err != nil {
		return nil, fmt.Errorf("container runtime of node %s: %w", cfg.NodeName, err)
	}
	if err := r.recover(); err != nil {
		return nil, fmt.Errorf("container runtime of node %s: %w", cfg.NodeName, err)
	}
	return r, nil
}

func (c *Config) complete() error {
	switch {
	case c.Dir == "" || c.RunDir == "":
		return errors.New("Dir and RunDir are required")
	case c.Store == nil:
		return errors.New("Store is required")
	case c.Cgroup.Path == "":
		return errors.New("Cgroup is required")
	}
	c.Dir, c.RunDir = filepath.Clean(c.Dir), filepath.Clean(c.RunDir)
	if c.Hostname == "" {
		c.Hostname = c.NodeName
	}
	if c.SeccompDir == "" {
		c.SeccompDir = filepath.Join(filepath.Dir(c.Dir), "seccomp")
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return nil
}

func (r *Runtime) makeDirs() error {
	if err := os.MkdirAll(r.cfg.SeccompDir, 0o700); err != nil {
		return err
	}
	run := []string{"sandboxes", "containers", "exits", filepath.Base(r.oci.root)}
	for _, p := range r.handlers {
		run = append(run, filepath.Base(p.root))
	}
	if err := errors.Join(makeOwn(r.cfg.Dir, []string{"sandboxes", "containers"}), makeOwn(r.cfg.RunDir, run)); err != nil {
		return err
	}
	// Those of a user namespace who know the name of their container get to its
	// directory, and nobody can list the names.
	top, name := filepath.Split(r.cfg.RunDir)
	for _, name := range []string{name, filepath.Join(name, "containers")} {
		dir, err := host.DirBeneath(top, name)
		if err != nil {
			return err
		}
		if err := errors.Join(dir.Chmod(0o711), dir.Close()); err != nil {
			return err
		}
	}
	if err := r.cfg.Cgroup.Create(); err != nil {
		return err
	}
	r.hugetlb = r.findHugetlb()
	if err := r.limitNode(); err != nil {
		return err
	}
	return r.makeLeaf(r.conmonCgroup())
}

// makeOwn makes one of the runtime's directories and those in it. A Pod with a hostPath may
// have replaced it, but not the directory that has it: no link is followed out of that one.
func makeOwn(dir string, kinds []string) error {
	top, name := filepath.Dir(dir), filepath.Base(dir)
	if err := os.MkdirAll(top, 0o700); err != nil {
		return err
	}
	if err := host.MkdirBeneath(top, name, 0o700); err != nil {
		return err
	}
	for _, kind := range kinds {
		if err := host.MkdirBeneath(top, filepath.Join(name, kind), 0o700); err != nil {
			return err
		}
	}
	return nil
}

// Run waits for containers to exit, and writes down their exit codes, until ctx
// ends. Containers keep running afterwards.
func (r *Runtime) Run(ctx context.Context) error {
	for _, c := range r.allContainers() {
		if c.unfinished() {
			r.watch.add(c)
		}
	}
	r.sweep()
	r.raiseInotifyLimit()
	return r.watch.run(ctx, r.containerExited)
}

// Close implements CRI. There is nothing to close.
func (r *Runtime) Close(context.Context) error { return nil }

func (r *Runtime) sandbox(id string) (*sandbox, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if sb := r.sandboxes[id]; sb != nil {
		return sb, nil
	}
	return nil, fmt.Errorf("pod sandbox %s: %w", id, ErrNotFound)
}

func (r *Runtime) container(id string) (*container, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c := r.containers[id]; c != nil {
		return c, nil
	}
	return nil, fmt.Errorf("container %s: %w", id, ErrNotFound)
}

func (r *Runtime) allContainers() []*container {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]*container, 0, len(r.containers))
	for _, c := range r.containers {
		out = append(out, c)
	}
	return out
}

func (r *Runtime) containersOf(sandboxID string) []*container {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []*container
	for _, c := range r.containers {
		if c.state.SandboxID == sandboxID {
			out = append(out, c)
		}
	}
	return out
}
