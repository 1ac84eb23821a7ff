package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// CgroupLayout tells where this machine's cgroup hierarchies are mounted.
type CgroupLayout struct {
	// V2Root is the mount point of cgroup2, empty where there is none.
	V2Root string
	// Unified is true where cgroup2 is the only hierarchy, so that it carries
	// the resource controllers. False on hybrid machines.
	Unified bool
	// V1 lists the mount points of version 1 hierarchies.
	V1 []string
	// Controllers gives the mount point of the version 1 hierarchy that a
	// controller such as "cpu" is in.
	Controllers map[string]string
}

// ErrNoCgroup2 says that the machine has no cgroup2 hierarchy mounted.
var ErrNoCgroup2 = errors.New("cgroup2 is not mounted on this machine: boot with systemd.unified_cgroup_hierarchy=1, or mount it with `mount -t cgroup2 none /sys/fs/cgroup/unified`")

var cgroups = sync.OnceValues(readCgroups)

// Cgroups returns the machine's layout, read once.
func Cgroups() (CgroupLayout, error) { return cgroups() }

func readCgroups() (CgroupLayout, error) {
	l := CgroupLayout{Controllers: map[string]string{}}
	found, err := listMounts(func(m *mountinfo.Info) bool { return m.FSType == "cgroup" || m.FSType == "cgroup2" })
	if err != nil {
		return l, fmt.Errorf("read cgroup layout: %w", err)
	}
	for _, m := range found {
		switch {
		case m.FSType == "cgroup2" && l.V2Root == "":
			l.V2Root = m.Mountpoint
		case m.FSType == "cgroup" && !slices.Contains(l.V1, m.Mountpoint):
			l.V1 = append(l.V1, m.Mountpoint)
			// The controllers stand among the options of the file system, such
			// as "rw,cpu,cpuacct"; entries for options that are no controllers
			// do no harm.
			for option := range strings.SplitSeq(m.VFSOptions, ",") {
				if l.Controllers[option] == "" {
					l.Controllers[option] = m.Mountpoint
				}
			}
		}
	}
	if l.V2Root == "" {
		return l, ErrNoCgroup2
	}
	l.Unified = len(l.V1) == 0
	return l, nil
}

// Cgroup is one directory in every hierarchy of the machine, by its path
// below the mount points, such as "minato/NAME/node-1".
type Cgroup struct {
	Path string
	// Root, where it is set, is a directory of cgroup2 that the path is below,
	// in place of every hierarchy: where a container sees another cgroup
	// namespace, or where the program has mounted cgroup2 itself.
	Root string
}

// Child returns the cgroup of that name below c.
func (c Cgroup) Child(name string) Cgroup {
	return Cgroup{Path: filepath.Join(c.Path, name), Root: c.Root}
}

// V2 is c's directory in cgroup2: programs are attached to it, and processes
// are started in it with CLONE_INTO_CGROUP.
func (c Cgroup) V2() string {
	if c.Root != "" {
		return filepath.Join(c.Root, c.Path)
	}
	l, err := Cgroups()
	if err != nil {
		return ""
	}
	return filepath.Join(l.V2Root, c.Path)
}

// ErrNoController says that the machine's cgroups don't have a controller.
var ErrNoController = errors.New("the machine's cgroups don't have this controller")

// Controller returns c's directory in the hierarchy that has the controller,
// such as "cpu", and whether that is cgroup2, whose files have other names. The
// directory may not be there yet. The error is ErrNoController where neither
// kind of hierarchy has it.
func (c Cgroup) Controller(name string) (dir string, v2 bool, err error) {
	l, err := Cgroups()
	if err != nil {
		return "", false, err
	}
	if root := l.Controllers[name]; root != "" && c.Root == "" {
		return filepath.Join(root, c.Path), false, nil
	}
	if !l.Unified && c.Root == "" {
		return "", false, fmt.Errorf("%s: %w", name, ErrNoController) // Create enables no controllers there
	}
	root := l.V2Root
	if c.Root != "" {
		root = c.Root
	}
	offered, err := os.ReadFile(filepath.Join(root, "cgroup.controllers"))
	if err == nil && !slices.Contains(strings.Fields(string(offered)), name) {
		err = fmt.Errorf("%s: %w", name, ErrNoController)
	}
	return c.V2(), true, err
}

// Create makes c in cgroup2 and, on a machine where cgroup2 carries the
// controllers, enables them in c's children. Directories of version 1
// hierarchies are left to the OCI runtime, which knows which ones it needs.
func (c Cgroup) Create() error {
	l, err := Cgroups()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(c.V2(), 0o755); err != nil {
		return fmt.Errorf("create cgroup %s: %w", c.Path, err)
	}
	if !l.Unified {
		return nil
	}
	dir := l.V2Root
	for _, part := range append([]string{""}, strings.Split(c.Path, "/")...) {
		dir = filepath.Join(dir, part)
		if err := delegateControllers(dir); err != nil {
			return fmt.Errorf("create cgroup %s: %w", c.Path, err)
		}
	}
	return nil
}

