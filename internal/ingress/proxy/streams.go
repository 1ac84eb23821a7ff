package proxy

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"syscall"
	"time"

	"minato/internal/ingress/proxyproto"
	"minato/internal/ingress/table"
)

// streamRecord is what is logged of a connection or session of a stream.
type streamRecord struct {
	protocol         string
	client, endpoint netip.AddrPort
	status           int
	sent, received   int64 // to the client, from it
	began            time.Time
	namespace, name  string
	port             string
}

// StreamLog gets a line for each connection or session of a stream that has ended; see AccessLog.Line.
type StreamLog interface{ Line(line []byte) }

// ServeTCP passes the connections of a listener to the stream's endpoints until the context ends, and closes the listener.
// Connections that are open then live on until they end or Run does.
func (s *Server) ServeTCP(ctx context.Context, l net.Listener, stream table.Stream, log StreamLog) error {
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	defer func() { _ = l.Close() }()
	pause := time.Duration(0)
	for {
		conn, err := l.Accept()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				_ = conn.Close()
			}
			return nil
		case errors.Is(err, syscall.ECONNABORTED):
			continue
		case exhausted(err):
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			select {
			case <-time.After(pause):
			case <-ctx.Done():
				return nil
			}
			continue
		case err != nil:
			return fmt.Errorf("accept connections of the stream on port %d: %w", stream.Port, err)
		}
		pause = 0
		s.conns.Go(func() { s.serveTCP(context.WithoutCancel(ctx), conn, stream, log) })
	}
}

func (s *Server) serveTCP(ctx context.Context, conn net.Conn, stream table.Stream, log StreamLog) {
	defer func() { _ = conn.Close() }()
	v := s.view.Load()
	c := &clientConn{srv: s, ctx: ctx, conn: conn, base: conn, peer: addressOf(conn.RemoteAddr()), local: addressOf(conn.LocalAddr())}
	c.watch.client = c
	c.state.Store(connBusy)
	s.watches.add(&c.watch, conn)
	defer s.watches.remove(&c.watch)
	if sc, ok := conn.(syscall.Conn); ok {
		if raw, err := sc.SyscallConn(); err == nil {
			c.raw = raw
		}
	}
	rec := streamRecord{protocol: "TCP", began: time.Now(), status: 502, namespace: stream.Backend.Namespace, name: stream.Backend.Service, port: stream.Backend.Port}
	defer func() { rec.log(v, log) }()
	rec.client = c.peer
	if stream.DecodeProxy && !c.readProxyHeader(orDuration(v.settings.ProxyHeaderTimeout, 5*time.Second)) {
		rec.status = 400
		return
	}
	rec.client = c.peer
	u := s.dialAny(ctx, s.backends.get(stream.Backend).set.Load(), orInt(v.settings.StreamTries, 3), 5*time.Second)
	if u == nil {
		return
	}
	defer u.close()
	rec.endpoint, rec.status = u.ep.address, 200
	var first []byte
	if stream.EncodeProxy {
		first = proxyproto.AppendV1(nil, c.peer, c.local)
	}
	first = append(first, c.early...)
	received := int64(len(c.early))
	c.early = nil
	if len(first) > 0 {
		if _, err := u.conn.Write(first); err != nil {
			rec.status = 502
			return
		}
	}
	rec.sent, rec.received = s.splice(c, u, orDuration(v.settings.StreamTimeout, 10*time.Minute))
	rec.received += received
}

// Bounds of a UDP stream.
const (
	maxSessions = 4096
	maxDatagram = 64 << 10
)

// udpSession is a client of a UDP stream with the socket by which its endpoint is reached.
type udpSession struct {
	client netip.AddrPort
	ep     *endpoint
	conn   *net.UDPConn
	at     *list.Element
	rec    streamRecord
	last   int64 // of clock, under udpStream.mu
}

// udpStream keeps the sessions of one socket, those used last in front.
type udpStream struct {
	srv    *Server
	socket net.PacketConn
	stream table.Stream
	log    StreamLog
	mu     sync.Mutex
	byAddr map[netip.AddrPort]*udpSession
	order  *list.List
	wait   sync.WaitGroup
}

// ServeUDP passes the datagrams of a socket to the stream's endpoints, all of one client to one endpoint as long as that is one
// of the backend's and listens, and the answers back, until the context ends; then it closes the socket. Sessions that are idle
// for proxy-stream-timeout end, and those longest idle when there are too many.
func (s *Server) ServeUDP(ctx context.Context, socket net.PacketConn, stream table.Stream, log StreamLog) error {
	d := &udpStream{srv: s, socket: socket, stream: stream, log: log, byAddr: map[netip.AddrPort]*udpSession{}, order: list.New()}
	stop := context.AfterFunc(ctx, func() { _ = socket.Close() })
	defer stop()
	defer d.endAll()
	buf := make([]byte, maxDatagram)
	for {
		n, from, err := socket.ReadFrom(buf)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.EMSGSIZE):
			continue // about a datagram that was sent before
		case err != nil:
			_ = socket.Close()
			return fmt.Errorf("read datagrams of the stream on port %d: %w", stream.Port, err)
		}
		udp, ok := from.(*net.UDPAddr)
		if !ok {
			continue
		}
		d.pass(ctx, udp.AddrPort(), buf[:n])
	}
}

