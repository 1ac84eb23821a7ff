package oci

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

const killSignal = int(unix.SIGKILL)

// killTimeout is how long a killed container may take to go; longer means that
// the kernel is stuck on something.
const killTimeout = 20 * time.Second

// killPoll is how often a process that is to be killed is looked for while it is
// not there yet.
const killPoll = 20 * time.Millisecond

// StopContainer implements CRI.
func (r *Runtime) StopContainer(ctx context.Context, id string, timeout int64) error {
	c, err := r.container(id)
	if err != nil {
		return nil // gone already, as CRI wants it
	}
	return r.stop(ctx, c, time.Duration(timeout)*time.Second)
}

func (r *Runtime) stop(ctx context.Context, c *container, grace time.Duration) error {
	if !c.unfinished() {
		return nil
	}
	if grace > 0 && c.snapshot().Phase == phaseRunning {
		r.signal(c, c.state.StopSignal)
		err := r.awaitExit(ctx, c, grace)
		if err == nil || ctx.Err() != nil {
			return err
		}
	}
	r.signal(c, killSignal)
	if c.state.SharedPID {
		// Its first process takes the others along only if it is their init.
		if err := r.cgroupOf(c).Kill(ctx); err != nil {
			return err
		}
	}
	if err := r.awaitExit(ctx, c, killTimeout); err != nil {
		return fmt.Errorf("stop container %s: its processes have not ended after SIGKILL: %w", c.state.ID, err)
	}
	return nil
}

var errStillRunning = errors.New("still running")

// awaitExit waits for the watcher to notice the exit. Where nobody runs Run,
// it looks for itself.
func (r *Runtime) awaitExit(ctx context.Context, c *container, timeout time.Duration) error {
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, errStillRunning)
	defer cancel()
	go func() {
		if awaitProcess(ctx, c.snapshot().Conmon) == nil {
			r.containerExited(ctx, c)
		}
	}()
	select {
	case <-c.done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// signal sends a signal to the container's first process, if it is there.
func (r *Runtime) signal(c *container, sig int) {
	fd, err := openProcess(c.snapshot().Init)
	if err != nil {
		return // gone
	}
	defer unix.Close(fd)
	if err := unix.PidfdSendSignal(fd, unix.Signal(sig), nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		r.log.Error("a signal could not be sent to a container's first process", "container", c.state.ID, "signal", sig, "error", err)
	}
}

// Real-time signals are counted from both ends of their range.
const sigRTMin, sigRTMax = 34, 64

// stopSignal chooses the pod's wish, else the image's, else SIGTERM.
func stopSignal(asked runtimeapi.Signal, image string) int {
	if asked != runtimeapi.Signal_RUNTIME_DEFAULT {
		name := strings.NewReplacer("PLUS", "+", "MINUS", "-").Replace(asked.String())
		if n, ok := signalNumber(name); ok {
			return n
		}
	}
	if n, ok := signalNumber(image); ok {
		return n
	}
	return int(unix.SIGTERM)
}

// signalNumber takes "SIGINT", "INT", "2" and "SIGRTMIN+3".
func signalNumber(s string) (int, bool) {
	if n, err := strconv.Atoi(s); err == nil {
		return n, n > 0 && n <= sigRTMax
	}
	name := strings.TrimPrefix(strings.ToUpper(s), "SIG")
	for prefix, base := range map[string]int{"RTMIN": sigRTMin, "RTMAX": sigRTMax} {
		rest, ok := strings.CutPrefix(name, prefix)
		if !ok {
			continue
		}
		offset := 0
		if rest != "" {
			var err error
			if offset, err = strconv.Atoi(rest); err != nil {
				return 0, false
			}
		}
		n := base + offset
		return n, n >= sigRTMin && n <= sigRTMax
	}
	n := syscall.Signal(0)
	if name != "" {
		n = unix.SignalNum("SIG" + name)
	}
	return int(n), n != 0
}
