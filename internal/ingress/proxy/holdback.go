package proxy

import (
	"io"
	"os"
	"sync"
	"time"

	"minato/internal/ingress/table"
)

// passHeldBack passes an answer's body on that is read ahead of a slow client (proxy-buffering), or sent at a bounded pace
// (limit-rate): the endpoint is rid of it as soon as the buffers take it.
func (f *flow) passHeldBack(loc *table.Location, u *upstreamConn) error {
	q := newHoldback(f.srv, &loc.Buffering)
	defer q.close()
	read := make(chan error, 1)
	go func() { read <- q.fill(f) }()
	err := q.drain(f)
	if err != nil {
		q.stop()
		u.interrupt()
		f.down.abort()
	}
	if readErr := <-read; err == nil && readErr != nil {
		err = readErr
		f.down.abort()
	}
	if err != nil {
		return err
	}
	return f.down.finish(f.resp.Body.Trailer())
}

// holdback is what of an answer has come and was not sent: first in memory, then in a file without a name.
type holdback struct {
	srv     *Server
	memory  int64 // bounds
	most    int64
	mu      sync.Mutex
	cond    *sync.Cond
	mem     []byte // what comes first
	file    *os.File
	written int64 // into the file, and read from it
	taken   int64
	ended   bool
	err     error
	stopped bool
}

func newHoldback(s *Server, b *table.Buffering) *holdback {
	q := &holdback{srv: s, memory: int64(orInt(b.Buffers, 4)) * orInt64(b.HeaderSize, 4<<10)}
	if b.Enabled {
		q.most = b.MaxTempFile
	}
	q.cond = sync.NewCond(&q.mu)
	return q
}

func orInt64(n, other int64) int64 {
	if n > 0 {
		return n
	}
	return other
}

func (q *holdback) close() {
	if q.file != nil {
		_ = q.file.Close()
	}
}

// stop ends fill.
func (q *holdback) stop() {
	q.mu.Lock()
	q.stopped = true
	q.cond.Broadcast()
	q.mu.Unlock()
}

// fill reads the body to its end, as far ahead as there is room.
func (q *holdback) fill(f *flow) error {
	for {
		p, err := f.resp.Body.Next()
		if err == nil {
			err = q.push(p)
		}
		if err != nil {
			if err == io.EOF {
				err = nil
			}
			q.mu.Lock()
			q.ended, q.err = true, err
			q.cond.Broadcast()
			q.mu.Unlock()
			return err
		}
	}
}

// push keeps bytes, and waits for room if there is none.
func (q *holdback) push(p []byte) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(p) > 0 {
		if q.stopped {
			return errClientGone
		}
		spilled := q.written > q.taken
		if !spilled {
			if room := q.memory - int64(len(q.mem)); room > 0 {
				n := min(int64(len(p)), room)
				q.mem = append(q.mem, p[:n]...)
				p = p[n:]
				q.cond.Broadcast()
				continue
			}
		}
		if q.file == nil && q.most > 0 {
			if q.file = unnamedFile(q.srv.cfg.TempDir); q.file == nil {
				q.most = 0
			}
		}
		if room := q.most - q.written; room > 0 {
			n, err := q.file.WriteAt(p[:min(int64(len(p)), room)], q.written)
			q.written += int64(n)
			p = p[n:]
			if err != nil {
				q.most = 0 // as if it were full
			}
			q.cond.Broadcast()
			continue
		}
		q.cond.Wait()
	}
	return nil
}

// pull returns what came first, and waits for it; io.EOF at the end.
func (q *holdback) pull(buf []byte) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for {
		switch {
		case len(q.mem) > 0:
			n := copy(buf, q.mem)
			q.mem = q.mem[:copy(q.mem, q.mem[n:])]
			q.cond.Broadcast()
			return n, nil
		case q.written > q.taken:
			n, err := q.file.ReadAt(buf[:min(int64(len(buf)), q.written-q.taken)], q.taken)
			q.taken += int64(n)
			if q.taken == q.written && q.most > 0 {
				q.taken, q.written = 0, 0
			}
			q.cond.Broadcast()
			if n > 0 {
				err = nil
			}
			return n, err
		case q.ended && q.err != nil:
			return 0, q.err
		case q.ended:
			return 0, io.EOF
		}
		q.cond.Wait()
	}
}

// drain sends what has come to the client, at the pace that it may have.
func (q *holdback) drain(f *flow) error {
	buf := f.srv.copies.Get().(*[]byte)
	defer f.srv.copies.Put(buf)
	p := *buf
	pace := f.x.Pace
	if pace.Rate > 0 {
		p = p[:max(1, min(int64(len(p)), pace.Rate/8))]
	}
	began, sent := time.Now(), int64(0)
	for {
		n, err := q.pull(p)
		if err == io.EOF {
			return nil
		}
		if err == nil {
			err = f.down.write(p[:n])
		}
		if err == nil {
			err = f.down.flush()
		}
		if err != nil {
			return err
		}
		sent += int64(n)
		if over := sent - pace.After; pace.Rate > 0 && over > 0 {
			if wait := time.Duration(float64(over)/float64(pace.Rate)*float64(time.Second)) - time.Since(began); wait > 0 {
				time.Sleep(wait)
			}
		}
	}
}
