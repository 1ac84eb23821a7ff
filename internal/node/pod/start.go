package pod

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	v1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"minato/internal/node/observe"
	"minato/internal/node/spec"
	"minato/internal/node/status"
)

// Reasons why a container waits.
const (
	reasonConfig    = "CreateContainerConfigError"
	reasonCreate    = "CreateContainerError"
	reasonRun       = "RunContainerError"
	reasonPostStart = "PostStartHookError"
	reasonCrashLoop = "CrashLoopBackOff"
)

// startError is why a container could not be started, and when to try again.
type startError struct {
	reason, message string
	retry           time.Duration
	// quiet says that what happened has been told in an event already.
	quiet bool
}

func (e *startError) Error() string { return e.reason + ": " + e.message }

// tryStart starts a container unless it is waiting for its next attempt.
func (w *worker) tryStart(ctx context.Context, pod *v1.Pod, view *observe.Pod, c *v1.Container) (started bool, next time.Time, err error) {
	now := w.m.cfg.Clock.Now()
	if at := w.retryAt[c.Name]; now.Before(at) {
		return false, at, nil
	}
	latest := view.Latest(c.Name)
	// One that was stopped, or had ended, before all were to be started anew did not fail: the one
	// that has asked for that did.
	asked := latest.RestartsAll(&pod.Spec) && !w.replaced[latest.ID]
	if latest.Round() == view.Round(&pod.Spec) || asked {
		if at := w.crashPause(pod, c, latest); !at.IsZero() {
			return false, at, nil
		}
	}
	err = w.start(ctx, pod, view, c)
	if ctx.Err() != nil {
		return false, next, ctx.Err()
	}
	var failed *startError
	if !errors.As(err, &failed) {
		if err == nil {
			delete(w.waiting, c.Name)
			delete(w.retryAt, c.Name)
		}
		return err == nil, next, err
	}
	if !failed.quiet {
		w.containerEvent(pod, c, v1.EventTypeWarning, "Failed", "Error: "+failed.message)
	}
	w.waiting[c.Name] = status.Waiting{Reason: failed.reason, Message: failed.message}
	next = w.m.cfg.Clock.Now().Add(failed.retry)
	w.retryAt[c.Name] = next
	if failed.reason == reasonConfig {
		w.m.cfg.Objects.Hold(w.uid, append(volumeRefs(pod), envRefs(pod, c)...))
	}
	// A container that was created and then failed counts as one that has ended.
	return failed.reason == reasonRun || failed.reason == reasonPostStart, next, nil
}

// crashPause returns when a container that has exited may be started again,
// zero for now.
func (w *worker) crashPause(pod *v1.Pod, c *v1.Container, latest *observe.Container) time.Time {
	if !latest.Exited() || w.resizing.stopped[latest.ID] {
		return time.Time{} // it was not the container that failed
	}
	key := fmt.Sprintf("%s_%s_%s", w.uid, c.Name, spec.Hash(c))
	w.crashKeys[key] = true
	// It did not end in the future: the clock was set back.
	finished := latest.FinishedAt
	if now := w.m.cfg.Clock.Now(); finished.After(now) {
		if w.futureEnds[latest.ID].IsZero() {
			w.futureEnds[latest.ID] = now
		}
		finished = w.futureEnds[latest.ID]
	}
	if !w.m.restarts.IsInBackOffSince(key, finished) {
		w.m.restarts.Next(key, finished)
		delete(w.futureEnds, latest.ID)
		return time.Time{}
	}
	pause := w.m.restarts.Get(key)
	if w.waiting[c.Name].Reason != reasonCrashLoop {
		w.containerEvent(pod, c, v1.EventTypeWarning, "BackOff", fmt.Sprintf("Back-off restarting failed container %s in pod %s", c.Name, podName(pod)))
	}
	w.waiting[c.Name] = status.Waiting{
		Reason:  reasonCrashLoop,
		Message: fmt.Sprintf("back-off %s restarting failed container=%s pod=%s", pause, c.Name, podName(pod)),
	}
	return finished.Add(pause)
}

func podName(pod *v1.Pod) string {
	return fmt.Sprintf("%s_%s(%s)", pod.Name, pod.Namespace, pod.UID)
}

// startMade starts a container that an earlier agent has made and not started.
func (w *worker) startMade(ctx context.Context, pod *v1.Pod, view *observe.Pod, c *v1.Container, made *observe.Container) error {
	if err := w.m.cfg.Runtime.StartContainer(context.WithoutCancel(ctx), made.ID); err != nil {
		return &startError{reason: reasonRun, message: err.Error(), retry: firstPause}
	}
	w.containerEvent(pod, c, v1.EventTypeNormal, "Started", "Container started")
	w.linkLog(pod, &runtimeapi.ContainerConfig{Metadata: &runtimeapi.ContainerMetadata{Name: made.Name, Attempt: made.Attempt}}, made.ID)
	return w.postStart(ctx, pod, view, c, made.ID)
}

