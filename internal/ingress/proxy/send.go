package proxy

import (
	"errors"
	"io"
	"os"
	"sync/atomic"
	"time"
	"unsafe"

	"minato/internal/ingress/h1"
)

// errClientBody means that the client did not send its body to the end.
var errClientBody = errors.New("the client has not sent its body to the end")

// bytesOf returns a string's bytes, which must not be changed.
func bytesOf(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }

// atOnce is the largest body that is sent before the answer is waited for: the endpoint's socket has room for it. While
// a larger one is sent the answer is read, for an endpoint may answer at the same time.
const atOnce = 32 << 10

// pump sends a body to an endpoint while the answer is read.
type pump struct {
	u    *upstreamConn
	done chan struct{}
	err  error
	stop atomic.Bool
	// fault is set if the client did not send its body, and not because of stop.
	fault atomic.Bool
}

// clientFailed ends the wait for an answer that will not come, for want of the client's body.
func (p *pump) clientFailed() {
	if !p.stop.Load() {
		p.fault.Store(true)
		p.u.interrupt()
	}
}

// large tells whether the body is sent while the answer is read.
func (b *requestBody) large() bool { return b.pump != nil || b.size > atOnce }

// grace is how long a body may still be on its way after the answer has ended.
const grace = 200 * time.Millisecond

// sent tells whether the body was sent to its end.
func (b *requestBody) sent() bool {
	if b.pump == nil {
		return true
	}
	select {
	case <-b.pump.done:
		return b.pump.err == nil
	default:
	}
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-b.pump.done:
		return b.pump.err == nil
	case <-timer.C:
		return false
	}
}

// stop ends a body that is being sent, with the connection to the endpoint, and waits for that. It returns why the body
// was not sent to its end.
func (b *requestBody) stop() error {
	p := b.pump
	if p == nil {
		return nil
	}
	select {
	case <-p.done:
		b.pump = nil
		return p.err
	default:
	}
	p.stop.Store(true)
	p.u.interrupt()
	if b.interrupt != nil {
		b.interrupt()
	}
	<-p.done
	b.pump = nil
	if p.fault.Load() {
		return p.err
	}
	return nil // it was stopped
}

// send sends the head in f.out and the body. A small request is written at once, and the first of the answer read.
func (b *requestBody) send(f *flow, u *upstreamConn, send, read time.Duration) error {
	if b.here && b.file == nil && len(b.mem) <= atOnce {
		f.out = append(f.out, b.mem...)
		return u.send(f.out, send, read)
	}
	p := &pump{u: u, done: make(chan struct{})}
	b.pump = p
	chunked := b.contentLength() < 0
	if !b.here {
		b.used = true
		b.interrupt = f.interruptBody()
		if err := f.down.invite(); err != nil {
			b.pump = nil
			return errClientBody
		}
	}
	go func() {
		defer close(p.done)
		p.err = f.pumpBody(p, chunked)
	}()
	return nil
}

// interruptBody returns what ends the reading of the client's body.
func (f *flow) interruptBody() func() {
	if c := f.client; c != nil {
		return c.interrupt
	}
	return f.h2.st.StopReading
}

// pumpBody writes the head and the body to the endpoint. The deadline is the reader's, which each piece that is sent
// moves on.
func (f *flow) pumpBody(p *pump, chunked bool) error {
	u, b := p.u, &f.body
	if _, err := u.conn.Write(f.out); err != nil {
		return err
	}
	if b.here {
		if err := p.write(b.mem); err != nil || b.file == nil {
			return err
		}
		return p.writeFile(b.file, b.size-int64(len(b.mem)))
	}
	if m := f.uploadMover(u, chunked); m != nil {
		return p.splice(f, m)
	}
	var line []byte
	for {
		piece, err := f.down.next()
		switch {
		case err == io.EOF && chunked:
			return p.write(h1.AppendLastChunk(line[:0], f.down.trailer()))
		case err == io.EOF:
			return nil
		case err != nil:
			p.clientFailed()
			return errors.Join(errClientBody, err)
		}
		if chunked {
			line = h1.AppendChunkHeader(line[:0], len(piece))
			line = append(append(line, piece...), "\r\n"...)
			piece = line
		}
		if err := p.write(piece); err != nil {
			return err
		}
	}
}

// write writes a piece and moves the deadline of the answer on.
func (p *pump) write(piece []byte) error {
	if _, err := p.u.conn.Write(piece); err != nil {
		return err
	}
	if !p.stop.Load() {
		p.u.within(p.u.timeout)
	}
	return nil
}

// writeFile sends size bytes of a file, by sendfile(2) where no TLS is spoken.
func (p *pump) writeFile(file *os.File, size int64) error {
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	for size > 0 {
		n, err := io.CopyN(p.u.conn, file, min(size, 256<<10))
		if err != nil {
			return err
		}
		size -= n
		if !p.stop.Load() {
			p.u.within(p.u.timeout)
		}
	}
	return nil
}

// uploadMover returns what moves a body with a length from the client to the endpoint without copying it; nil where
// that is not possible, or not worth it.
func (f *flow) uploadMover(u *upstreamConn, chunked bool) *mover {
	c := f.client
	if c == nil || chunked || c.raw == nil || c.tls != nil || u.raw == nil || f.req.Body.Remaining() < spliceFrom {
		return nil
	}
	return &mover{srv: f.srv, src: c.raw, dst: u.raw}
}

// splice sends what of the client's body is here, and then moves the rest.
func (p *pump) splice(f *flow, m *mover) error {
	for {
		piece, err := f.req.Body.NextBuffered()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			p.clientFailed()
			return errors.Join(errClientBody, err)
		}
		if len(piece) == 0 {
			break
		}
		f.x.Received += int64(len(piece))
		if err := p.write(piece); err != nil {
			return err
		}
	}
	bodyTimeout := orDuration(f.view.settings.BodyTimeout, time.Minute)
	m.beforeRead = func() { f.client.within(bodyTimeout) }
	m.beforeWrite = func() {
		if !p.stop.Load() {
			p.u.within(p.u.timeout)
		}
	}
	n, err := m.move(f.req.Body.Remaining())
	f.req.Body.Moved(n)
	f.x.Received += n
	if err == errSource || err == io.EOF {
		p.clientFailed()
		return errClientBody
	}
	return err
}
