package node

import (
	"context"
	"sync"

	"minato/internal/node/guard"
)

// coalesce shares reads of things that are named by a key. A call returns what
// a read found that began after the call, and calls that wait at the same time
// share one read: a thousand Pods that arrive together cost a handful of
// requests, and none of them is answered with something older than itself.
type coalesce[K comparable, T any] struct {
	// read is called for one key at a time.
	read func(ctx context.Context, key K) (T, error)

	mu      sync.Mutex
	lanes   map[K]*lane[T]
	running sync.WaitGroup
}

// lane are the reads of one key. It is there as long as somebody waits.
type lane[T any] struct{ next *shared[T] }

// shared is one read, for all who wait for it.
type shared[T any] struct {
	done  chan struct{}
	value T
	err   error
}

// get returns what a read finds that begins now or later. The read may serve
// others too, so it ends with life, not with ctx.
func (c *coalesce[K, T]) get(ctx, life context.Context, key K) (T, error) {
	mine := c.join(life, key)
	select {
	case <-mine.done:
		return mine.value, mine.err
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
}

func (c *coalesce[K, T]) join(life context.Context, key K) *shared[T] {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lanes == nil {
		c.lanes = map[K]*lane[T]{}
	}
	l := c.lanes[key]
	if l == nil {
		l = &lane[T]{}
		c.lanes[key] = l
		c.running.Add(1)
		go func() {
			defer c.running.Done()
			c.serve(life, key)
		}()
	}
	if l.next == nil {
		l.next = &shared[T]{done: make(chan struct{})}
	}
	return l.next
}

// serve reads as long as somebody waits.
func (c *coalesce[K, T]) serve(life context.Context, key K) {
	for {
		now := c.take(key)
		if now == nil {
			return
		}
		now.err = guard.Do("read from the API server", func() (err error) {
			now.value, err = c.read(life, key)
			return err
		})
		close(now.done)
	}
}

// take returns the read that is due, nil if nobody waits.
func (c *coalesce[K, T]) take(key K) *shared[T] {
	c.mu.Lock()
	defer c.mu.Unlock()
	l := c.lanes[key]
	now := l.next
	if l.next = nil; now == nil {
		delete(c.lanes, key)
	}
	return now
}

// wait returns when no read is under way.
func (c *coalesce[K, T]) wait() { c.running.Wait() }
