package dataplane

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
)

// table is a kernel table as the reconciler sees it.
type table[K, V comparable] interface {
	// put sets entries, new or not. After an error any of them may have been set.
	put(keys []K, values []V) error
	// remove deletes entries; missing ones are fine. After an error any of them may be gone.
	remove(keys []K) error
	// each calls fn for every entry.
	each(fn func(K, V)) error
}

// kernelTable is a hash table in the kernel.
type kernelTable[K, V comparable] struct{ m *ebpf.Map }

func (t kernelTable[K, V]) put(keys []K, values []V) error {
	if len(keys) > 1 {
		_, err := t.m.BatchUpdate(keys, values, nil)
		if err == nil {
			return nil
		}
		if !errors.Is(err, ebpf.ErrNotSupported) {
			return fmt.Errorf("write %d entries of table %s: %w", len(keys), name(t.m), err)
		}
	}
	for i := range keys {
		if err := t.m.Put(&keys[i], &values[i]); err != nil {
			return fmt.Errorf("write entry %+v of table %s: %w", keys[i], name(t.m), err)
		}
	}
	return nil
}

// remove falls back to single deletions, since a batch stops at the first key that is missing.
func (t kernelTable[K, V]) remove(keys []K) error {
	if len(keys) > 1 {
		if _, err := t.m.BatchDelete(keys, nil); err == nil {
			return nil
		}
	}
	for i := range keys {
		if err := t.m.Delete(&keys[i]); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("delete entry %+v of table %s: %w", keys[i], name(t.m), err)
		}
	}
	return nil
}

func (t kernelTable[K, V]) each(fn func(K, V)) error {
	var (
		k  K
		v  V
		it = t.m.Iterate()
	)
	for it.Next(&k, &v) {
		fn(k, v)
	}
	if err := it.Err(); err != nil {
		return fmt.Errorf("read table %s: %w", name(t.m), err)
	}
	return nil
}

func name(m *ebpf.Map) string {
	info, err := m.Info()
	if err != nil {
		return m.String()
	}
	return info.Name
}
