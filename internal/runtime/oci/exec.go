package oci

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	utilexec "k8s.io/utils/exec"
)

// maxSyncOutput is how much ExecSync returns of each stream.
const maxSyncOutput = 16 << 20

// session is one command that runs in a container beside its own.
type session struct {
	c      *container
	cmd    []string
	in     io.Reader // nil for none
	out    io.Writer // nil to discard
	err    io.Writer
	tty    bool
	resize <-chan remotecommand.TerminalSize
}

// exec runs the command until it ends. One that fails gives an error of type
// utilexec.CodeExitError.
func (r *Runtime) exec(ctx context.Context, s session) error {
	if phase := s.c.snapshot().Phase; phase != phaseRunning {
		return fmt.Errorf("exec in container %s: it is %s: %w", s.c.state.ID, phase, ErrNotRunning)
	}
	files, err := r.prepareExec(s)
	if err != nil {
		return fmt.Errorf("exec in container %s: %w", s.c.state.ID, err)
	}
	defer os.RemoveAll(files.dir)
	p := r.programOf(s.c)
	cmd := exec.Command(p.path, "--root", p.root, "--log", files.log, "exec",
		"--process", files.process, "--pid-file", files.pid, s.c.state.ID)
	done, err := r.placeInCgroup(cmd, r.execCgroup(s.c))
	if err != nil {
		return err
	}
	var streams *execStreams
	if s.tty {
		streams, err = s.openTerminal(cmd, p)
	} else {
		streams, err = s.openPipes(cmd)
	}
	if err == nil {
		err = r.cfg.MountNS.Do(cmd.Start)
	}
	done()
	if err != nil {
		if streams != nil {
			streams.closeAll()
		}
		return fmt.Errorf("exec in container %s: %w", s.c.state.ID, err)
	}
	streams.started()
	waited := make(chan error, 1)
	go func() { waited <- cmd.Wait() }()
	select {
	case err = <-waited:
	case <-ctx.Done():
		killErr := r.endExec(s.c, files, cmd.Process, waited)
		streams.closeAll()
		return errors.Join(fmt.Errorf("exec in container %s: %w", s.c.state.ID, context.Cause(ctx)), killErr)
	}
	streams.drain()
	return files.result(s, err)
}

// execFiles are what goes between us and the OCI runtime.
type execFiles struct{ dir, process, pid, log string }

// prepareExec writes down the process: the container's own, with another
// command.
func (r *Runtime) prepareExec(s session) (execFiles, error) {
	var spec specs.Spec
	if err := load(s.c.runDir, configFile, &spec); err != nil {
		return execFiles{}, err
	}
	p := spec.Process
	p.Args, p.Terminal = s.cmd, s.tty
	if s.tty {
		p.Env = withTerm(p.Env)
	}
	if len(p.Args) == 0 {
		return execFiles{}, errors.New("no command was given")
	}
	dir, err := os.MkdirTemp(s.c.runDir, "exec-")
	if err != nil {
		return execFiles{}, err
	}
	f := execFiles{dir, filepath.Join(dir, "process.json"), filepath.Join(dir, "pid"), filepath.Join(dir, "log")}
	data, err := json.Marshal(p)
	if err == nil {
		err = os.WriteFile(f.process, data, 0o600)
	}
	if err != nil {
		os.RemoveAll(dir)
	}
	return f, err
}

func withTerm(env []string) []string {
	for _, kv := range env {
		if strings.HasPrefix(kv, "TERM=") {
			return env
		}
	}
	return append(env, "TERM=xterm")
}

// endExec kills the command until the OCI runtime, whose end waited tells, has
// ended: it may not even have started the command yet when time is up.
func (r *Runtime) endExec(c *container, f execFiles, runtime *os.Process, waited <-chan error) error {
	timeout, again := time.After(killTimeout), time.NewTicker(killPoll)
	defer again.Stop()
	for {
		err := r.killExec(c, f)
		select {
		case <-waited:
			return err
		case <-timeout:
			runtime.Kill()
			<-waited
			return err
		case <-again.C:
		}
	}
}

// killExec ends the command and whatever is in its process group. Both are
// looked for among the processes of the container only: the number in the file
// may have passed on to another process.
func (r *Runtime) killExec(c *container, f execFiles) error {
	data, err := os.ReadFile(f.pid)
	if err != nil {
		return nil // nothing was started yet, or the OCI runtime has ended
	}
	leader, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil || leader <= 1 {
		return fmt.Errorf("end a command in container %s: the OCI runtime says that it is process %q", c.state.ID, data)
	}
	return r.cgroupOf(c).Signal(unix.SIGKILL, func(pid int) bool {
		if pid == leader {
			return true
		}
		stat, err := readStat(pid)
		return err == nil && stat.group == leader
	})
}

// result tells a command that failed from one that could not be started.
func (f execFiles) result(s session, err error) error {
	if err == nil {
		return nil
	}
	if data, rerr := os.ReadFile(f.log); rerr == nil && len(data) > 0 {
		if text := runtimeMessage(string(data)); text != "" {
			return fmt.Errorf("exec in container %s: %s", s.c.state.ID, text)
		}
	}
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return fmt.Errorf("exec in container %s: %w", s.c.state.ID, err)
	}
	code := exit.ExitCode()
	if code < 0 {
		code = 128 + int(exit.Sys().(interface{ Signal() unix.Signal }).Signal())
	}
	return utilexec.CodeExitError{Err: fmt.Errorf("command terminated with exit code %d", code), Code: code}
}

// ExecSync implements CRI. A command that fails gives a utilexec.CodeExitError
// beside its output; one that takes too long context.DeadlineExceeded.
func (r *Runtime) ExecSync(ctx context.Context, id string, cmd []string, timeout time.Duration) (stdout, stderr []byte, err error) {
	c, err := r.container(id)
	if err != nil {
		return nil, nil, err
	}
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, timeout,
			fmt.Errorf("command %q timed out after %v: %w", strings.Join(cmd, " "), timeout, context.DeadlineExceeded))
		defer cancel()
	}
	var out, errOut cappedBuffer
	err = r.exec(ctx, session{c: c, cmd: cmd, out: &out, err: &errOut})
	return out.bytes(), errOut.bytes(), err
}

// cappedBuffer keeps the first part of what is written to it.
type cappedBuffer struct {
	mu  sync.Mutex
	buf []byte
}

func (b *cappedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.buf = append(b.buf, p[:min(len(p), maxSyncOutput-len(b.buf))]...)
	return len(p), nil
}

func (b *cappedBuffer) bytes() []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf
}
