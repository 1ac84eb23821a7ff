package oci

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"minato/internal/host"
	"minato/internal/runtime/image"
)

// container is one container and the conmon that watches it.
type container struct {
	dir    string // persistent: state and writable layer
	runDir string // the OCI bundle, conmon's sockets and the mounted root

	op   sync.Mutex    // one operation at a time; stopping takes none
	done chan struct{} // closed once it has exited

	mu    sync.Mutex // guards state from Phase on, Resources, and saved
	state containerState
	saved saved
}

func (r *Runtime) newContainer(state containerState) *container {
	c := &container{
		dir:    filepath.Join(r.cfg.Dir, "containers", state.ID),
		runDir: filepath.Join(r.cfg.RunDir, "containers", state.ID),
		done:   make(chan struct{}),
		state:  state,
	}
	if state.Phase == phaseExited {
		close(c.done)
	}
	return c
}

func (c *container) rootfs() string { return filepath.Join(c.runDir, "rootfs") }

// snapshot returns the state as it is now.
func (c *container) snapshot() containerState {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state
}

func (c *container) unfinished() bool {
	phase := c.snapshot().Phase
	return phase == phaseCreated || phase == phaseRunning
}

func (c *container) change(fn func(*containerState)) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	fn(&c.state)
	return c.saved.save(c.dir, &c.state)
}

// CreateContainer implements CRI. conmon and the OCI runtime are started here,
// so that everything is in place but the image's own program.
func (r *Runtime) CreateContainer(ctx context.Context, sandboxID string, config *runtimeapi.ContainerConfig, sandboxConfig *runtimeapi.PodSandboxConfig) (string, error) {
	sb, err := r.sandbox(sandboxID)
	if err != nil {
		return "", fmt.Errorf("create container %s: %w", config.GetMetadata().GetName(), err)
	}
	sb.op.RLock()
	defer sb.op.RUnlock()
	if !sb.ready() {
		return "", fmt.Errorf("create container %s: pod sandbox %s was stopped", config.GetMetadata().GetName(), sandboxID)
	}
	if err := r.checkContainer(sb, config); err != nil {
		return "", fmt.Errorf("create container %s: %w", config.GetMetadata().GetName(), err)
	}
	if sandboxConfig == nil {
		sandboxConfig = sb.state.Config
	}
	state := containerState{
		ID: newID(), SandboxID: sandboxID, PodUID: sb.info().UID, Config: config,
		Phase: phaseCreating, Boot: r.boot, CreatedAt: time.Now(),
		SharedPID: config.GetLinux().GetSecurityContext().GetNamespaceOptions().GetPid() != runtimeapi.NamespaceMode_CONTAINER,
		Resources: config.GetLinux().GetResources(),
	}
	p, known := r.handlers[sb.state.Handler]
	if !known {
		return "", fmt.Errorf("create container %s: %w", config.GetMetadata().GetName(), r.checkHandler(sb.state.Handler))
	}
	state.Program, state.ProgramRoot = p.path, p.root
	if config.GetLogPath() != "" {
		state.LogPath = filepath.Join(sandboxConfig.GetLogDirectory(), config.GetLogPath())
	}
	c := r.newContainer(state)
	c.op.Lock()
	defer c.op.Unlock()
	if err := r.create(ctx, sb, c); err != nil {
		cleanup, cancel := context.WithTimeout(context.WithoutCancel(ctx), runtimeTimeout)
		defer cancel()
		return "", errors.Join(fmt.Errorf("create container %s: %w", config.GetMetadata().GetName(), err), r.forgetContainer(cleanup, c))
	}
	r.mu.Lock()
	r.containers[c.state.ID] = c
	r.mu.Unlock()
	r.watch.add(c)
	r.emit(c, runtimeapi.ContainerEventType_CONTAINER_CREATED_EVENT)
	return c.state.ID, nil
}

func (r *Runtime) create(ctx context.Context, sb *sandbox, c *container) error {
	if err := c.makeDirs(sb); err != nil {
		return err
	}
	if err := c.change(func(*containerState) {}); err != nil {
		return err
	}
	img, err := r.cfg.Store.Pin(c.state.ID, c.state.Config.GetImage().GetImage())
	if err != nil {
		return err
	}
	c.describeImage(img)
	if err := r.mountRootfs(sb, c, img, c.rootfs(), c.upper(), filepath.Join(c.dir, "work")); err != nil {
		return err
	}
	if err := r.writeSpec(sb, c, img); err != nil {
		return err
	}
	if c.state.LogPath != "" {
		// conmon opens the file on the node.
		if err := r.cfg.MountNS.Root().MkdirAll(filepath.Dir(c.state.LogPath), 0o755); err != nil {
			return err
		}
	}
	if err := errors.Join(makeLeaf(r.cgroupOf(c)), r.limitHugePages(c)); err != nil {
		return err
	}
	pid, err := r.startConmon(ctx, c)
	if err != nil {
		return err
	}
	if err := errors.Join(r.adopt(c, pid), c.giveStreams(sb, pid)); err != nil {
		return err
	}
	return c.recordProcesses(pid)
}

