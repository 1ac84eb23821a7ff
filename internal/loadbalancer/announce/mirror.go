package announce

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// mirror is a table in the kernel together with what is in it, so that only what changes is written.
type mirror[K, V comparable] struct {
	name string
	m    *ebpf.Map
	have map[K]V
	// clean removes from a value what the programs write; nil if they write nothing.
	clean func(V) V
}

// adopt reads what an earlier process wrote.
func (t *mirror[K, V]) adopt() error {
	t.have = map[K]V{}
	var (
		k  K
		v  V
		it = t.m.Iterate()
	)
	for it.Next(&k, &v) {
		if t.clean != nil {
			v = t.clean(v)
		}
		t.have[k] = v
	}
	if err := it.Err(); err != nil {
		return fmt.Errorf("read table %s: %w", t.name, err)
	}
	return nil
}

func (t *mirror[K, V]) set(k K, v V) error {
	if have, ok := t.have[k]; ok && have == v {
		return nil
	}
	if err := t.m.Put(&k, &v); err != nil {
		return writeError(t.name, t.m, err)
	}
	t.have[k] = v
	return nil
}

func (t *mirror[K, V]) remove(k K) error {
	if _, ok := t.have[k]; !ok {
		return nil
	}
	if err := t.m.Delete(&k); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("delete entry of table %s: %w", t.name, err)
	}
	delete(t.have, k)
	return nil
}

// replace makes want the content of the table.
func (t *mirror[K, V]) replace(want map[K]V) error {
	var errs []error
	for k, v := range want {
		errs = append(errs, t.set(k, v))
	}
	for k := range t.have {
		if _, keep := want[k]; !keep {
			errs = append(errs, t.remove(k))
		}
	}
	return errors.Join(errs...)
}

func writeError(name string, m *ebpf.Map, err error) error {
	if errors.Is(err, unix.E2BIG) {
		return fmt.Errorf("table %s is full: it has room for %d entries; have fewer addresses and ports of load balancers: %w", name, m.MaxEntries(), err)
	}
	return fmt.Errorf("write table %s: %w", name, err)
}
