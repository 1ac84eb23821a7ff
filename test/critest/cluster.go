package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"minato/internal/host"
)

const node = "node-1"

// cluster is the one whose node the specs run against.
type cluster struct {
	options
	registry *registry
}

func (c *cluster) report() string { return filepath.Join(c.out, "report.xml") }

// socket is the path of the node's socket for a program on the node, which does not
// see the machine's files: it leads by way of this process.
func (c *cluster) socket() string {
	return filepath.Join("/proc", strconv.Itoa(os.Getpid()), "root/run/minato", c.name, "cri", node+".sock")
}

// start brings up a cluster of one node, which pulls from the registry and has
// the directory with the suite.
func (c *cluster) start(ctx context.Context) error {
	if err := c.remove(ctx); err != nil { // what a killed run left
		return err
	}
	mounts := []string{"--mount", filepath.Dir(c.suite) + ":ro"}
	if c.out != filepath.Dir(c.suite) {
		mounts = append(mounts, "--mount", c.out)
	} else {
		mounts[1] = c.out
	}
	args := append([]string{"up", "--name", c.name, "--nodes", "1", "--ephemeral", "--load-balancer-range", "none",
		"--lan-cidr", c.lan, "--pod-cidr", c.pods, "--service-cidr", c.services, "--kubeconfig", filepath.Join(c.out, "kubeconfig")}, mounts...)
	return c.do(ctx, args...)
}

// runSpecs returns an error if the specs could not be run; which of them failed
// is in the report.
func (c *cluster) runSpecs(ctx context.Context) error {
	if err := os.Remove(c.report()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	log, err := os.Create(filepath.Join(c.out, "specs.log"))
	if err != nil {
		return err
	}
	defer log.Close()
	cgroup := host.Cgroup{Path: filepath.Join("minato", c.name, node, "critest")}
	if err := cgroup.Create(); err != nil {
		return err
	}
	dir, err := os.Open(cgroup.V2())
	if err != nil {
		return err
	}
	defer dir.Close()
	const grace = time.Minute // for the specs' own cleaning, and for the report
	ctx, cancel := context.WithTimeout(ctx, c.timeout+grace)
	defer cancel()
	args := []string{
		"--net=/run/netns/" + c.name + "-" + node, "--mount=" + filepath.Join("/run/minato", c.name, "mntns", node), "--",
		c.suite, "-runtime-endpoint=unix://" + c.socket(), "-ginkgo.timeout=" + c.timeout.String(), "-ginkgo.no-color",
		"-ginkgo.junit-report=" + c.report(), "-ginkgo.focus=" + c.focus,
	}
	cmd := exec.CommandContext(ctx, "nsenter", args...)
	cmd.Dir = "/"
	// Profiles of seccomp that a spec makes have to lie where the node's do.
	cmd.Env = append(os.Environ(), "TMPDIR="+filepath.Join("/var/lib/minato", c.name, "nodes", node, "seccomp"))
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd()), Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGINT) }
	cmd.WaitDelay = grace
	fmt.Fprintf(os.Stderr, "the specs' output goes to %s\n", log.Name())
	err = cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) && ctx.Err() == nil {
		return nil // specs failed
	}
	return errors.Join(err, ctx.Err())
}

// remove deletes the cluster, and keeps the server's log.
func (c *cluster) remove(ctx context.Context) error {
	if log, err := os.ReadFile(filepath.Join("/var/lib/minato", c.name, "minato.log")); err == nil {
		if err := os.WriteFile(filepath.Join(c.out, "minato.log"), log, 0o600); err != nil {
			return err
		}
	}
	return c.do(ctx, "delete", "--ignore-not-found", "--name", c.name)
}

func (c *cluster) do(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, c.minato, args...)
	cmd.Env = append(os.Environ(), c.registry.env()...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("minato %s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
	return nil
}