// start pulls, creates and starts a container and runs its postStart hook.
func (w *worker) start(ctx context.Context, pod *v1.Pod, view *observe.Pod, c *v1.Container) error {
	sandbox := view.Sandbox()
	if made := view.Latest(c.Name); made != nil && made.State == runtimeapi.ContainerState_CONTAINER_CREATED && made.SandboxID == sandbox.ID && made.Annotations[spec.AnnotationHash] == spec.Hash(c) && made.Round() == view.Round(&pod.Spec) {
		return w.startMade(ctx, pod, view, c, made)
	}
	sandboxConfig, err := w.sandboxConfig(pod, sandbox.Attempt)
	if err != nil {
		return err
	}
	image, err := w.m.pulls.ensure(ctx, w, pod, c, imageOf(c), sandboxConfig)
	if err != nil {
		return err
	}
	volumes, err := w.volumeImages(ctx, pod, c, sandboxConfig)
	if err != nil {
		return err
	}
	config, err := w.containerConfig(ctx, pod, view, c, image, volumes)
	if err != nil {
		return &startError{reason: reasonConfig, message: err.Error(), retry: firstPause}
	}
	// From here on no deletion of the Pod may interrupt the runtime: a container
	// that is half made would stay.
	whole := context.WithoutCancel(ctx)
	id, err := w.m.cfg.Runtime.CreateContainer(whole, sandbox.ID, config, sandboxConfig)
	if err != nil {
		return &startError{reason: reasonCreate, message: err.Error(), retry: firstPause}
	}
	w.containerEvent(pod, c, v1.EventTypeNormal, "Created", "Container created")
	if err := w.m.cfg.Runtime.StartContainer(whole, id); err != nil {
		return &startError{reason: reasonRun, message: err.Error(), retry: firstPause}
	}
	w.containerEvent(pod, c, v1.EventTypeNormal, "Started", "Container started")
	w.linkLog(pod, config, id)
	return w.postStart(ctx, pod, view, c, id)
}

func (w *worker) postStart(ctx context.Context, pod *v1.Pod, view *observe.Pod, c *v1.Container, id string) error {
	if c.Lifecycle == nil || c.Lifecycle.PostStart == nil {
		return nil
	}
	err := w.runHook(ctx, c.Lifecycle.PostStart, hookTarget{container: c, id: id, podIPs: w.podIPs(pod, view)})
	if err == nil || ctx.Err() != nil {
		return err
	}
	// The message may hold secrets; it goes into the log only.
	w.m.cfg.Logger.Info("postStart hook failed", "pod", pod.Name, "namespace", pod.Namespace, "container", c.Name, "error", err)
	w.containerEvent(pod, c, v1.EventTypeWarning, "FailedPostStartHook", "PostStartHook failed")
	run := &observe.Container{ID: id, Name: c.Name}
	if err := w.kill(ctx, pod, Kill{Container: run, Spec: c, Message: "FailedPostStartHook"}, grace(pod)); err != nil {
		return err
	}
	return &startError{reason: reasonPostStart, message: err.Error(), quiet: true}
}

func (w *worker) containerConfig(ctx context.Context, pod *v1.Pod, view *observe.Pod, c *v1.Container, image *runtimeapi.Image, volumes map[string]*runtimeapi.ImageSpec) (*runtimeapi.ContainerConfig, error) {
	services, err := w.m.cfg.Services(ctx, pod, w.servicesSince)
	if err != nil {
		return nil, err
	}
	w.servicesSince = "" // a container that is started again does not need the API server for this
	ips := w.podIPs(pod, view)
	env, err := spec.Environment(ctx, spec.EnvInput{
		Pod: pod, Container: c, PodIPs: ips, HostIPs: w.m.cfg.HostIPs,
		Allocatable: w.m.cfg.Allocatable, Services: services, Objects: w.m.cfg.Objects, Files: w.m.cfg.Volumes,
	})
	if err != nil {
		return nil, err
	}
	restarts := w.restarts(pod, view, c)
	mounts, err := w.mounts(pod, c, env, volumes, ips, restarts)
	if err != nil {
		return nil, err
	}
	devices, err := w.m.cfg.Volumes.Devices(pod, c)
	if err != nil {
		return nil, err
	}
	given, err := w.given(ctx, pod, c)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Join(w.logDir(pod), c.Name), 0o755); err != nil {
		return nil, fmt.Errorf("create container log directory for container %s failed: %w", c.Name, err)
	}
	users, err := w.users(pod)
	if err != nil {
		return nil, err
	}
	return spec.Container(spec.ContainerInput{
		Pod: pod, Container: c, Restarts: restarts, Round: view.Round(&pod.Spec),
		ImageRef: image.Id, User: imageUser(image),
		Env: withEnv(given.Envs, env), Mounts: append(given.Mounts, mounts...), Devices: append(given.Devices, devices...),
		Annotations: given.Annotations, CDI: given.CDI, Target: w.target(pod, view, c),
		Memory: w.m.cfg.Memory, HugePages: w.m.cfg.HugePages, Users: users,
	})
}

