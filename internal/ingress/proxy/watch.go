package proxy

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"minato/internal/ingress/h2"
)

// watchEvery is how often deadlines are looked at, and thereby how late one may act.
const watchEvery = 100 * time.Millisecond

// longAgo is a deadline that has passed.
var longAgo = time.Unix(1, 0)

// epoch is what clock counts from.
var epoch = time.Now()

// clock returns monotonic nanoseconds, never 0.
func clock() int64 { return int64(time.Since(epoch)) + 1 }

// deadliner is what a watch acts on.
type deadliner interface{ SetDeadline(time.Time) error }

// fired is the deadline of a watch that has ended its connection's operation.
const fired = -1

// watch is the deadline of one connection. Setting it is a store; a connection that is past it has its reads and
// writes ended by SetDeadline. The zero watch has no deadline and is not looked at.
type watch struct {
	at     atomic.Int64 // of clock; 0 is none
	conn   deadliner
	mu     sync.Mutex // held while conn's deadline is changed
	shard  *watchShard
	at_    int         // its place in the shard
	client *clientConn // looked at for clients that have gone away; nil for endpoints
	http2  *h2.Conn    // to an endpoint; nil for any other connection
}

// set has the operations that follow end at a time of clock; 0 is no end.
func (w *watch) set(at int64) {
	if w.at.Swap(at) == fired {
		w.mu.Lock()
		_ = w.conn.SetDeadline(time.Time{})
		w.mu.Unlock()
	}
}

// within is set for a duration from now; none or less is without end.
func (w *watch) within(d time.Duration) {
	if d <= 0 {
		w.set(0)
		return
	}
	w.set(clock() + int64(d))
}

// expire ends the connection's operation if its deadline has passed.
func (w *watch) expire(now int64) {
	at := w.at.Load()
	if at <= 0 || at > now {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.at.CompareAndSwap(at, fired) {
		_ = w.conn.SetDeadline(longAgo)
	}
}

// interrupt ends the operation at hand at once.
func (w *watch) interrupt() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.at.Store(fired)
	_ = w.conn.SetDeadline(longAgo)
}

const watchShards = 16

// watcher looks at the deadlines of all connections.
type watcher struct {
	next   atomic.Uint32
	shards [watchShards]watchShard
	wake   chan struct{}
	count  atomic.Int64
}

type watchShard struct {
	mu  sync.Mutex
	all []*watch
}

func newWatcher() *watcher { return &watcher{wake: make(chan struct{}, 1)} }

// add has the watch looked at until remove.
func (r *watcher) add(w *watch, c deadliner) {
	w.conn = c
	s := &r.shards[r.next.Add(1)%watchShards]
	s.mu.Lock()
	w.shard, w.at_ = s, len(s.all)
	s.all = append(s.all, w)
	s.mu.Unlock()
	if r.count.Add(1) == 1 {
		select {
		case r.wake <- struct{}{}:
		default:
		}
	}
}

func (r *watcher) remove(w *watch) {
	s := w.shard
	if s == nil {
		return
	}
	s.mu.Lock()
	last := len(s.all) - 1
	s.all[w.at_] = s.all[last]
	s.all[w.at_].at_ = w.at_
	s.all[last] = nil
	s.all = s.all[:last]
	w.shard = nil
	s.mu.Unlock()
	r.count.Add(-1)
}

// each calls f with all watches.
func (r *watcher) each(f func(*watch)) {
	var some []*watch
	for i := range r.shards {
		s := &r.shards[i]
		s.mu.Lock()
		some = append(some[:0], s.all...)
		s.mu.Unlock()
		for _, w := range some {
			f(w)
		}
	}
	clear(some)
}

// run looks at deadlines until the context ends, and sleeps while there is no connection. every is called now and then
// as long as there are connections.
func (r *watcher) run(ctx context.Context, every func(now int64)) {
	ticker := time.NewTicker(watchEvery)
	defer ticker.Stop()
	for {
		if r.count.Load() == 0 {
			ticker.Stop()
			select {
			case <-ctx.Done():
				return
			case <-r.wake:
				ticker.Reset(watchEvery)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		now := clock()
		for i := range r.shards {
			r.shards[i].expire(now)
		}
		every(now)
	}
}

func (s *watchShard) expire(now int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.all {
		w.expire(now)
	}
}
