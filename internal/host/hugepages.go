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

// DelegateHugePages has the cgroups below c limit huge pages, on a hybrid machine whose
// cgroup2 has that controller alone. No process may be in c itself, or in a cgroup
// above it but the root.
func (c Cgroup) DelegateHugePages() error {
	l, err := Cgroups()
	if err != nil {
		return err
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

// LimitHugePages bounds, in bytes, the huge pages of one kind that the processes of a
// cgroup2 directory may have, and those that they may reserve.
func (c Cgroup) LimitHugePages(name string, limit uint64) error {
	for _, file := range []string{"hugetlb." + name + ".max", "hugetlb." + name + ".rsvd.max"} {
		err := os.WriteFile(filepath.Join(c.V2(), file), []byte(strconv.FormatUint(limit, 10)), 0o644)
		if err != nil && !(errors.Is(err, os.ErrNotExist) && strings.Contains(file, "rsvd")) {
			return fmt.Errorf("limit the huge pages of cgroup %s: %w", c.Path, err)
		}
	}
	return nil
}
