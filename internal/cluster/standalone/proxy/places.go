package proxy

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"minato/internal/host"
)

const (
	systemBPF = "/sys/fs/bpf"
	runDir    = "/run/minato/proxy"
	pinsName  = "proxy"
)

// places are the directories that the proxy uses on the machine. Finding them changes nothing.
type places struct {
	// bpf is a directory of a BPF file system, or where one is to be mounted; pins is ours alone, below it.
	bpf, pins string
	// cgroup is a directory of cgroup2, to be mounted there if mount is set.
	cgroup string
	mount  bool
}

func findPlaces(cfg *Config) (places, error) {
	p := places{bpf: cfg.BPFDir}
	if p.bpf == "" {
		p.bpf = filepath.Join(runDir, "bpf")
		if host.IsBPF(systemBPF) {
			p.bpf = filepath.Join(systemBPF, "minato")
		}
	}
	p.pins = filepath.Join(p.bpf, pinsName)
	if cfg.Cgroup == "" {
		layout, err := host.Cgroups()
		switch {
		case err == nil:
			p.cgroup = layout.V2Root
		case errors.Is(err, host.ErrNoCgroup2):
			p.cgroup, p.mount = filepath.Join(runDir, "cgroup"), true
		default:
			return p, err
		}
		return p, nil
	}
	for _, dir := range []string{cfg.Cgroup, filepath.Join(cfg.Cgroup, "unified")} {
		if host.IsCgroup2(dir) {
			p.cgroup = dir
			return p, nil
		}
	}
	return p, fmt.Errorf("--cgroup %s is no directory of cgroup2, and neither is %s/unified", cfg.Cgroup, cfg.Cgroup)
}

// prepare makes the places and returns a lock on them, which lasts as long as the file is open.
func (p places) prepare() (*os.File, error) {
	if err := host.MountBPF(p.bpf); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(p.pins, 0o700); err != nil {
		return nil, fmt.Errorf("make the directory of pins: %w", err)
	}
	if p.mount {
		if err := host.MountCgroup2(p.cgroup); err != nil {
			return nil, err
		}
	}
	return p.lock()
}

var errRunning = errors.New("another proxy runs on this node already")

func (p places) lock() (*os.File, error) {
	f, err := os.Open(p.pins)
	if err != nil {
		return nil, fmt.Errorf("lock the directory of pins: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("%w, with its pins in %s", errRunning, p.pins)
		}
		return nil, fmt.Errorf("lock %s: %w", p.pins, err)
	}
	return f, nil
}

// remove takes away what prepare made; what others made stays.
func (p places) remove() error {
	errs := []error{host.UnmountOwn(p.bpf), host.UnmountOwn(filepath.Join(runDir, "cgroup"))}
	for _, dir := range []string{p.bpf, filepath.Join(runDir, "cgroup"), runDir, filepath.Dir(runDir)} {
		if err := os.Remove(dir); err != nil && !staysBehind(err) {
			errs = append(errs, fmt.Errorf("remove %s: %w", dir, err))
		}
	}
	return errors.Join(errs...)
}

// staysBehind tells whether an error of removing a directory is no fault: the directory is gone already, holds files of
// another program, or is a mount point of the container that the process runs in (busy, or read-only).
func staysBehind(err error) bool {
	reasons := []error{fs.ErrNotExist, syscall.ENOTEMPTY, syscall.EBUSY, syscall.EROFS}
	return slices.ContainsFunc(reasons, func(reason error) bool { return errors.Is(err, reason) })
}
