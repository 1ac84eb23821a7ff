package announce

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"unsafe"

	"github.com/cilium/ebpf"
)

// buckets are the tables of buckets in the kernel. Equal ones are there once, and each is there as long as an entry of
// spreads names it.
type buckets struct {
	m    *ebpf.Map
	ids  map[sum256]uint32
	held map[uint32]*heldTable
	next uint32
}

type sum256 = [sha256.Size]byte

type heldTable struct {
	sum  sum256
	refs int
	// hosts are the numbers of nodes in it.
	hosts []uint32
}

func (t *tableEntry) sum() sum256 {
	id := t.ID
	t.ID = 0
	defer func() { t.ID = id }()
	return sha256.Sum256(unsafe.Slice((*byte)(unsafe.Pointer(t)), unsafe.Sizeof(*t)))
}

func (t *tableEntry) hosts() (out []uint32) {
	var seen [nobody + 1]bool
	for i := range min(t.Count, MaxBuckets) {
		owner, second := t.get(int(i))
		for _, n := range []uint32{owner, second} {
			if n != nobody && !seen[n] {
				seen[n] = true
				out = append(out, n)
			}
		}
	}
	return out
}

func (b *buckets) adopt() error {
	b.ids, b.held, b.next = map[sum256]uint32{}, map[uint32]*heldTable{}, 0
	var (
		id uint32
		t  tableEntry
		it = b.m.Iterate()
	)
	for it.Next(&id, &t) {
		b.add(id, &t)
		b.next = max(b.next, id)
	}
	if err := it.Err(); err != nil {
		return fmt.Errorf("read tables of buckets: %w", err)
	}
	return nil
}

func (b *buckets) add(id uint32, t *tableEntry) {
	h := &heldTable{sum: t.sum(), hosts: t.hosts()}
	b.held[id], b.ids[h.sum] = h, id
}

// put returns the number of the table with this content, and writes it if it is not there.
func (b *buckets) put(t *tableEntry) (uint32, error) {
	if id, ok := b.ids[t.sum()]; ok {
		return id, nil
	}
	for {
		// A number is used again only after four billion others, when no program looks at its old table any more.
		if b.next++; b.held[b.next] == nil {
			break
		}
	}
	t.ID = b.next
	if err := b.m.Put(t.ID, t); err != nil {
		return 0, writeError("tables", b.m, err)
	}
	b.add(t.ID, t)
	return t.ID, nil
}

func (b *buckets) use(id uint32, n int) {
	if h := b.held[id]; h != nil {
		h.refs += n
	}
}

// tidy deletes tables that nothing names. Those of ids alone, if there are any.
func (b *buckets) tidy(ids ...uint32) error {
	if len(ids) == 0 {
		for id := range b.held {
			ids = append(ids, id)
		}
	}
	var errs []error
	for _, id := range ids {
		h := b.held[id]
		if h == nil || h.refs > 0 {
			continue
		}
		if err := b.m.Delete(id); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			errs = append(errs, fmt.Errorf("delete table of buckets: %w", err))
			continue
		}
		delete(b.held, id)
		if b.ids[h.sum] == id {
			delete(b.ids, h.sum)
		}
	}
	return errors.Join(errs...)
}

// inUse are the numbers of nodes that any bucket has.
func (b *buckets) inUse() map[uint32]bool {
	out := map[uint32]bool{}
	for _, h := range b.held {
		for _, n := range h.hosts {
			out[n] = true
		}
	}
	return out
}
