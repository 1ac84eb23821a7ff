package stock

import (
	"context"
	"fmt"
	"syscall"
)

// apiServer is the process of kube-apiserver, which starts first.
func (c *Cluster) apiServer() *process { return c.processes[0] }

// KillAPIServer ends the API server without warning. What it stored stays.
func (c *Cluster) KillAPIServer() error {
	p := c.apiServer()
	if err := p.cmd.Process.Kill(); err != nil {
		return fmt.Errorf("kill kube-apiserver: %w", err)
	}
	<-p.done
	return nil
}

// RestartAPIServer starts a killed API server again, where it was, and returns when it is ready.
func (c *Cluster) RestartAPIServer(ctx context.Context) error {
	old := c.apiServer()
	p, err := start(old.cmd.Path, c.dir, old.cmd.Args[1:]...)
	if err != nil {
		return err
	}
	c.processes[0] = p
	ctx, cancel := context.WithTimeoutCause(ctx, readyWithin, fmt.Errorf("not ready within %s", readyWithin))
	defer cancel()
	return c.waitReady(ctx, p)
}

// PauseAPIServer makes the API server silent: connections stay and nothing is answered.
func (c *Cluster) PauseAPIServer() error { return c.apiServer().cmd.Process.Signal(syscall.SIGSTOP) }

// ResumeAPIServer undoes PauseAPIServer.
func (c *Cluster) ResumeAPIServer() error { return c.apiServer().cmd.Process.Signal(syscall.SIGCONT) }
