package bpf

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/cilium/ebpf"
)

// Tables are where the tables of a collection are pinned: a directory for each layout, below one of a BPF file system.
type Tables struct {
	Dir string
	// Layout is the version of the meaning of the tables' entries. A process takes over tables of its own layout alone.
	Layout string
}

// Path is the directory of this layout.
func (t Tables) Path() string { return filepath.Join(t.Dir, "maps-"+t.Layout) }

// Open opens those of the tables that an earlier process has pinned. A table of another size or type is removed, so that a
// new one is made, and warning is logged. With an error it returns what it has opened, too.
func (t Tables) Open(tables map[string]*ebpf.MapSpec, log *slog.Logger, warning string) (map[string]*ebpf.Map, error) {
	kept := map[string]*ebpf.Map{}
	for name, ms := range tables {
		path := filepath.Join(t.Path(), name)
		m, err := ebpf.LoadPinnedMap(path, nil)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return kept, fmt.Errorf("open pinned table %s: %w", name, err)
		}
		if err := ms.Compatible(m); err != nil {
			log.Warn(warning, "table", name, "error", err)
			m.Close()
			if err := os.Remove(path); err != nil {
				return kept, fmt.Errorf("remove pinned table %s: %w", name, err)
			}
			continue
		}
		kept[name] = m
	}
	return kept, nil
}

// RemoveOld removes the pins of tables of other layouts. No program uses them any more.
func (t Tables) RemoveOld() error {
	dirs, err := filepath.Glob(filepath.Join(t.Dir, "maps-*"))
	if err != nil {
		return fmt.Errorf("list pinned tables: %w", err)
	}
	for _, dir := range dirs {
		if dir == t.Path() {
			continue
		}
		if err := os.RemoveAll(dir); err != nil {
			return fmt.Errorf("remove pinned tables of an older layout: %w", err)
		}
	}
	return nil
}