// makeDirs makes the container's directories. Nobody but root gets into the one
// that its mounts are in, or the container's own root if that is another user.
func (c *container) makeDirs(sb *sandbox) error {
	for _, dir := range []string{c.dir, c.upper(), filepath.Join(c.dir, "work"), c.runDir, c.rootfs()} {
		// The writable layer's mode becomes that of the container's root.
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
	}
	users := sb.users()
	if users == nil {
		return os.Chmod(c.runDir, 0o700)
	}
	uid, gid := rootOf(users)
	return errors.Join(os.Chown(c.runDir, 0, gid), os.Chmod(c.runDir, 0o710), os.Chown(c.upper(), uid, gid))
}

func (c *container) upper() string { return filepath.Join(c.dir, "upper") }

func (c *container) describeImage(img *image.Image) {
	c.state.ImageID, c.state.ImageRef = img.ID, img.Ref()
	c.state.ImageName = c.state.Config.GetImage().GetUserSpecifiedImage()
	if c.state.ImageName == "" && len(img.Names) > 0 {
		c.state.ImageName = img.Names[0]
	}
	c.state.StopSignal = stopSignal(c.state.Config.GetStopSignal(), img.Config.Config.StopSignal)
}

func (c *container) recordProcesses(pid int) error {
	init, err := newProcess(pid)
	if err != nil {
		return fmt.Errorf("the container's process ended at once: %w", err)
	}
	conmon, err := c.readConmonPID()
	if err != nil {
		return err
	}
	return c.change(func(s *containerState) { s.Init, s.Conmon, s.Phase = init, conmon, phaseCreated })
}

// StartContainer implements CRI.
func (r *Runtime) StartContainer(ctx context.Context, id string) error {
	c, err := r.container(id)
	if err != nil {
		return fmt.Errorf("start container: %w", err)
	}
	c.op.Lock()
	defer c.op.Unlock()
	if p := c.snapshot().Phase; p != phaseCreated {
		return fmt.Errorf("start container %s: it is %s", id, p)
	}
	leave, err := r.cfg.Gate.enter(ctx)
	if err != nil {
		return fmt.Errorf("start container %s: %w", c.state.Config.GetMetadata().GetName(), err)
	}
	defer leave()
	// Set before, since the container may have ended when the command returns.
	if err := c.change(func(s *containerState) { s.StartedAt, s.Phase = time.Now(), phaseRunning }); err != nil {
		return err
	}
	if err := r.runOCI(ctx, c, "start", id); err != nil {
		// Its process waits for a start that will not come.
		r.signal(c, killSignal)
		return fmt.Errorf("start container %s: %w", c.state.Config.GetMetadata().GetName(), err)
	}
	r.emit(c, runtimeapi.ContainerEventType_CONTAINER_STARTED_EVENT)
	return nil
}

// RemoveContainer implements CRI.
func (r *Runtime) RemoveContainer(ctx context.Context, id string) error {
	c, err := r.container(id)
	if err != nil {
		return nil // gone already, as CRI wants it
	}
	return r.remove(ctx, c)
}

func (r *Runtime) remove(ctx context.Context, c *container) error {
	if err := r.stop(ctx, c, 0); err != nil {
		return fmt.Errorf("remove container %s: %w", c.state.ID, err)
	}
	c.op.Lock()
	defer c.op.Unlock()
	if err := r.forgetContainer(ctx, c); err != nil {
		return fmt.Errorf("remove container %s: %w", c.state.ID, err)
	}
	r.mu.Lock()
	_, first := r.containers[c.state.ID]
	delete(r.containers, c.state.ID)
	r.mu.Unlock()
	if first {
		r.emit(c, runtimeapi.ContainerEventType_CONTAINER_DELETED_EVENT)
	}
	return nil
}

// forgetContainer removes everything the container has or had; twice is fine.
func (r *Runtime) forgetContainer(ctx context.Context, c *container) error {
	if err := r.release(ctx, c); err != nil {
		return err
	}
	return errors.Join(
		r.cfg.Store.Unpin(c.state.ID),
		os.RemoveAll(r.exitFile(c)),
		host.ClearTree(c.runDir),
		host.ClearTree(c.dir),
	)
}

// release gives back what only a running container needs: processes, cgroup
// and mounts. Twice is fine.
func (r *Runtime) release(ctx context.Context, c *container) error {
	cg := r.cgroupOf(c)
	if err := cg.Kill(ctx); err != nil {
		return err
	}
	if err := c.awaitConmon(ctx); err != nil {
		return err
	}
	if err := r.dropState(ctx, c); err != nil {
		return err
	}
	// Its root, its image volumes, and what is mounted for a Pod with users of its own.
	return errors.Join(cg.Delete(), host.UnmountEntries(c.runDir))
}

// dropState has the OCI runtime forget a container whose processes are gone. Of one
// without hooks, as all of ours are, crun and runc have nothing but a directory
// then, beside the cgroup: to start either for that takes longer than the rest of a
// container's end.
func (r *Runtime) dropState(ctx context.Context, c *container) error {
	p := r.programOf(c)
	dir := filepath.Join(p.root, c.state.ID)
	switch filepath.Base(p.path) {
	case "crun", "runc":
		return host.ClearTree(dir)
	}
	if _, err := os.Stat(dir); err != nil {
		return nil
	}
	return r.runOCI(ctx, c, "delete", "--force", c.state.ID)
}
