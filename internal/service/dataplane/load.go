package dataplane

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/cilium/ebpf"
)

func (d *DataPlane) mapDir() string  { return filepath.Join(d.cfg.PinDir, "maps-"+layoutVersion) }
func (d *DataPlane) linkDir() string { return filepath.Join(d.cfg.PinDir, "links") }

// load loads the programs with the tables that are pinned. Tables that are not pinned yet are made and pinned.
func (d *DataPlane) load() (*ebpf.Collection, error) {
	spec, err := specFor(d.cfg.ipv6())
	if err != nil {
		return nil, err
	}
	d.cfg.Limits.apply(spec)
	for _, dir := range []string{d.mapDir(), d.linkDir()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("create pin directory: %w", err)
		}
	}
	kept, err := d.pinnedMaps(spec)
	defer func() {
		for _, m := range kept {
			m.Close()
		}
	}()
	if err != nil {
		return nil, err
	}
	c, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{MapReplacements: kept})
	if err != nil {
		return nil, fmt.Errorf("load eBPF programs: %w", err)
	}
	for name, m := range c.Maps {
		if kept[name] != nil {
			continue
		}
		if err := m.Pin(filepath.Join(d.mapDir(), name)); err != nil {
			c.Close()
			return nil, fmt.Errorf("pin table %s: %w", name, err)
		}
	}
	return c, nil
}

// removeOldTables removes the pins of tables of another layout. No program uses them any more.
func (d *DataPlane) removeOldTables() error {
	dirs, err := filepath.Glob(filepath.Join(d.cfg.PinDir, "maps-*"))
	if err != nil {
		return fmt.Errorf("list pinned tables: %w", err)
	}
	for _, dir := range dirs {
		if dir == d.mapDir() {
			continue
		}
		if err := os.RemoveAll(dir); err != nil {
			return fmt.Errorf("remove pinned tables of an older layout: %w", err)
		}
	}
	return nil
}

func (l Limits) apply(spec *ebpf.CollectionSpec) {
	for name, n := range map[string]uint32{"frontends": l.Frontends, "slots": l.Slots, "backends": l.Backends, "flows": l.Flows, "turns": l.Flows / 2} {
		if n > 0 {
			spec.Maps[name].MaxEntries = n
		}
	}
}

// pinnedMaps opens the tables of an earlier process. A table of another size is removed: a new one is made, and the
// reconciler writes its entries anew.
func (d *DataPlane) pinnedMaps(spec *ebpf.CollectionSpec) (map[string]*ebpf.Map, error) {
	kept := map[string]*ebpf.Map{}
	for name, ms := range spec.Maps {
		path := filepath.Join(d.mapDir(), name)
		m, err := ebpf.LoadPinnedMap(path, nil)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return kept, fmt.Errorf("open pinned table %s: %w", name, err)
		}
		if err := ms.Compatible(m); err != nil {
			d.log.Warn("A table of an earlier process has another size or type and is replaced; connections that only it knows are lost", "table", name, "error", err)
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
