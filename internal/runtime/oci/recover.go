package oci

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"minato/internal/host"
)

// recover reads what an earlier process has written down. It changes nothing
// outside of memory; sweep, which Run calls, does.
func (r *Runtime) recover() error {
	err := eachState(r.cfg.Dir, "sandboxes", func(parent *os.File, dir, id string) error {
		var s sandboxState
		err := load(dir, stateFile, &s)
		if exhausted(err) {
			return err
		}
		if err != nil || s.ID != id || s.Config == nil {
			r.log.Warn("the state file of a Pod sandbox can't be read: the sandbox is forgotten and its directory removed", "dir", dir, "error", err)
			return host.RemoveEntry(parent, id)
		}
		sb := r.newSandbox(s)
		// Namespaces end when the machine restarts, or when the mounts that
		// pin them go.
		if s.Boot != r.boot || !sb.pinned() {
			sb.state.Ready = false
		}
		r.sandboxes[s.ID] = sb
		return nil
	})
	if err != nil {
		return err
	}
	if err := eachState(r.cfg.Dir, "containers", func(parent *os.File, dir, id string) error {
		var s containerState
		err := load(dir, stateFile, &s)
		if exhausted(err) {
			return err
		}
		if err != nil || s.ID != id || s.Config == nil {
			r.log.Warn("the state file of a container can't be read: the container is forgotten and its directory removed", "dir", dir, "error", err)
			return errors.Join(r.cfg.Store.Unpin(id), host.RemoveEntry(parent, id)) // else its image could never be removed
		}
		c := r.newContainer(s)
		r.containers[s.ID] = c
		if s.Boot != r.boot {
			// The machine has restarted since: process numbers of then belong to
			// other processes now.
			c.state.Init, c.state.Conmon = process{}, process{}
		}
		if c.unfinished() && !c.state.Conmon.alive() {
			r.recordExit(c)
		}
		return nil
	}); err != nil {
		return err
	}
	r.recoverStarts()
	return nil
}

// exhausted tells whether an error says nothing about a file, but that this process can
// open none now: what is running is not forgotten for that.
func exhausted(err error) bool {
	return errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) || errors.Is(err, unix.ENOMEM)
}

// startPatience is how long the OCI runtime's command may still be under way that
// an earlier process had given to start a container.
const startPatience = 500 * time.Millisecond

// recoverStarts finds the containers that an earlier process was about to start
// when it ended: each waits for that, and its fifo is there until it is started
// (runc and crun both have it so). They were created, and run when they are
// started.
func (r *Runtime) recoverStarts() {
	var waiting []*container
	for _, c := range r.allContainers() {
		if c.snapshot().Phase == phaseRunning && r.awaitsStart(c) {
			waiting = append(waiting, c)
		}
	}
	for deadline := time.Now().Add(startPatience); len(waiting) > 0 && time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		waiting = slices.DeleteFunc(waiting, func(c *container) bool { return !r.awaitsStart(c) })
	}
	for _, c := range waiting {
		c.mu.Lock()
		c.state.Phase = phaseCreated
		c.mu.Unlock()
	}
}

func (r *Runtime) awaitsStart(c *container) bool {
	_, err := os.Lstat(filepath.Join(r.programOf(c).root, c.state.ID, "exec.fifo"))
	return err == nil
}

// eachState calls fn for each directory of a kind in one of the runtime's own. A Pod with
// a hostPath may have replaced what is below the directory that has that one: no link is
// followed out of it, and parent is what was opened.
func eachState(runtimeDir, kind string, fn func(parent *os.File, dir, id string) error) error {
	parent, err := host.DirBeneath(filepath.Dir(runtimeDir), filepath.Join(filepath.Base(runtimeDir), kind))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer parent.Close()
	entries, err := os.ReadDir(host.FilePath(parent))
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := fn(parent, filepath.Join(runtimeDir, kind, e.Name()), e.Name()); err != nil {
			return err
		}
	}
	return nil
}

// sweep removes what a crash has left: containers that were never finished,
// resources of exited ones, and directories that belong to nothing.
func (r *Runtime) sweep() {
	ctx, cancel := context.WithTimeout(context.Background(), runtimeTimeout)
	defer cancel()
	for _, c := range r.allContainers() {
		var err error
		switch c.snapshot().Phase {
		case phaseCreating:
			if err = r.forgetContainer(ctx, c); err == nil {
				r.mu.Lock()
				delete(r.containers, c.state.ID)
				r.mu.Unlock()
			}
		case phaseExited:
			c.op.Lock()
			err = r.release(ctx, c)
			c.op.Unlock()
		}
		if err != nil {
			r.log.Error("the processes, mounts or files of a container that has ended could not be removed", "container", c.state.ID, "error", err)
		}
	}
	r.sweepRunDirs("sandboxes", func(id string) bool { _, err := r.sandbox(id); return err == nil })
	r.sweepRunDirs("containers", func(id string) bool { _, err := r.container(id); return err == nil })
}

// sweepRunDirs removes directories whose state is gone. Operations that begin
// meanwhile make their persistent directory first, and so are left alone.
func (r *Runtime) sweepRunDirs(kind string, known func(id string) bool) {
	err := eachState(r.cfg.RunDir, kind, func(parent *os.File, _, id string) error {
		if _, err := os.Stat(filepath.Join(r.cfg.Dir, kind, id)); err == nil || known(id) {
			return nil
		}
		return host.ClearEntry(parent, id)
	})
	if err != nil {
		r.log.Error("directories of sandboxes or containers that are not there any more could not be removed", "dir", filepath.Join(r.cfg.RunDir, kind), "error", err)
	}
}
