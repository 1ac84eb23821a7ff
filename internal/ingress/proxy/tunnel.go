package proxy

import (
	"io"
	"net"
	"sync"
	"syscall"
	"time"

	"minato/internal/ingress/h1"
	"minato/internal/ingress/table"
)

// tunnel passes the answer 101 on and then bytes in both directions, of whatever protocol, until one side ends or
// nothing has come from either for the location's read timeout.
func (f *flow) tunnel(loc *table.Location, u *upstreamConn) {
	defer u.close()
	p, c := &f.resp, f.client
	if !f.looked() {
		f.down.abort()
		return
	}
	if c == nil || !f.upgrade {
		// What was not asked for is not passed on.
		f.answer(f.x.Reply(502))
		return
	}
	f.h1.closing = true
	protocol := string(p.Header.Get(h1.Upgrade))
	p.Header.RemoveHopByHop(true)
	_ = p.Header.SetString(h1.Connection, "upgrade")
	if protocol != "" {
		_ = p.Header.SetString(h1.Upgrade, protocol)
	}
	f.finishHeader(&p.Header)
	f.begun = true
	f.h1.buffer()
	f.h1.out = h1.AppendResponseHead(f.h1.out, 101, p.Phrase, &p.Header)
	f.h1.out = append(f.h1.out, u.rd.Bytes()...)
	f.h1.done = true
	n := int64(u.rd.Buffered())
	if f.h1.flush() != nil {
		return
	}
	f.x.SentBody += n
	if early := c.rd.Bytes(); len(early) > 0 {
		if _, err := u.conn.Write(early); err != nil {
			return
		}
		f.x.Received += int64(len(early))
		c.rd.Skip(len(early))
	}
	// Both buffers go back: a tunnel may be idle for hours. What of the request is still needed is views into them,
	// so that they are copied first.
	f.detach()
	u.rd.Release()
	c.rd.Release()
	down, up := f.join(c, u, orDuration(loc.ReadTimeout, time.Minute))
	f.x.SentBody += down
	f.x.Sent += down
	f.x.Received += up
	f.x.Attempts[len(f.x.Attempts)-1].Bytes = n + down
}

// join moves bytes between both connections until one ends, and returns how many went to the client and from it.
func (f *flow) join(c *clientConn, u *upstreamConn, timeout time.Duration) (down, up int64) {
	c.set(0)
	touch := func() { u.within(timeout) }
	touch()
	clientRaw := c.raw
	if c.tls != nil {
		clientRaw = nil
	}
	var both sync.WaitGroup
	both.Go(func() {
		up = f.srv.oneWay(c.conn, u.conn, clientRaw, u.raw, touch)
		endOneWay(u.conn, &u.watch)
	})
	down = f.srv.oneWay(u.conn, c.conn, u.raw, clientRaw, touch)
	endOneWay(c.conn, &c.watch)
	if isEnded(&u.watch) {
		c.interrupt() // the timeout: the other direction would wait on
	}
	// The endpoint has ended. A client that goes on sending has a while to notice.
	c.within(linger)
	both.Wait()
	return down, up
}

// linger is how long one direction of a tunnel lives on after the other has ended.
const linger = 10 * time.Second

func isEnded(w *watch) bool { return w.at.Load() == fired }

// endOneWay tells the receiver of one direction that it has ended.
func endOneWay(dst net.Conn, w *watch) {
	if c, ok := dst.(interface{ CloseWrite() error }); ok && c.CloseWrite() == nil {
		return
	}
	w.interrupt()
}

// oneWay moves bytes until the source ends; touch is called whenever some have come.
func (s *Server) oneWay(src, dst net.Conn, srcRaw, dstRaw syscall.RawConn, touch func()) int64 {
	if srcRaw != nil && dstRaw != nil {
		m := &mover{srv: s, src: srcRaw, dst: dstRaw, moved: func(int) { touch() }}
		n, _ := m.move(-1) // the end and an error end the direction alike
		return n
	}
	var total int64
	buf := s.copies.Get().(*[]byte)
	defer s.copies.Put(buf)
	for {
		n, err := src.Read(*buf)
		if n > 0 {
			touch()
			if _, err := dst.Write((*buf)[:n]); err != nil {
				return total
			}
			total += int64(n)
		}
		if err != nil {
			return total
		}
	}
}

// detach copies what the exchange has of the connection's buffer.
func (f *flow) detach() {
	x := &f.x
	var own h1.Header
	f.header.CopyTo(&own)
	f.req.Header, f.header = own, &f.req.Header
	x.Header = f.header
	for _, s := range []*string{&x.Method, &x.Target, &x.Path, &x.Query, &x.HTTPHost, &x.Host, &x.BestHost, &x.ForwardedPort, &x.RequestID, &x.Subject} {
		*s = string(append([]byte(nil), *s...))
	}
	x.Forward.Reset()
	var answer h1.Header
	f.resp.Header.CopyTo(&answer)
	f.resp.Header = answer
}

var _ io.Reader = (*upstreamConn)(nil)
