package oci

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

func (r *Runtime) exitsDir() string             { return filepath.Join(r.cfg.RunDir, "exits") }
func (r *Runtime) exitFile(c *container) string { return filepath.Join(r.exitsDir(), c.state.ID) }
func (c *container) conmonPIDFile() string      { return filepath.Join(c.runDir, "conmon.pid") }
func (c *container) runtimeLog() string         { return filepath.Join(c.runDir, "runtime.log") }

// createTimeout bounds what the OCI runtime needs to set a container up.
const createTimeout = 60 * time.Second

func (r *Runtime) conmonArgs(c *container) []string {
	logPath := "off"
	if c.state.LogPath != "" {
		logPath = "k8s-file:" + c.state.LogPath
	}
	p := r.programOf(c)
	args := []string{
		"--cid", c.state.ID, "--cuuid", c.state.ID, "--name", c.state.ID,
		"--runtime", p.path, "--runtime-arg=--root=" + p.root, "--runtime-arg=--log=" + c.runtimeLog(),
		"--bundle", c.runDir, "--persist-dir", c.runDir, "--full-attach",
		"--container-pidfile", filepath.Join(c.runDir, "pid"), "--conmon-pidfile", c.conmonPIDFile(),
		"--exit-dir", r.exitsDir(), "--log-path", logPath, "--log-level", "error", "--no-sync-log",
	}
	if c.state.Config.GetTty() {
		args = append(args, "--terminal")
	}
	if c.state.Config.GetStdin() {
		args = append(args, "--stdin")
		if !c.state.Config.GetStdinOnce() {
			args = append(args, "--leave-stdin-open")
		}
	}
	return args
}

// startConmon has conmon create the container, and returns the number of the
// process that waits to become it. conmon goes to the background.
func (r *Runtime) startConmon(ctx context.Context, c *container) (int, error) {
	leave, err := r.cfg.Gate.enter(ctx)
	if err != nil {
		return 0, err
	}
	defer leave()
	syncRead, syncWrite, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	defer syncRead.Close()
	cmd := exec.CommandContext(ctx, r.oci.conmon, r.conmonArgs(c)...)
	cmd.Dir = c.runDir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "_OCI_SYNCPIPE=3"}
	cmd.ExtraFiles = []*os.File{syncWrite}
	stderr, err := os.Create(filepath.Join(c.runDir, "conmon.log"))
	if err != nil {
		syncWrite.Close()
		return 0, err
	}
	defer stderr.Close()
	cmd.Stderr = stderr // a file, since conmon keeps it open as long as it lives
	done, err := r.placeInCgroup(cmd, r.conmonCgroup())
	if err != nil {
		syncWrite.Close()
		return 0, err
	}
	err = r.cfg.MountNS.Do(cmd.Start)
	done()
	syncWrite.Close()
	if err != nil {
		return 0, fmt.Errorf("start conmon: %w", err)
	}
	runErr := cmd.Wait() // returns as soon as conmon is in the background
	pid, err := r.awaitCreated(ctx, c, syncRead)
	if err != nil && runErr != nil {
		err = fmt.Errorf("conmon: %w: %w", runErr, err)
	}
	return pid, err
}

// created is what conmon reports: a process, or a negative number and a text.
type created struct {
	PID     *int   `json:"pid"`
	Data    *int   `json:"data"`
	Message string `json:"message"`
}

func (r *Runtime) awaitCreated(ctx context.Context, c *container, pipe *os.File) (int, error) {
	stop := context.AfterFunc(ctx, func() { pipe.SetReadDeadline(time.Now()) })
	defer stop()
	pipe.SetReadDeadline(time.Now().Add(createTimeout))
	dec := json.NewDecoder(pipe)
	for {
		var msg created
		err := dec.Decode(&msg)
		if err != nil {
			return 0, c.createError("", err)
		}
		value := msg.PID
		if value == nil {
			value = msg.Data
		}
		if value != nil && *value > 0 {
			return *value, nil
		}
		return 0, c.createError(msg.Message, nil)
	}
}

