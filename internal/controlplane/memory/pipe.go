package memory

import (
	"context"
	"io"
	"sync"
)

// pipeLimit bounds what a handler may write ahead of its reader. Most answers
// fit, so that a handler is done before its client starts to read.
const pipeLimit = 1 << 20

// pipe carries a response body from the handler to the client.
type pipe struct {
	cancel context.CancelFunc

	mu       sync.Mutex
	changed  sync.Cond
	buf      []byte
	off      int
	writeEnd bool
	writeErr error
	readEnd  bool
}

func newPipe(cancel context.CancelFunc) *pipe {
	p := &pipe{cancel: cancel}
	p.changed.L = &p.mu
	return p
}

// Write appends b, waiting while the reader is too far behind. It fails once
// the reader has gone.
func (p *pipe) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for !p.readEnd && !p.writeEnd && len(p.buf)-p.off >= pipeLimit {
		p.changed.Wait()
	}
	if p.readEnd || p.writeEnd {
		return 0, io.ErrClosedPipe
	}
	p.buf = append(p.buf, b...)
	p.changed.Broadcast()
	return len(b), nil
}

// Read implements io.Reader for the client.
func (p *pipe) Read(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for !p.readEnd && !p.writeEnd && p.off == len(p.buf) {
		p.changed.Wait()
	}
	if p.readEnd {
		return 0, io.ErrClosedPipe
	}
	if p.off == len(p.buf) {
		if p.writeErr != nil {
			return 0, io.ErrUnexpectedEOF
		}
		return 0, io.EOF
	}
	n := copy(b, p.buf[p.off:])
	p.off += n
	if p.off == len(p.buf) {
		p.off, p.buf = 0, p.buf[:0]
		if cap(p.buf) > 64<<10 {
			p.buf = nil // a watch lives long: don't keep the memory of its first list
		}
	}
	p.changed.Broadcast()
	return n, nil
}

// Close implements io.Closer for the client: the request ends.
func (p *pipe) Close() error {
	p.closeRead()
	return nil
}

func (p *pipe) closeRead() {
	p.mu.Lock()
	p.readEnd, p.buf, p.off = true, nil, 0
	p.changed.Broadcast()
	p.mu.Unlock()
	p.cancel()
}

func (p *pipe) closeWrite(err error) {
	p.mu.Lock()
	if !p.writeEnd {
		p.writeEnd, p.writeErr = true, err
	}
	p.changed.Broadcast()
	p.mu.Unlock()
}
