package oci

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"minato/internal/host"
)

// sandbox is what the containers of a Pod share: namespaces, a cgroup, and some
// files.
type sandbox struct {
	nodeNetns host.Netns
	dir       string // persistent
	runDir    string

	op sync.RWMutex // held for writing to start and stop it, for reading to make containers in it

	mu    sync.Mutex // guards state's changing fields: Ready, IPs, Holder; and saved
	state sandboxState
	saved saved
}

func (r *Runtime) newSandbox(state sandboxState) *sandbox {
	return &sandbox{
		nodeNetns: r.cfg.NodeNetns,
		dir:       filepath.Join(r.cfg.Dir, "sandboxes", state.ID),
		runDir:    filepath.Join(r.cfg.RunDir, "sandboxes", state.ID),
		state:     state,
	}
}

func (sb *sandbox) options() *runtimeapi.NamespaceOption {
	return sb.state.Config.GetLinux().GetSecurityContext().GetNamespaceOptions()
}

func (sb *sandbox) hostNetwork() bool {
	return sb.options().GetNetwork() == runtimeapi.NamespaceMode_NODE
}
func (sb *sandbox) hostIPC() bool { return sb.options().GetIpc() == runtimeapi.NamespaceMode_NODE }

// sharedPID tells whether all containers see each other's processes. That is
// CRI's zero value, so a sandbox without any namespace options does not count.
func (sb *sandbox) sharedPID() bool {
	return sb.options() != nil && sb.options().GetPid() == runtimeapi.NamespaceMode_POD
}

func (sb *sandbox) netns() host.Netns {
	if sb.hostNetwork() {
		return sb.nodeNetns
	}
	return host.Netns{Name: sb.state.ID, Path: filepath.Join(sb.namespaceDir(), "net")}
}

func (sb *sandbox) info() SandboxInfo {
	meta := sb.state.Config.GetMetadata()
	return SandboxInfo{
		ID: sb.state.ID, Namespace: meta.GetNamespace(), Name: meta.GetName(), UID: meta.GetUid(),
		NetnsPath: sb.netns().Path, Labels: sb.state.Config.GetLabels(), PortMappings: sb.state.Config.GetPortMappings(),
	}
}

// Connected calls fn for each sandbox that the Network has connected, also in an
// earlier process, and has not disconnected since.
func (r *Runtime) Connected(fn func(sb SandboxInfo, ips []netip.Addr)) {
	r.mu.Lock()
	all := slices.Collect(maps.Values(r.sandboxes))
	r.mu.Unlock()
	for _, sb := range all {
		if s := sb.snapshot(); s.Ready && !sb.hostNetwork() {
			fn(sb.info(), s.IPs)
		}
	}
}

func (sb *sandbox) ready() bool {
	sb.mu.Lock()
	defer sb.mu.Unlock()
	return sb.state.Ready
}

// change changes the state and writes it down.
func (sb *sandbox) change(fn func(*sandboxState)) error {
	sb.mu.Lock()
	defer sb.mu.Unlock()
	fn(&sb.state)
	return sb.saved.save(sb.dir, &sb.state)
}

// RunPodSandbox implements CRI.
func (r *Runtime) RunPodSandbox(ctx context.Context, config *runtimeapi.PodSandboxConfig, handler string) (string, error) {
	meta := config.GetMetadata()
	if err := errors.Join(r.checkHandler(handler), r.checkSandbox(config), r.checkHandlerUsers(handler, config)); err != nil {
		return "", fmt.Errorf("run pod sandbox %s/%s: %w", meta.GetNamespace(), meta.GetName(), err)
	}
	sb := r.newSandbox(sandboxState{ID: newID(), Config: config, Handler: handler, CreatedAt: time.Now(), Boot: r.boot})
	sb.op.Lock()
	defer sb.op.Unlock()
	if err := r.startSandbox(ctx, sb); err != nil {
		err = fmt.Errorf("run pod sandbox %s/%s: %w", meta.GetNamespace(), meta.GetName(), err)
		cleanup, cancel := context.WithTimeout(context.WithoutCancel(ctx), runtimeTimeout)
		defer cancel()
		return "", errors.Join(err, r.tearDown(cleanup, sb), r.forgetSandbox(sb))
	}
	return sb.state.ID, nil
}

func (r *Runtime) startSandbox(ctx context.Context, sb *sandbox) error {
	for _, dir := range []string{sb.dir, sb.runDir} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			return err
		}
	}
	// The state file comes first, so that the next process finds what a crash
	// from here on leaves.
	if err := sb.change(func(*sandboxState) {}); err != nil {
		return err
	}
	r.mu.Lock()
	r.sandboxes[sb.state.ID] = sb
	r.mu.Unlock()
	hostname := sb.state.Config.GetHostname()
	if sb.hostNetwork() || hostname == "" {
		hostname = r.cfg.Hostname
	}
	if err := r.makePodCgroup(sb); err != nil {
		return err
	}
	if err := r.setUpNamespaces(ctx, sb, hostname); err != nil {
		return err
	}
	if err := sb.writeFiles(hostname); err != nil {
		return err
	}
	var ips []netip.Addr
	if !sb.hostNetwork() && r.cfg.Network != nil {
		var err error
		if ips, err = r.cfg.Network.Attach(ctx, sb.info()); err != nil {
			return fmt.Errorf("connect to the pod network: %w", err)
		}
	}
	return sb.change(func(s *sandboxState) { s.IPs, s.Ready = ips, true })
}

