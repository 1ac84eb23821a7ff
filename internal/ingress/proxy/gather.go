package proxy

import (
	"net"
	"runtime"
	"sync"
	"time"
)

// gatherer is a connection of HTTP/2 whose small writes are put together. http2 flushes after each frame that nothing else
// waits behind, and so writes the head of a small answer, its body and its trailer one by one, each in a TLS record and a
// system call of its own. Here what is written waits until the goroutines that are ready have run, and is then written
// as one; while that takes, the next frames gather. Memory is held only while there are bytes.
type gatherer struct {
	net.Conn
	pool *sync.Pool // of buffers, *[]byte
	// patience is how long the other side may take to accept what is written at once.
	patience time.Duration

	mu      sync.Mutex
	idle    sync.Cond // signalled when there is room, and when writing has ended
	pending *[]byte   // nil if empty
	writing bool      // a goroutine takes care of pending
	err     error
}

const (
	// gatherMost is what waits at most before writes wait too.
	gatherMost = 64 << 10
	// gatherFrom is the size of a write that is not copied if nothing waits before it.
	gatherFrom = 16 << 10
	// gatherClose is how long a close waits for what was written before.
	gatherClose = time.Second
)

func newGatherer(c net.Conn, pool *sync.Pool, patience time.Duration) *gatherer {
	g := &gatherer{Conn: c, pool: pool, patience: patience}
	g.idle.L = &g.mu
	return g
}

// Write implements net.Conn. An error is that of an earlier write: after one there are no more.
func (g *gatherer) Write(p []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for g.err == nil && g.pending != nil && len(*g.pending)+len(p) > gatherMost {
		g.idle.Wait()
	}
	if g.err != nil {
		return 0, g.err
	}
	if len(p) >= gatherFrom && !g.writing {
		return g.direct(p)
	}
	if g.pending == nil {
		g.pending = g.pool.Get().(*[]byte)
	}
	*g.pending = append(*g.pending, p...)
	if !g.writing {
		g.writing = true
		go g.write()
	}
	return len(p), nil
}

// direct writes p itself. It is called with mu, and gives it up meanwhile.
func (g *gatherer) direct(p []byte) (int, error) {
	g.writing = true
	g.limit()
	g.mu.Unlock()
	n, err := g.Conn.Write(p)
	g.mu.Lock()
	g.err = err
	if g.pending != nil && err == nil {
		go g.write()
		return n, nil
	}
	g.writing = false
	g.idle.Broadcast()
	return n, err
}

// write writes what is pending until nothing is.
func (g *gatherer) write() {
	runtime.Gosched()
	g.mu.Lock()
	defer g.mu.Unlock()
	for g.err == nil && g.pending != nil {
		buf := g.pending
		g.pending = nil
		g.idle.Broadcast()
		g.limit()
		g.mu.Unlock()
		_, err := g.Conn.Write(*buf)
		*buf = (*buf)[:0]
		if cap(*buf) <= 4*outSize {
			g.pool.Put(buf)
		}
		g.mu.Lock()
		g.err = err
	}
	g.writing = false
	g.idle.Broadcast()
}

// limit has a write end in time.
func (g *gatherer) limit() {
	_ = g.Conn.SetWriteDeadline(time.Now().Add(g.patience)) // a connection that is closed says so when it is written to
}

// SetWriteDeadline does nothing: whoever sets it does not know when bytes are written. Patience takes its place.
func (g *gatherer) SetWriteDeadline(time.Time) error { return nil }

// SetDeadline sets the one of reads alone, see SetWriteDeadline.
func (g *gatherer) SetDeadline(t time.Time) error { return g.SetReadDeadline(t) }

// Close writes what is pending, if the other side accepts it soon, and closes the connection.
func (g *gatherer) Close() error {
	g.mu.Lock()
	g.patience = min(g.patience, gatherClose)
	g.limit()
	for g.writing {
		g.idle.Wait()
	}
	g.err = net.ErrClosed
	g.mu.Unlock()
	return g.Conn.Close()
}
