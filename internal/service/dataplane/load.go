package dataplane

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/cilium/ebpf"

	"minato/internal/host/bpf"
)

// pins are where the tables are pinned.
func (d *DataPlane) pins() bpf.Tables { return bpf.Tables{Dir: d.cfg.PinDir, Layout: layoutVersion} }

func (d *DataPlane) linkDir() string { return filepath.Join(d.cfg.PinDir, "links") }

// load loads the programs with the tables that are pinned. Tables that are not pinned yet are made and pinned.
func (d *DataPlane) load() (*ebpf.Collection, error) {
	spec, err := specFor(d.cfg.ipv6())
	if err != nil {
		return nil, err
	}
	d.cfg.Limits.apply(spec)
	for _, dir := range []string{d.pins().Path(), d.linkDir()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("create pin directory: %w", err)
		}
	}
	kept, err := d.pins().Open(spec.Maps, d.log, "A table of an earlier process has another size or type and is replaced; connections that only it knows are lost")
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
		if err := m.Pin(filepath.Join(d.pins().Path(), name)); err != nil {
			c.Close()
			return nil, fmt.Errorf("pin table %s: %w", name, err)
		}
	}
	return c, nil
}

func (l Limits) apply(spec *ebpf.CollectionSpec) {
	for name, n := range map[string]uint32{"frontends": l.Frontends, "slots": l.Slots, "backends": l.Backends, "flows": l.Flows, "turns": l.Flows / 2} {
		if n > 0 {
			spec.Maps[name].MaxEntries = n
		}
	}
}
