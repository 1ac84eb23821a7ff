package foreign

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
	runRoot   = "/run/minato"
)

// RunDir is a part's directory for what a boot ends.
func RunDir(part string) string { return filepath.Join(runRoot, part) }

// BPFDirUsage describes the flag that names a BPFDir.
func BPFDirUsage(part string) string {
	return "directory to pin eBPF programs and maps in, on a BPF file system or to mount one at (default: " + systemBPF + "/minato, or " + RunDir(part) + "/bpf where that is none)"
}

// Places are the directories that a part uses on the machine. Finding them changes nothing.
type Places struct {
	// Part is the name of the part, such as proxy.
	Part string
	// BPF is a directory of a BPF file system, or where one is to be mounted; Pins is the part's alone, below it.
	BPF, Pins string
}

// At are the places of a part in a directory of a BPF file system.
func At(part, bpf string) Places { return Places{Part: part, BPF: bpf, Pins: filepath.Join(bpf, part)} }

// FindPlaces returns a part's places in a directory that may be given.
func FindPlaces(part, bpfDir string) (Places, error) {
	switch {
	case bpfDir != "":
		return At(part, bpfDir), checkBPFDir(bpfDir)
	case host.IsBPF(systemBPF):
		return At(part, filepath.Join(systemBPF, "minato")), nil
	}
	return At(part, filepath.Join(RunDir(part), "bpf")), nil
}

func checkBPFDir(dir string) error {
	if !filepath.IsAbs(dir) {
		return fmt.Errorf("--bpf-dir %s is no absolute path", dir)
	}
	return nil
}

// Prepare makes the places and returns a lock on them, which lasts as long as the file is open.
func (p Places) Prepare() (*os.File, error) {
	if err := host.MountBPF(p.BPF); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(p.Pins, 0o700); err != nil {
		return nil, fmt.Errorf("make the directory of pins: %w", err)
	}
	return p.Lock()
}

// ErrRunning says that a process of the same part has the places.
var ErrRunning = errors.New("runs on this node already")

// Lock takes the lock of places that are there.
func (p Places) Lock() (*os.File, error) {
	f, err := os.Open(p.Pins)
	if err != nil {
		return nil, fmt.Errorf("lock the directory of pins: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("another %s %w, with its pins in %s", p.Part, ErrRunning, p.Pins)
		}
		return nil, fmt.Errorf("lock %s: %w", p.Pins, err)
	}
	return f, nil
}

// Remove takes away what Prepare made, and mounts of the part at other places; what others made stays, and so does a mount
// that has the pins of another part.
func (p Places) Remove(mounts ...string) error {
	shared, err := p.shared()
	if err != nil {
		return err
	}
	if !shared {
		mounts = append([]string{p.BPF}, mounts...)
	}
	var errs []error
	for _, dir := range mounts {
		errs = append(errs, host.UnmountOwn(dir))
	}
	for _, dir := range append(mounts, RunDir(p.Part), runRoot) {
		if err := os.Remove(dir); err != nil && !staysBehind(err) {
			errs = append(errs, fmt.Errorf("remove %s: %w", dir, err))
		}
	}
	return errors.Join(errs...)
}

// shared tells whether another part has pins in the same directory.
func (p Places) shared() (bool, error) {
	entries, err := os.ReadDir(p.BPF)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, fmt.Errorf("look for pins of others: %w", err)
	}
	// The files of a BPF file system's root are the kernel's.
	return slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return e.IsDir() && e.Name() != p.Part }), nil
}

// staysBehind tells whether an error of removing a directory is no fault: the directory is gone already, holds files of
// another program, or is a mount point of the container that the process runs in (busy, or read-only).
func staysBehind(err error) bool {
	reasons := []error{fs.ErrNotExist, syscall.ENOTEMPTY, syscall.EBUSY, syscall.EROFS}
	return slices.ContainsFunc(reasons, func(reason error) bool { return errors.Is(err, reason) })
}

// Cleanup has everything of a part that is not running removed, wherever it was: remove takes the pins and what belongs to
// them away, and mounts are its mounts at other places. It is no error if there is nothing to remove.
func Cleanup(part, bpfDir string, remove func(Places) error, mounts ...string) error {
	dirs := []string{bpfDir}
	if bpfDir == "" {
		// The earlier process used one of the two, depending on whether a BPF file system was mounted at that time.
		dirs = []string{filepath.Join(systemBPF, "minato"), filepath.Join(RunDir(part), "bpf")}
	} else if err := checkBPFDir(bpfDir); err != nil {
		return err
	}
	for _, dir := range dirs {
		p := At(part, dir)
		lock, err := p.Lock()
		switch {
		case errors.Is(err, ErrRunning):
			return errors.Join(err, errors.New("end that process first: it would make again what is removed"))
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			return err
		}
		err = remove(p)
		if lock != nil {
			lock.Close()
		}
		if err := errors.Join(err, p.Remove(mounts...)); err != nil {
			return err
		}
	}
	return nil
}
