package image

import (
	"context"
	"sync"
)

// turns lets one at a time through for each key. A key is forgotten with its
// last user.
type turns struct {
	mu    sync.Mutex
	byKey map[string]*turn
}

type turn struct {
	free  chan struct{} // holds a token while nobody has the turn
	users int           // guarded by turns.mu
}

// take waits for the turn, or for ctx to end.
func (t *turns) take(ctx context.Context, key string) (release func(), err error) {
	t.mu.Lock()
	mine := t.byKey[key]
	if mine == nil {
		mine = &turn{free: make(chan struct{}, 1)}
		mine.free <- struct{}{}
		if t.byKey == nil {
			t.byKey = map[string]*turn{}
		}
		t.byKey[key] = mine
	}
	mine.users++
	t.mu.Unlock()
	drop := func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if mine.users--; mine.users == 0 {
			delete(t.byKey, key)
		}
	}
	select {
	case <-mine.free:
		return func() { mine.free <- struct{}{}; drop() }, nil
	case <-ctx.Done():
		drop()
		return nil, ctx.Err()
	}
}
