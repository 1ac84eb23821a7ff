package proxy

import (
	"errors"
	"io/fs"
	"path/filepath"

	"minato/internal/service/dataplane"
)

// cleanup removes everything of a proxy from this node: programs, tables, interfaces, routes, settings and mounts. It
// is no error if there is nothing to remove.
func cleanup(cfg Config) error {
	dirs := []string{cfg.BPFDir}
	if cfg.BPFDir == "" {
		// The earlier process used one of the two, depending on whether a BPF file system was mounted at that time.
		dirs = []string{filepath.Join(systemBPF, "minato"), filepath.Join(runDir, "bpf")}
	}
	for _, dir := range dirs {
		p := places{bpf: dir, pins: filepath.Join(dir, pinsName)}
		lock, err := p.lock()
		switch {
		case errors.Is(err, errRunning):
			return errors.Join(err, errors.New("end that process first: it would make again what is removed"))
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			return err
		}
		err = dataplane.Remove(dataplane.Config{NodeName: cfg.Node, PinDir: p.pins})
		if lock != nil {
			lock.Close()
		}
		if err := errors.Join(err, p.remove()); err != nil {
			return err
		}
	}
	return nil
}
