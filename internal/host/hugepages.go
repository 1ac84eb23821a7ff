package host

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// HugePages is the machine's pool of huge pages of one size.
type HugePages struct {
	// Size is that of a page, in bytes.
	Size int64
	// Total is how many pages the pool has, used ones included.
	Total int64
}

// Name is what cgroups call pages of that size, such as 2MB.
func (p HugePages) Name() string {
	units, size, i := []string{"B", "KB", "MB", "GB", "TB", "PB"}, p.Size, 0
	for ; i < len(units)-1 && size >= 1024 && size%1024 == 0; i++ {
		size /= 1024
	}
	return strconv.FormatInt(size, 10) + units[i]
}

// Grow is the command that gives the machine a pool of so many pages of that size.
func (p HugePages) Grow(pages int64) string {
	return fmt.Sprintf("echo %d > %s/hugepages-%dkB/nr_hugepages", pages, hugePagesDir, p.Size>>10)
}

const hugePagesDir = "/sys/kernel/mm/hugepages"

// MachineHugePages lists the pools of the machine, sorted by size; a machine whose
// kernel has no huge pages has none.
func MachineHugePages() ([]HugePages, error) { return readHugePages(hugePagesDir) }

func readHugePages(dir string) ([]HugePages, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the machine's huge pages: %w", err)
	}
	var out []HugePages
	for _, e := range entries {
		number, _ := strings.CutPrefix(e.Name(), "hugepages-")
		kib, err := strconv.ParseInt(strings.TrimSuffix(number, "kB"), 10, 50)
		if err != nil {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, e.Name(), "nr_hugepages"))
		if err != nil {
			return nil, fmt.Errorf("read the machine's huge pages: %w", err)
		}
		total, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 40)
		if err != nil {
			return nil, fmt.Errorf("read the machine's huge pages: %s: %w", e.Name(), err)
		}
		out = append(out, HugePages{Size: kib << 10, Total: total})
	}
	slices.SortFunc(out, func(a, b HugePages) int { return int(min(1, max(-1, a.Size-b.Size))) })
	return out, nil
}

// MountHugePages mounts a file system of huge pages of a size in bytes at path; limit,
// in bytes, bounds what is in it, unless it is 0.
func MountHugePages(path string, size, limit int64, options string) error {
	options = fmt.Sprintf("pagesize=%d,%s", size, options)
	if limit > 0 {
		options += fmt.Sprintf(",size=%d", limit)
	}
	if err := unix.Mount("nodev", path, "hugetlbfs", unix.MS_NOSUID|unix.MS_NODEV, options); err != nil {
		return fmt.Errorf("mount huge pages of %d bytes at %s: %w", size, path, err)
	}
	return nil
}

// HugePagesLimits returns ErrNoController where nothing on this machine can limit the
// huge pages of a cgroup: neither a hierarchy of version 1 nor cgroup2, which may have
// this controller alone.
func HugePagesLimits() error {
	l, err := Cgroups()
	if err != nil || l.Controllers["hugetlb"] != "" {
		return err
	}
	offered, err := os.ReadFile(filepath.Join(l.V2Root, "cgroup.controllers"))
	if err == nil && !slices.Contains(strings.Fields(string(offered)), "hugetlb") {
		err = fmt.Errorf("hugetlb: %w", ErrNoController)
	}
	return err
}

// DelegateHugePages has cgroup2 limit the huge pages of c and of the cgroups below it, also on
// a hybrid machine, whose cgroup2 may have that controller alone. No process may be in c
// itself, or in a cgroup above it but the root. Where version 1 has the controller, there is
// nothing to do.
func (c Cgroup) DelegateHugePages() error {
	l, err := Cgroups()
	if err != nil {
		return err
	}
	if l.Controllers["hugetlb"] != "" && c.Root == "" {
		return nil
	}
	dir := l.V2Root
	for _, part := range append([]string{""}, strings.Split(c.Path, "/")...) {
		dir = filepath.Join(dir, part)
		if err := os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+hugetlb"), 0o644); err != nil {
			return fmt.Errorf("enable the controller hugetlb below cgroup %s: %w", c.Path, err)
		}
	}
	return nil
}

// LimitHugePages bounds, in bytes, the huge pages of the kind that cgroups call name, such
// as 2MB, which the processes of a cgroup may have, and those that they may reserve. In
// cgroup2 the controller has to be delegated to the cgroup.
func (c Cgroup) LimitHugePages(name string, limit uint64) error {
	l, err := Cgroups()
	if err != nil {
		return err
	}
	dir, files := c.V2(), []string{"hugetlb." + name + ".max", "hugetlb." + name + ".rsvd.max"}
	if root := l.Controllers["hugetlb"]; root != "" && c.Root == "" {
		dir, files = filepath.Join(root, c.Path), []string{"hugetlb." + name + ".limit_in_bytes", "hugetlb." + name + ".rsvd.limit_in_bytes"}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("limit the huge pages of cgroup %s: %w", c.Path, err)
		}
	}
	for _, file := range files {
		err := os.WriteFile(filepath.Join(dir, file), []byte(strconv.FormatUint(limit, 10)), 0)
		if err != nil && !(errors.Is(err, os.ErrNotExist) && strings.Contains(file, "rsvd")) { // Linux 5.7
			return fmt.Errorf("limit the huge pages of cgroup %s: %w", c.Path, err)
		}
	}
	return nil
}
