package dataplane

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
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

// FullError says that a table in the kernel has no room for what was to be written.
type FullError struct {
	Table   string
	Entries uint32 // that it has room for
	err     error
}

// remedies say what to do about a table that is full.
var remedies = map[string]string{
	"frontends":     "delete Services, or ports and addresses of Services, that nobody needs, or raise Limits.Frontends of the data plane",
	"slots":         "delete Services that nobody needs or have fewer endpoints, or raise Limits.Slots of the data plane",
	"backends":      "have fewer Pods behind Services, or raise Limits.Backends of the data plane",
	"maglev":        "remove the annotation for consistent hashing from Services that don't need it",
	"source_ranges": "have fewer loadBalancerSourceRanges",
	"nodes":         "have fewer addresses in the status of the Node",
}

// Error names the table and the remedy.
func (e *FullError) Error() string {
	s := fmt.Sprintf("table %s is full: it has room for %d entries", e.Table, e.Entries)
	if r, ok := remedies[e.Table]; ok {
		s += "; " + r
	}
	return s
}

// Unwrap returns what the kernel said.
func (e *FullError) Unwrap() error { return e.err }

// FullTable names the table.
func (e *FullError) FullTable() string { return e.Table }

// full turns the kernel's error for a table without room into a FullError: a hash table says E2BIG and an LPM trie ENOSPC.
func full(m *ebpf.Map, err error) error {
	if errors.Is(err, unix.E2BIG) || errors.Is(err, unix.ENOSPC) {
		return &FullError{Table: name(m), Entries: m.MaxEntries(), err: err}
	}
	return err
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
			return fmt.Errorf("write %d entries of table %s: %w", len(keys), name(t.m), full(t.m, err))
		}
	}
	for i := range keys {
		if err := t.m.Put(&keys[i], &values[i]); err != nil {
			return fmt.Errorf("write entry %+v of table %s: %w", keys[i], name(t.m), full(t.m, err))
		}
	}
	return nil
}

// remove deletes keys one by one if the batch fails, because a batch stops at the first key that is missing.
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
