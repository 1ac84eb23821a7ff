package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

func quiet() *log.Logger { return log.New(io.Discard, "", 0) }

// timed runs a command and returns how long it took and the most memory that it
// took, in MiB. It is asked while it runs: what the system tells afterwards counts
// what the benchmark itself had when it started the command.
func timed(ctx context.Context, program string, args ...string) (time.Duration, float64, error) {
	cmd := exec.CommandContext(ctx, program, args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return 0, 0, err
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	peak := 0.0
	for {
		select {
		case err := <-done:
			if err != nil {
				return 0, 0, fmt.Errorf("%s %s: %w: %s", program, strings.Join(args, " "), err, out.String())
			}
			return time.Since(began), peak, nil
		case <-tick.C:
			if now, err := peakMiB(cmd.Process.Pid); err == nil { // else it has just ended
				peak = max(peak, now)
			}
		}
	}
}

// ours is Minato's store: the cluster has been up once, and is down.
type ours struct{ binary, name, kubeconfig string }

func (o *ours) who() string   { return "minato" }
func (o *ours) shared() bool  { return true }
func (o *ours) store() string { return filepath.Join("/var/lib/minato", o.name, "store") }

func (o *ours) start(ctx context.Context) error {
	if _, _, err := timed(ctx, o.binary, "up", "--name", o.name, "--nodes", "1", "--kubeconfig", o.kubeconfig); err != nil {
		return err
	}
	_, _, err := timed(ctx, o.binary, "down", "--name", o.name)
	return err
}

func (o *ours) load(ctx context.Context, archive string) (time.Duration, float64, error) {
	return timed(ctx, o.binary, "image", "load", "--name", o.name, archive)
}

func (o *ours) pull(ctx context.Context, ref string) (time.Duration, float64, error) {
	return timed(ctx, o.binary, "image", "pull", "--name", o.name, ref)
}

func (o *ours) stop() error {
	_, _, err := timed(context.Background(), o.binary, "delete", "--name", o.name)
	return err
}

// containerd is a daemon of its own, with directories of its own.
type containerd struct {
	dir string
	cmd *exec.Cmd
}

func (c *containerd) who() string    { return "containerd" }
func (c *containerd) shared() bool   { return false }
func (c *containerd) store() string  { return filepath.Join(c.dir, "root") }
func (c *containerd) socket() string { return filepath.Join(c.dir, "sock") }

func (c *containerd) start(ctx context.Context) error {
	if err := os.MkdirAll(c.dir, 0o700); err != nil {
		return err
	}
	config := filepath.Join(c.dir, "config.toml")
	text := "version = 2\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n"
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return err
	}
	c.cmd = exec.Command("containerd", "--config", config, "--root", c.store(), "--state", filepath.Join(c.dir, "state"), "--address", c.socket())
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := c.cmd.Start(); err != nil {
		c.cmd = nil
		return err
	}
	for deadline := time.Now().Add(30 * time.Second); ; {
		conn, err := net.Dial("unix", c.socket())
		if err == nil {
			return conn.Close()
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			return fmt.Errorf("containerd does not answer: %w", err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// do runs ctr; the memory is the daemon's and ctr's together.
func (c *containerd) do(ctx context.Context, args ...string) (time.Duration, float64, error) {
	took, mine, err := timed(ctx, "ctr", append([]string{"--address", c.socket(), "--namespace", "k8s.io", "images"}, args...)...)
	if err != nil {
		return 0, 0, err
	}
	daemon, err := peakMiB(c.cmd.Process.Pid)
	return took, mine + daemon, err
}

func (c *containerd) load(ctx context.Context, archive string) (time.Duration, float64, error) {
	return c.do(ctx, "import", archive)
}

func (c *containerd) pull(ctx context.Context, ref string) (time.Duration, float64, error) {
	return c.do(ctx, "pull", "--plain-http", ref)
}

func (c *containerd) stop() error {
	if c.cmd != nil {
		if err := c.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			return err
		}
		_ = c.cmd.Wait() // it was told to end
		c.cmd = nil
	}
	return os.RemoveAll(c.dir)
}

// peakMiB is the most memory that a process has taken so far.
func peakMiB(pid int) (float64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(data)) {
		var kib float64
		if _, err := fmt.Sscanf(line, "VmHWM: %f kB", &kib); err == nil {
			return kib / 1024, nil
		}
	}
	return 0, errors.New("the kernel does not tell how much memory containerd took")
}
