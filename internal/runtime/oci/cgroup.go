package oci

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"minato/internal/host"
)

func (r *Runtime) conmonCgroup() host.Cgroup        { return r.cfg.Cgroup.Child("conmon") }
func (r *Runtime) podCgroup(uid string) host.Cgroup { return r.cfg.Cgroup.Child("pod" + uid) }
func (r *Runtime) cgroupOf(c *container) host.Cgroup {
	return r.podCgroup(c.state.PodUID).Child(c.state.ID)
}
func (r *Runtime) cgroupsPath(c *container) string { return "/" + r.cgroupOf(c).Path }
func (r *Runtime) makeLeaf(cg host.Cgroup) error   { return makeLeaf(cg) }

// makeLeaf makes a cgroup2 directory for processes. Unlike host's Create it
// hands no controllers down, since on a unified machine a cgroup that does may
// not hold processes.
func makeLeaf(cg host.Cgroup) error {
	if err := os.Mkdir(cg.V2(), 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("create cgroup %s: %w", cg.Path, err)
	}
	return nil
}

// placeInCgroup has cmd start inside the cgroup2 directory, so that it never
// runs outside of it. done must be called after the start.
func (r *Runtime) placeInCgroup(cmd *exec.Cmd, cg host.Cgroup) (done func(), err error) {
	fd, err := unix.Open(cg.V2(), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open cgroup %s: %w", cg.Path, err)
	}
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.UseCgroupFD = true
	cmd.SysProcAttr.CgroupFD = fd
	return func() { unix.Close(fd) }, nil
}

// adopt moves a container that has not started yet into its own cgroup2
// directory on machines where the OCI runtime may only manage version 1. cgroup
// files take processes by number: so it must be one of the container's, or of
// conmon's cgroup, in which the OCI runtime makes containers.
func (r *Runtime) adopt(c *container, pid int) error {
	if r.layout.Unified {
		return nil
	}
	p, err := newProcess(pid)
	if err != nil {
		return fmt.Errorf("the container's process ended at once: %w", err)
	}
	fd, err := openProcess(p) // so that the number does not pass on
	if err != nil {
		return fmt.Errorf("the container's process ended at once: %w", err)
	}
	defer unix.Close(fd)
	conmons, err := r.conmonCgroup().Procs()
	if err != nil {
		return err
	}
	own, err := r.cgroupOf(c).Procs()
	if err != nil {
		return err
	}
	if !slices.Contains(conmons, pid) && !slices.Contains(own, pid) {
		return fmt.Errorf("move process %d into the container's cgroup: it is none of the container's", pid)
	}
	procs := filepath.Join(r.cgroupOf(c).V2(), "cgroup.procs")
	if err := os.WriteFile(procs, []byte(strconv.Itoa(pid)), 0o644); err != nil {
		return fmt.Errorf("move process %d into the container's cgroup: %w", pid, err)
	}
	return nil
}

// execCgroup is where commands that enter a running container are started. On
// a unified machine the OCI runtime moves them on by itself.
func (r *Runtime) execCgroup(c *container) host.Cgroup {
	if r.layout.Unified {
		return r.conmonCgroup()
	}
	return r.cgroupOf(c)
}