// createError finds the most telling text among those that conmon passes on
// and those that were logged. Warnings stand there too, and are not the reason.
func (c *container) createError(message string, cause error) error {
	if errors.Is(cause, os.ErrDeadlineExceeded) {
		return fmt.Errorf("no answer from the OCI runtime: %w", context.DeadlineExceeded)
	}
	for _, file := range []string{c.runtimeLog(), filepath.Join(c.runDir, "conmon.log")} {
		if message != "" {
			break
		}
		data, err := os.ReadFile(file)
		if err == nil {
			message = string(bytes.TrimSpace(data))
		}
	}
	text := strings.TrimSuffix(runtimeMessage(message), ".")
	if text == "" {
		if cause == nil || cause == io.EOF {
			return errors.New("conmon ended without an error message")
		}
		return cause
	}
	return errors.New(text)
}

// readConmonPID waits for the file that conmon's first process leaves; it is
// there before the container is, as a rule.
func (c *container) readConmonPID() (process, error) {
	data, err := os.ReadFile(c.conmonPIDFile())
	if err != nil {
		return process{}, fmt.Errorf("find the container's conmon process: %w", err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil {
		return process{}, fmt.Errorf("find the container's conmon process: %w", err)
	}
	p, err := newProcess(pid)
	if err != nil {
		return p, fmt.Errorf("the container's conmon process ended at once: %w", err)
	}
	return p, nil
}

// conmonPatience is how long a conmon may take to end after its container.
const conmonPatience = 5 * time.Second

// awaitConmon waits for a conmon whose container was killed: it still writes
// files that are about to be removed. One that is stuck is killed.
func (c *container) awaitConmon(ctx context.Context) error {
	p, err := c.readConmonPID()
	if err != nil {
		return nil // it never was, or is gone
	}
	// After a crash only the file says which process it was.
	cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p.PID))
	if err != nil || !bytes.Contains(cmdline, []byte(c.state.ID)) {
		return nil
	}
	patience, cancel := context.WithTimeout(ctx, conmonPatience)
	defer cancel()
	if awaitProcess(patience, p) == nil {
		return nil
	}
	fd, err := openProcess(p)
	if err != nil {
		return nil
	}
	defer unix.Close(fd)
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("end the conmon of container %s: %w", c.state.ID, err)
	}
	return awaitProcess(ctx, p)
}

// Messages on conmon's control pipe: kind, height, width.
// How long conmon may take to make a new log file, and how often it is looked for.
const (
	reopenTimeout = 10 * time.Second
	reopenPoll    = 2 * time.Millisecond
)

const (
	ctlResize     = 1
	ctlReopenLogs = 2
)

// control writes one message to conmon. Opened for writing only, the pipe
// tells at once where no conmon reads it.
func (c *container) control(kind, height, width int) error {
	f, err := os.OpenFile(filepath.Join(c.runDir, "ctl"), os.O_WRONLY|openNonblock, 0)
	if err != nil {
		return fmt.Errorf("send a message to the conmon of container %s: %w", c.state.ID, err)
	}
	defer f.Close()
	if _, err := fmt.Fprintf(f, "%d %d %d\n", kind, height, width); err != nil {
		return fmt.Errorf("send a message to the conmon of container %s: %w", c.state.ID, err)
	}
	return nil
}

// ReopenContainerLog implements CRI, for log rotation. It returns once the file
// is there: conmon answers no messages.
func (r *Runtime) ReopenContainerLog(ctx context.Context, id string) error {
	c, err := r.container(id)
	if err != nil {
		return err
	}
	if c.snapshot().Phase != phaseRunning {
		return fmt.Errorf("reopen log of container %s: %w", id, ErrNotRunning)
	}
	if err := c.control(ctlReopenLogs, 0, 0); err != nil || c.state.LogPath == "" {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, reopenTimeout)
	defer cancel()
	for {
		_, err := r.cfg.MountNS.Root().Stat(c.state.LogPath)
		if err == nil || !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("reopen log of container %s: its conmon has not made %s: %w", id, c.state.LogPath, ctx.Err())
		case <-time.After(reopenPoll):
		}
	}
}
