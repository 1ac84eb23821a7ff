package oci

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"minato/internal/host"
)

const openNonblock = unix.O_NONBLOCK

// unknownExitCode is what a container gets whose end nobody has seen.
const unknownExitCode = 255

// watcher waits for conmons to end. A conmon leaves the exit file first, so
// that its end tells everything; and a conmon that is killed ends too. One
// pidfd each, parked in Go's own poller: no threads, no inotify instances.
type watcher struct {
	mu      sync.Mutex
	running bool
	pending []*container
	start   func(*container)
}

// add watches c from now on, or from when run is called.
func (w *watcher) add(c *container) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.running {
		w.start(c)
		return
	}
	w.pending = append(w.pending, c)
}

// run calls exited for every container once, until ctx ends.
func (w *watcher) run(ctx context.Context, exited func(context.Context, *container)) error {
	var wg sync.WaitGroup
	w.mu.Lock()
	if w.running {
		w.mu.Unlock()
		return errors.New("the container runtime is running already")
	}
	w.running = true
	w.start = func(c *container) {
		wg.Go(func() {
			if awaitProcess(ctx, c.snapshot().Conmon) == nil {
				exited(ctx, c)
			}
		})
	}
	for _, c := range w.pending {
		w.start(c)
	}
	w.pending = nil
	w.mu.Unlock()

	<-ctx.Done()
	w.mu.Lock()
	w.running = false
	w.mu.Unlock()
	wg.Wait()
	return ctx.Err()
}

// awaitProcess returns nil when p has ended.
func awaitProcess(ctx context.Context, p process) error {
	fd, err := openProcess(p)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), "pidfd")
	defer f.Close()
	return host.AwaitExit(ctx, f)
}

// openProcess returns a descriptor that stands for exactly this process, or
// ESRCH.
func openProcess(p process) (int, error) {
	if p.PID == 0 {
		return -1, unix.ESRCH
	}
	fd, err := unix.PidfdOpen(p.PID, unix.PIDFD_NONBLOCK)
	if err != nil {
		return -1, err
	}
	// Looked at after the descriptor is open: the number can't move any more.
	if !p.alive() {
		unix.Close(fd)
		return -1, unix.ESRCH
	}
	return fd, nil
}

// containerExited is called by the watcher once c's conmon is gone.
func (r *Runtime) containerExited(ctx context.Context, c *container) {
	if !r.recordExit(c) {
		return
	}
	r.emit(c, runtimeapi.ContainerEventType_CONTAINER_STOPPED_EVENT)
	c.op.Lock()
	defer c.op.Unlock()
	if err := r.release(context.WithoutCancel(ctx), c); err != nil {
		r.log.Error("the cgroup or the mounts of a container that has exited could not be removed", "container", c.state.ID, "error", err)
	}
}

// recordExit writes down the exit code that conmon has left, and whether the
// kernel killed the container for its memory. It returns false where that was
// done before.
func (r *Runtime) recordExit(c *container) bool {
	code, at, err := r.readExit(c)
	oom := r.oomKilled(c)
	if err != nil {
		r.log.Warn("a container ended without an exit code from its conmon: its exit code is reported as 255", "container", c.state.ID, "error", err)
	}
	first := false
	err = c.change(func(s *containerState) {
		if first = s.Phase != phaseExited; !first {
			return
		}
		s.Phase, s.ExitCode, s.FinishedAt = phaseExited, code, at
		switch {
		case oom:
			s.Reason = "OOMKilled"
		case code == 0:
			s.Reason = "Completed"
		default:
			s.Reason = "Error"
		}
		if s.StartedAt.IsZero() {
			s.StartedAt = s.FinishedAt
		}
		close(c.done)
	})
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		r.log.Error("the state file of a container that has exited could not be written", "container", c.state.ID, "error", err)
	}
	return first
}

// readExit reads conmon's exit file; its time is when the container ended.
func (r *Runtime) readExit(c *container) (int32, time.Time, error) {
	info, err := os.Stat(r.exitFile(c))
	if err != nil {
		return unknownExitCode, time.Now(), err
	}
	data, err := os.ReadFile(r.exitFile(c))
	if err != nil {
		return unknownExitCode, info.ModTime(), err
	}
	code, err := strconv.ParseInt(strings.TrimSpace(string(data)), 10, 32)
	if err != nil {
		return unknownExitCode, info.ModTime(), fmt.Errorf("exit file: %w", err)
	}
	return int32(code), info.ModTime(), nil
}

// readable tells whether a read would return data at once.
func readable(fd int) bool {
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, 0)
	return err == nil && n > 0 && fds[0].Revents&unix.POLLIN != 0
}