// delegateControllers enables in dir's children the controllers that
// containers are limited with, those that the kernel offers.
func delegateControllers(dir string) error {
	offered, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return err
	}
	for _, name := range strings.Fields(string(offered)) {
		switch name {
		case "cpu", "cpuset", "io", "memory", "pids", "hugetlb":
			if err := os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+name), 0o644); err != nil {
				return fmt.Errorf("enable controller %s: %w", name, err)
			}
		}
	}
	return nil
}

// dirs are the directories of c that can exist.
func (c Cgroup) dirs() ([]string, error) {
	if c.Root != "" {
		return []string{c.V2()}, nil
	}
	l, err := Cgroups()
	if err != nil {
		return nil, err
	}
	dirs := []string{filepath.Join(l.V2Root, c.Path)}
	for _, root := range l.V1 {
		dirs = append(dirs, filepath.Join(root, c.Path))
	}
	return dirs, nil
}

// Procs lists the processes in c and below it, over all hierarchies.
func (c Cgroup) Procs() ([]int, error) {
	dirs, err := c.dirs()
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.IsDir() {
				return ignoreGone(err)
			}
			data, err := os.ReadFile(filepath.Join(path, "cgroup.procs"))
			if err != nil {
				return ignoreGone(err)
			}
			for _, field := range strings.Fields(string(data)) {
				if pid, err := strconv.Atoi(field); err == nil && pid > 0 {
					pids = append(pids, pid)
				}
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("list processes of cgroup %s: %w", c.Path, err)
		}
	}
	slices.Sort(pids)
	return slices.Compact(pids), nil
}

// Kill ends every process in c and below it, and waits until they are gone.
func (c Cgroup) Kill(ctx context.Context) error {
	for {
		// cgroup2 ends the whole subtree at once, and what forks meanwhile.
		err := os.WriteFile(filepath.Join(c.V2(), "cgroup.kill"), []byte("1"), 0)
		if err := ignoreGone(err); err != nil && !errors.Is(err, unix.EOPNOTSUPP) {
			return fmt.Errorf("end the processes of cgroup %s: %w", c.Path, err)
		}
		pids, err := c.Procs()
		if err != nil || len(pids) == 0 {
			return err
		}
		// What is left are processes that are only in a version 1 hierarchy, or
		// in a threaded cgroup.
		if err := c.Signal(unix.SIGKILL, nil); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("end the processes of cgroup %s: %d are still there: %w", c.Path, len(pids), ctx.Err())
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// signalBatch bounds how many pidfds are open at a time.
const signalBatch = 128

// Signal sends a signal to those processes in c and below it that match, or to
// all where match is nil. The kernel reuses the number of a process that has
// ended: so a pidfd is opened for each process first, then the process is
// looked for in the cgroup and matched again, and the signal goes to the pidfd.
// No process outside of c is ever hit.
func (c Cgroup) Signal(sig syscall.Signal, match func(pid int) bool) error {
	pids, err := c.Procs()
	if err != nil {
		return err
	}
	for batch := range slices.Chunk(pids, signalBatch) {
		if err := c.signalBatch(sig, match, batch); err != nil {
			return fmt.Errorf("signal the processes of cgroup %s: %w", c.Path, err)
		}
	}
	return nil
}

func (c Cgroup) signalBatch(sig syscall.Signal, match func(pid int) bool, pids []int) error {
	held := map[int]int{}
	defer func() {
		for _, fd := range held {
			unix.Close(fd)
		}
	}()
	for _, pid := range pids {
		if match != nil && !match(pid) {
			continue
		}
		fd, err := unix.PidfdOpen(pid, 0)
		if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EINVAL) { // EINVAL: a thread by now
			continue
		}
		if err != nil {
			return fmt.Errorf("open process %d: %w", pid, err)
		}
		held[pid] = fd
	}
	if len(held) == 0 {
		return nil
	}
	still, err := c.Procs()
	if err != nil {
		return err
	}
	for _, pid := range still {
		fd, ok := held[pid]
		if !ok || match != nil && !match(pid) {
			continue
		}
		if err := unix.PidfdSendSignal(fd, sig, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("signal process %d: %w", pid, err)
		}
	}
	return nil
}

// Delete removes c and everything below it from every hierarchy. It fails
// where a process is left inside.
func (c Cgroup) Delete() error {
	dirs, err := c.dirs()
	if err != nil {
		return err
	}
	for _, dir := range dirs {
		if err := removeCgroupTree(dir); err != nil {
			return fmt.Errorf("delete cgroup %s: %w", c.Path, err)
		}
	}
	return nil
}

// removeCgroupTree removes directories from the leaves up; the files in them
// are the kernel's and go with them.
func removeCgroupTree(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return ignoreGone(err)
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := removeCgroupTree(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return ignoreGone(rmdirRetry(dir))
}

// rmdirRetry retries for a moment: the kernel frees a cgroup a little after
// its last process was reaped.
func rmdirRetry(dir string) error {
	deadline := time.Now().Add(2 * time.Second)
	for {
		err := unix.Rmdir(dir)
		if err == nil || !errors.Is(err, unix.EBUSY) || time.Now().After(deadline) {
			return err
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func ignoreGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) {
		return nil
	}
	return err
}