// setUpNamespaces makes the sandbox's namespaces, and starts the process that
// keeps those that a mount does not.
func (r *Runtime) setUpNamespaces(ctx context.Context, sb *sandbox, hostname string) error {
	if err := os.MkdirAll(sb.namespaceDir(), 0o700); err != nil {
		return err
	}
	if sb.users() != nil {
		return r.foundNamespaces(ctx, sb, hostname)
	}
	if err := sb.makeNamespaces(hostname); err != nil || !sb.sharedPID() {
		return err
	}
	return r.startHolder(sb)
}

// makePodCgroup makes the cgroup that all of the Pod's containers are below.
func (r *Runtime) makePodCgroup(sb *sandbox) error {
	cg := r.podCgroup(sb.info().UID)
	if err := cg.Create(); err != nil {
		return err
	}
	if r.hugetlb == hugetlbOwn {
		if err := cg.DelegateHugePages(); err != nil {
			return err
		}
	}
	limits := podLimitsOf(sb.state.Config.GetLinux())
	limits.processes = podProcesses(r.cfg.PodPidsLimit, readPIDMax())
	return r.limitPod(sb.info().UID, limits, podHugePages(sb.state.Config.GetLinux()))
}

// StopPodSandbox implements CRI.
func (r *Runtime) StopPodSandbox(ctx context.Context, id string) error {
	sb, err := r.sandbox(id)
	if err != nil {
		return nil // gone already, as CRI wants it
	}
	sb.op.Lock()
	defer sb.op.Unlock()
	return r.stopSandbox(ctx, sb)
}

func (r *Runtime) stopSandbox(ctx context.Context, sb *sandbox) error {
	err := sb.change(func(s *sandboxState) { s.Ready = false })
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		// What fills the disk may be the Pod's, and only goes once its sandbox is stopped. The
		// next process sees by the namespaces that the sandbox is not ready.
		r.log.Warn("the disk has no room to note that a Pod sandbox is stopped; it is stopped all the same", "sandbox", sb.state.ID, "error", err)
	} else if err != nil {
		return err
	}
	var errs []error
	for _, c := range r.containersOf(sb.state.ID) {
		errs = append(errs, r.stop(ctx, c, 0))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("stop pod sandbox %s: %w", sb.state.ID, err)
	}
	if err := r.tearDown(ctx, sb); err != nil {
		return fmt.Errorf("stop pod sandbox %s: %w", sb.state.ID, err)
	}
	return nil
}

// tearDown undoes startSandbox but for the directories; twice is fine.
func (r *Runtime) tearDown(ctx context.Context, sb *sandbox) error {
	if !sb.hostNetwork() && r.cfg.Network != nil {
		if err := r.cfg.Network.Detach(ctx, sb.info()); err != nil {
			return fmt.Errorf("disconnect from the pod network: %w", err)
		}
	}
	if err := r.stopHolder(ctx, sb); err != nil {
		return err
	}
	// Namespaces, and /dev/shm and the files of the sandbox.
	return errors.Join(host.UnmountEntries(sb.namespaceDir()), host.UnmountEntries(sb.runDir))
}

// RemovePodSandbox implements CRI.
func (r *Runtime) RemovePodSandbox(ctx context.Context, id string) error {
	sb, err := r.sandbox(id)
	if err != nil {
		return nil // gone already, as CRI wants it
	}
	sb.op.Lock()
	defer sb.op.Unlock()
	if err := r.stopSandbox(ctx, sb); err != nil {
		return err
	}
	for _, c := range r.containersOf(id) {
		if err := r.remove(ctx, c); err != nil {
			return fmt.Errorf("remove pod sandbox %s: %w", id, err)
		}
	}
	if err := r.forgetSandbox(sb); err != nil {
		return fmt.Errorf("remove pod sandbox %s: %w", id, err)
	}
	return nil
}

func (r *Runtime) forgetSandbox(sb *sandbox) error {
	r.mu.Lock()
	delete(r.sandboxes, sb.state.ID)
	uid := sb.info().UID
	last := true
	for _, other := range r.sandboxes {
		last = last && other.info().UID != uid
	}
	r.mu.Unlock()
	var errs []error
	if last {
		errs = append(errs, r.podCgroup(uid).Delete())
	}
	errs = append(errs, host.ClearTree(sb.runDir), host.ClearTree(sb.dir))
	return errors.Join(errs...)
}

func newID() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}