// restarts is which run of the container this will be. Where the runtime has
// forgotten the runs before, the API or the log files still count them.
func (w *worker) restarts(pod *v1.Pod, view *observe.Pod, c *v1.Container) uint32 {
	if latest := view.Latest(c.Name); latest != nil {
		if !latest.Running() && !latest.Exited() {
			return latest.Attempt // half made when the server was killed, and no run
		}
		return latest.Attempt + 1
	}
	entries, err := os.ReadDir(filepath.Join(w.logDir(pod), c.Name))
	if err != nil {
		return 0
	}
	seen := false
	for _, list := range [][]v1.ContainerStatus{pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses, pod.Status.EphemeralContainerStatuses} {
		for i := range list {
			seen = seen || list[i].Name == c.Name && list[i].ContainerID != ""
		}
	}
	var next uint32
	for _, e := range entries {
		// One that was made when the server was killed, and never started, has left an
		// empty log and was no run.
		if info, err := e.Info(); err != nil || info.Size() == 0 && !seen {
			continue
		}
		number, _, _ := strings.Cut(e.Name(), ".")
		if n, err := strconv.ParseUint(number, 10, 31); err == nil {
			next = max(next, uint32(n)+1)
		}
	}
	return next
}

// mounts are the Pod's volumes, its hosts file, and the file for the
// container's last words.
func (w *worker) mounts(pod *v1.Pod, c *v1.Container, env []*runtimeapi.KeyValue, images map[string]*runtimeapi.ImageSpec, ips []string, restarts uint32) ([]*runtimeapi.Mount, error) {
	mounts, err := w.m.cfg.Volumes.Mounts(pod, c, env, images)
	if err != nil {
		return nil, err
	}
	dir := w.m.cfg.Volumes.PodDir(w.uid)
	if !spec.MountsAt(c, "/etc/hosts") {
		p := filepath.Join(dir, "etc-hosts")
		text := spec.HostsFile(pod, ips, w.m.cfg.Resolver().Domain, w.m.cfg.HostsFile())
		if err := writeFile(p, text, 0o644); err != nil {
			return nil, err
		}
		mounts = append(mounts, &runtimeapi.Mount{ContainerPath: "/etc/hosts", HostPath: p})
	}
	if path := c.TerminationMessagePath; path != "" {
		p := w.messageFile(c.Name, restarts)
		if err := writeFile(p, "", 0o666); err != nil {
			return nil, err
		}
		mounts = append(mounts, &runtimeapi.Mount{ContainerPath: path, HostPath: p})
	}
	return mounts, nil
}

// writeFile makes a file that containers mount, or fills it anew: those that
// have it mounted see what is new. Its directory is for root alone; a container
// reaches the file by its mount.
func writeFile(path, text string, mode os.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return err
	}
	f, err := openOwn(path, os.O_WRONLY|os.O_CREATE, mode)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Truncate(0); err != nil {
		return err
	}
	if _, err := f.WriteString(text); err != nil {
		return err
	}
	if err := f.Chmod(mode); err != nil { // whatever the umask is
		return err
	}
	return f.Close()
}

// target finds whose processes an ephemeral container wants to see.
func (w *worker) target(pod *v1.Pod, view *observe.Pod, c *v1.Container) string {
	for i := range pod.Spec.EphemeralContainers {
		e := &pod.Spec.EphemeralContainers[i]
		if e.Name != c.Name || e.TargetContainerName == "" {
			continue
		}
		if t := view.Latest(e.TargetContainerName); t.Running() {
			return t.ID
		}
	}
	return ""
}

func imageUser(image *runtimeapi.Image) spec.ImageUser {
	u := spec.ImageUser{Name: image.Username}
	if image.Uid != nil {
		uid := image.Uid.Value
		u.UID = &uid
	} else if image.Username == "" {
		u.UID = new(int64) // an image that names nobody runs as root
	}
	return u
}