// pass sends a datagram of a client to its endpoint.
func (d *udpStream) pass(ctx context.Context, client netip.AddrPort, p []byte) {
	d.mu.Lock()
	u := d.byAddr[client]
	if u != nil && u.ep.gone.Load() {
		d.forget(u)
		_ = u.conn.Close()
		u = nil
	}
	if u == nil {
		d.mu.Unlock()
		if u = d.open(ctx, client); u == nil {
			return
		}
		d.mu.Lock()
	}
	u.last = clock()
	u.rec.received += int64(len(p))
	if u.at != nil {
		d.order.MoveToFront(u.at)
	}
	d.mu.Unlock()
	_, _ = u.conn.Write(p) // UDP promises nothing
}

// open makes a session. Only the reading goroutine calls it.
func (d *udpStream) open(ctx context.Context, client netip.AddrPort) *udpSession {
	set := d.srv.backends.get(d.stream.Backend).set.Load()
	if len(set.all) == 0 {
		return nil
	}
	cand := candidates{set: set, now: clock()}
	ep := cand.round()
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "udp", ep.text)
	if err != nil {
		return nil
	}
	u := &udpSession{client: client, ep: ep, conn: conn.(*net.UDPConn), last: clock()}
	b := &d.stream.Backend
	u.rec = streamRecord{protocol: "UDP", client: netip.AddrPortFrom(client.Addr().Unmap(), client.Port()), endpoint: ep.address, status: 200, began: time.Now(), namespace: b.Namespace, name: b.Service, port: b.Port}
	d.mu.Lock()
	if len(d.byAddr) >= maxSessions {
		oldest := d.order.Back().Value.(*udpSession)
		d.forget(oldest)
		_ = oldest.conn.Close()
	}
	d.byAddr[client] = u
	u.at = d.order.PushFront(u)
	d.mu.Unlock()
	d.wait.Go(func() { d.answers(u) })
	return u
}

// forget takes a session out of the table; d.mu is held.
func (d *udpStream) forget(u *udpSession) {
	if u.at != nil {
		d.order.Remove(u.at)
		u.at = nil
		delete(d.byAddr, u.client)
	}
}

// answers passes an endpoint's datagrams to the client until the session has been idle for long or was closed.
func (d *udpStream) answers(u *udpSession) {
	timeout := orDuration(d.srv.view.Load().settings.StreamTimeout, 10*time.Minute)
	to := net.UDPAddrFromAddrPort(u.client)
	buf := d.srv.copies.Get().(*[]byte)
	defer d.srv.copies.Put(buf)
	p := *buf
	for {
		_ = u.conn.SetReadDeadline(time.Now().Add(timeout))
		n, err := u.conn.Read(p)
		d.mu.Lock()
		idle := time.Duration(clock() - u.last)
		if err == nil {
			u.last = clock()
			u.rec.sent += int64(n)
		} else if isTimeout(err) && idle < timeout {
			d.mu.Unlock()
			continue
		}
		if err != nil {
			if errors.Is(err, syscall.ECONNREFUSED) {
				u.ep.failing.Store(clock() + int64(failingFor)) // the client's next datagram goes to another one, if there is one
			}
			d.forget(u)
			rec := u.rec
			d.mu.Unlock()
			_ = u.conn.Close()
			rec.log(d.srv.view.Load(), d.log)
			return
		}
		d.mu.Unlock()
		_, _ = d.socket.WriteTo(p[:n], to) // UDP promises nothing
	}
}

// endAll ends all sessions and waits for that.
func (d *udpStream) endAll() {
	d.mu.Lock()
	for _, u := range d.byAddr {
		_ = u.conn.Close()
	}
	d.mu.Unlock()
	d.wait.Wait()
}

// log writes the line of a connection or session.
func (r *streamRecord) log(v *view, log StreamLog) {
	s := &v.settings.Log
	if log == nil || s.Off || s.StreamOff {
		return
	}
	format := s.StreamFormat
	if format == nil {
		format = streamDefault
	}
	var line []byte
	for i := range format.Parts {
		p := &format.Parts[i]
		if p.Var == table.VarNone {
			line = append(line, p.Literal...)
			continue
		}
		if value := r.value(p.Var); value != "" {
			line = append(line, value...)
		} else {
			line = append(line, '-')
		}
	}
	log.Line(line)
}

// streamDefault is ingress-nginx's default format of streams.
var streamDefault = formatOf("[", table.VarRemoteAddr, "] [", table.VarTimeLocal, "] ", table.VarProtocol, " ", table.VarStatus, " ",
	table.VarBytesSent, " ", table.VarBytesReceived, " ", table.VarSessionTime)

func (r *streamRecord) value(v table.Var) string {
	switch v {
	case table.VarRemoteAddr:
		return r.client.Addr().String()
	case table.VarRemotePort:
		return strconv.Itoa(int(r.client.Port()))
	case table.VarTimeLocal:
		return time.Now().Format("02/Jan/2006:15:04:05 -0700")
	case table.VarTimeISO8601:
		return time.Now().Format("2006-01-02T15:04:05-07:00")
	case table.VarProtocol:
		return r.protocol
	case table.VarStatus:
		return strconv.Itoa(r.status)
	case table.VarBytesSent, table.VarUpstreamBytesReceived:
		return strconv.FormatInt(r.sent, 10)
	case table.VarBytesReceived, table.VarUpstreamBytesSent:
		return strconv.FormatInt(r.received, 10)
	case table.VarSessionTime:
		return string(appendSeconds(nil, time.Since(r.began)))
	case table.VarUpstreamAddr:
		if !r.endpoint.IsValid() {
			return ""
		}
		return r.endpoint.String()
	case table.VarUpstreamName:
		return r.namespace + "-" + r.name + "-" + r.port
	default:
		return ""
	}
}
