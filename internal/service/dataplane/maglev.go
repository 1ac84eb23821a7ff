package dataplane

import (
	"fmt"

	"github.com/cilium/ebpf"

	"minato/internal/service/route"
)

// maglevTable has the number of a backend for each value of a connection's hash.
type maglevTable struct{ backends []uint32 }

// newMaglevTable makes the table of some backends; numbers are those of the backends, in the same order.
func newMaglevTable(candidates []route.Backend, numbers []uint32) *maglevTable {
	places := route.MaglevTable(candidates)
	for i, b := range places {
		places[i] = numbers[b]
	}
	return &maglevTable{backends: places}
}

// consistentSets tells which sets of a Service port need a Maglev table.
func consistentSets(fs []*route.Frontend) (sets [2]bool) {
	for _, f := range fs {
		for _, d := range f.Decisions {
			sets[d.Set] = sets[d.Set] || d.Consistent
		}
	}
	return sets
}

// kernelMaglev is the kernel's map of Maglev tables.
type kernelMaglev struct{ m *ebpf.Map }

func (k kernelMaglev) put(keys []maglevKey, values []*maglevTable) error {
	for i := range keys {
		if err := k.putOne(keys[i], values[i].backends); err != nil {
			return fmt.Errorf("write Maglev table of service %d: %w", keys[i].Service, err)
		}
	}
	return nil
}

func (k kernelMaglev) putOne(key maglevKey, backends []uint32) error {
	shared, err := collectionSpec()
	if err != nil {
		return err
	}
	spec := shared.Maps["maglev"].InnerMap.Copy()
	spec.MaxEntries = uint32(len(backends))
	inner, err := ebpf.NewMap(spec)
	if err != nil {
		return err
	}
	defer inner.Close()
	places := make([]uint32, len(backends))
	for i := range places {
		places[i] = uint32(i)
	}
	if err := (kernelTable[uint32, uint32]{inner}).put(places, backends); err != nil {
		return err
	}
	return full(k.m, k.m.Put(&key, inner))
}

func (k kernelMaglev) remove(keys []maglevKey) error {
	return kernelTable[maglevKey, uint32]{k.m}.remove(keys)
}

// each calls fn with the keys; the tables themselves are not read.
func (k kernelMaglev) each(fn func(maglevKey, *maglevTable)) error {
	return kernelTable[maglevKey, uint32]{k.m}.each(func(key maglevKey, _ uint32) { fn(key, nil) })
}
