package oci

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"minato/internal/host"
)

// A pod whose containers share a process namespace needs a process number 1
// that outlives them and reaps what they orphan: host's idle program.

// writeHolder writes the program to the sandbox's persistent directory: what
// lies on a tmpfs often can't be executed.
func (sb *sandbox) writeHolder() (string, error) {
	path := filepath.Join(sb.dir, "holder")
	err := host.WriteIdleProgram(path)
	if errors.Is(err, errors.ErrUnsupported) {
		return "", fmt.Errorf("a process namespace shared by a pod's containers: %w: %w", ErrUnsupported, err)
	}
	return path, err
}

func (r *Runtime) holderCgroup(sb *sandbox) host.Cgroup {
	return r.podCgroup(sb.info().UID).Child("holder-" + sb.state.ID[:12])
}

// startHolder starts the process that keeps a shared process namespace, and
// pins the namespace.
func (r *Runtime) startHolder(sb *sandbox) error {
	path, err := sb.writeHolder()
	if err != nil {
		return err
	}
	cg := r.holderCgroup(sb)
	if err := makeLeaf(cg); err != nil {
		return err
	}
	cmd := exec.Command(path)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID, Setsid: true}
	done, err := r.placeInCgroup(cmd, cg)
	if err != nil {
		return err
	}
	// Containers of the Pod may look at its root directory.
	err = r.cfg.MountNS.Do(cmd.Start)
	done()
	if err != nil {
		return fmt.Errorf("start holder of the process namespace: %w", err)
	}
	go cmd.Wait() // it is our child for as long as we live, and wants to be reaped
	holder, err := newProcess(cmd.Process.Pid)
	if err != nil {
		return fmt.Errorf("start holder of the process namespace: %w", err)
	}
	if err := sb.change(func(s *sandboxState) { s.Holder = holder }); err != nil {
		return err
	}
	return host.PinNamespace(holder.namespace("pid"), filepath.Join(sb.namespaceDir(), "pid"))
}

// stopHolder ends the holder, and so whatever is left in its namespace.
func (r *Runtime) stopHolder(ctx context.Context, sb *sandbox) error {
	cg := r.holderCgroup(sb)
	return errors.Join(cg.Kill(ctx), cg.Delete())
}
