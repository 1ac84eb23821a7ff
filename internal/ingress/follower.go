package ingress

import (
	"context"
	"maps"
	"slices"
	"sync"
)

// item is an object that is delivered.
type item struct {
	key     Key
	object  object // nil if it is gone
	version string

	pack   sync.Once
	packed []byte
	err    error
}

// bytes returns the object in the API's protobuf. It is packed once, however many nodes it goes to, and forgotten when the
// last one has it.
func (i *item) bytes() ([]byte, error) {
	i.pack.Do(func() { i.packed, i.err = i.object.Marshal() })
	return i.packed, i.err
}

// follower is somebody who gets what changes.
type follower struct {
	wake    chan struct{}
	pending map[Key]*item
}

var _ Source = (*Objects)(nil)

// Follow implements Source.
func (o *Objects) Follow(ctx context.Context, deliver func([]Change, bool)) error {
	return o.follow(ctx, func(batch []*item, synced bool) error {
		out := make([]Change, 0, len(batch))
		for _, it := range batch {
			out = append(out, Change{Key: it.key, Object: it.object})
		}
		deliver(out, synced)
		return nil
	})
}

// follow calls deliver with items until ctx ends or it fails.
func (o *Objects) follow(ctx context.Context, deliver func([]*item, bool) error) error {
	f := &follower{wake: make(chan struct{}, 1), pending: map[Key]*item{}}
	o.mu.Lock()
	for k, it := range o.items {
		f.pending[k] = &item{key: k, object: it.object}
	}
	o.followers[f] = struct{}{}
	o.mu.Unlock()
	defer func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		delete(o.followers, f)
	}()
	poke(f.wake)
	told := false
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-f.wake:
		}
		o.mu.Lock()
		batch, synced := f.pending, o.synced
		f.pending = map[Key]*item{}
		o.mu.Unlock()
		if len(batch) == 0 && told == synced {
			continue
		}
		told = synced
		if err := deliver(inOrder(batch), synced); err != nil {
			return err
		}
	}
}

// inOrder returns items so that each comes after those that it may refer to, and goes before them.
func inOrder(batch map[Key]*item) []*item {
	return slices.SortedFunc(maps.Values(batch), func(a, b *item) int {
		switch {
		case a.object != nil && b.object != nil:
			return compareKeys(a.key, b.key)
		case a.object == nil && b.object == nil:
			return compareKeys(b.key, a.key)
		case a.object == nil:
			return 1
		}
		return -1
	})
}

// tell has all followers get an item. The lock is held.
func (o *Objects) tell(it *item) {
	for f := range o.followers {
		f.pending[it.key] = it
	}
}
