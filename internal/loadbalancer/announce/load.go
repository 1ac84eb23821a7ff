package announce

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/cilium/ebpf"
)

func (a *Announcer) mapDir() string { return filepath.Join(a.cfg.PinDir, "maps-"+layoutVersion) }

// pinned tells whether a table outlives the process. What the programs tell of is only for the process that loads them, and
// the table of flows is somebody else's.
func pinned(name string) bool { return name != "events" && name != "flows" }

// load loads the programs with the tables that are pinned. Tables that are not pinned yet are made and pinned.
func (a *Announcer) load() (*ebpf.Collection, error) {
	var flows *ebpf.Map
	if a.cfg.Flows != nil {
		flows = a.cfg.Flows()
	}
	spec, err := specFor(a.cfg.ipv6(), flows)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(a.mapDir(), 0o700); err != nil {
		return nil, fmt.Errorf("create pin directory: %w", err)
	}
	kept, err := a.pinnedMaps(spec)
	defer func() {
		for _, m := range kept {
			m.Close()
		}
	}()
	if err != nil {
		return nil, err
	}
	replacements := map[string]*ebpf.Map{}
	for name, m := range kept {
		replacements[name] = m
	}
	a.settings.Flags &^= configFlows
	if flows != nil {
		replacements["flows"] = flows
		a.settings.Flags |= configFlows
	}
	c, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{MapReplacements: replacements})
	if err != nil {
		return nil, fmt.Errorf("load eBPF programs: %w", err)
	}
	for name, m := range c.Maps {
		if kept[name] != nil || !pinned(name) {
			continue
		}
		if err := m.Pin(filepath.Join(a.mapDir(), name)); err != nil {
			c.Close()
			return nil, fmt.Errorf("pin table %s: %w", name, err)
		}
	}
	return c, nil
}

// pinnedMaps opens the tables of an earlier process. A table of another size is removed, and a new one is made.
func (a *Announcer) pinnedMaps(spec *ebpf.CollectionSpec) (map[string]*ebpf.Map, error) {
	kept := map[string]*ebpf.Map{}
	for name, ms := range spec.Maps {
		if !pinned(name) {
			continue
		}
		path := filepath.Join(a.mapDir(), name)
		m, err := ebpf.LoadPinnedMap(path, nil)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return kept, fmt.Errorf("open pinned table %s: %w", name, err)
		}
		if err := ms.Compatible(m); err != nil {
			a.log.Warn("A table of an earlier process has another size or type and is replaced", "table", name, "error", err)
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

// removeOldTables removes the pins of tables of another layout. No program uses them any more.
func (a *Announcer) removeOldTables() error {
	dirs, err := filepath.Glob(filepath.Join(a.cfg.PinDir, "maps-*"))
	if err != nil {
		return fmt.Errorf("list pinned tables: %w", err)
	}
	for _, dir := range dirs {
		if dir == a.mapDir() {
			continue
		}
		if err := os.RemoveAll(dir); err != nil {
			return fmt.Errorf("remove pinned tables of an older layout: %w", err)
		}
	}
	return nil
}
