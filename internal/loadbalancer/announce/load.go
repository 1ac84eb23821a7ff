package announce

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"

	"github.com/cilium/ebpf"

	"minato/internal/host/bpf"
)

// pins are where the tables are pinned.
func (a *Announcer) pins() bpf.Tables { return bpf.Tables{Dir: a.cfg.PinDir, Layout: layoutVersion} }

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
	if err := os.MkdirAll(a.pins().Path(), 0o700); err != nil {
		return nil, fmt.Errorf("create pin directory: %w", err)
	}
	tables := maps.Clone(spec.Maps)
	maps.DeleteFunc(tables, func(name string, _ *ebpf.MapSpec) bool { return !pinned(name) })
	kept, err := a.pins().Open(tables, a.log, "A table of an earlier process has another size or type and is replaced")
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
		if err := m.Pin(filepath.Join(a.pins().Path(), name)); err != nil {
			c.Close()
			return nil, fmt.Errorf("pin table %s: %w", name, err)
		}
	}
	return c, nil
}
