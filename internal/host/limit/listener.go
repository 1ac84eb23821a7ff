package limit

import (
	"context"
	"errors"
	"net"
	"sync"
	"syscall"
	"time"
)

// Listener describes a group of listeners that serve the same.
type Listener struct {
	// Name is the group's in log lines, such as "API server".
	Name string
	// Machine says that the listeners are in the machine's own network namespace,
	// so that what comes from their loopback addresses, or from the very address
	// that they listen on, is the machine itself. Elsewhere it is the node, with
	// its Pods that have hostNetwork.
	Machine bool
	// Total is how many connections of sources that are neither the machine nor a
	// node may be open to the group; zero means half of what the process may have.
	Total int
	// PerSource is how many of these one source may have open; zero means a
	// quarter of what a source may have in the process.
	PerSource int
	// WriteTimeout, if set, is how long a client may take to accept what is
	// written to it, for servers that have no such bound themselves.
	WriteTimeout time.Duration
}

type group struct {
	share
	cfg Listener

	logMu   sync.Mutex
	logged  time.Time
	refused int
}

// Wrap bounds what the listeners accept; they are one group. The wrapped ones
// close those they are made from. A listener that is bounded already, by this or
// another Budget, stays as it is.
func (b *Budget) Wrap(cfg Listener, listeners ...net.Listener) []net.Listener {
	if cfg.Total == 0 {
		cfg.Total = max(b.others.limit/2, 1)
	}
	if cfg.PerSource == 0 {
		cfg.PerSource = max(b.others.perSource/4, 1)
	}
	g := &group{cfg: cfg, share: share{sources: map[source]int{}}}
	out := make([]net.Listener, 0, len(listeners))
	for _, l := range listeners {
		if _, bounded := l.(*listener); bounded {
			out = append(out, l)
			continue
		}
		out = append(out, &listener{Listener: l, budget: b, group: g, closed: make(chan struct{})})
	}
	return out
}

// ListenFunc opens a listener, as net.ListenConfig.Listen does.
type ListenFunc func(ctx context.Context, network, address string) (net.Listener, error)

// Listen returns a function that opens listeners with open and bounds what each
// of them accepts.
func (b *Budget) Listen(cfg Listener, open ListenFunc) ListenFunc {
	return func(ctx context.Context, network, address string) (net.Listener, error) {
		l, err := open(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return b.Wrap(cfg, l)[0], nil
	}
}

type listener struct {
	net.Listener
	budget *Budget
	group  *group
	once   sync.Once
	closed chan struct{}
}

// How long Accept waits after the kernel had no descriptor or memory for a
// connection: first, and at most.
const (
	minPause = 5 * time.Millisecond
	maxPause = time.Second
)

// Accept returns the next connection that is within all bounds.
func (l *listener) Accept() (net.Conn, error) {
	pause := minPause
	for {
		c, err := l.Listener.Accept()
		switch {
		case errors.Is(err, syscall.ECONNABORTED): // the client has gone already
			continue
		case exhausted(err):
			l.group.tell(l.budget, "A connection cannot be accepted, because the kernel has no resources for it", "error", err)
			select {
			case <-time.After(pause):
				pause = min(2*pause, maxPause)
				continue
			case <-l.closed:
				return nil, net.ErrClosed
			}
		case err != nil:
			return nil, err
		}
		pause = minPause
		leave, err := l.budget.enter(l.group, c.RemoteAddr(), c.LocalAddr())
		if err == nil {
			return &conn{Conn: c, leave: leave, writeTimeout: l.group.cfg.WriteTimeout}, nil
		}
		l.group.tell(l.budget, "Connections are refused", "source", addressOf(c.RemoteAddr()), "reason", err)
		reset(c)
	}
}

// Close implements net.Listener.
func (l *listener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

// exhausted tells whether an error of accept(2) is for want of descriptors or
// memory, which may be there again in a moment.
func exhausted(err error) bool {
	for _, e := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// reset closes a connection without leaving anything of it in the kernel.
func reset(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // without it, the close is only slower
	}
	_ = c.Close()
}

// tellEvery is how often a group of listeners logs that it refuses connections.
const tellEvery = time.Minute

// tell logs, at most once a minute, the newest refusal and how many there were.
func (g *group) tell(b *Budget, message string, args ...any) {
	g.logMu.Lock()
	g.refused++
	now, refused := time.Now(), g.refused
	if now.Sub(g.logged) < tellEvery {
		g.logMu.Unlock()
		return
	}
	g.logged, g.refused = now, 0
	g.logMu.Unlock()
	b.cfg.Logger.Warn(message, append([]any{"listener", g.cfg.Name, "refused", refused}, args...)...)
}

// conn is counted until it is closed.
type conn struct {
	net.Conn
	leave        func()
	writeTimeout time.Duration
}

// Close implements net.Conn.
func (c *conn) Close() error {
	defer c.leave()
	return c.Conn.Close()
}

// Write implements net.Conn.
func (c *conn) Write(p []byte) (int, error) {
	if c.writeTimeout > 0 {
		if err := c.SetWriteDeadline(time.Now().Add(c.writeTimeout)); err != nil {
			return 0, err
		}
	}
	return c.Conn.Write(p)
}

// CloseWrite ends one direction, which servers do before they close.
func (c *conn) CloseWrite() error {
	if w, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return errors.ErrUnsupported
}

// SyscallConn implements syscall.Conn.
func (c *conn) SyscallConn() (syscall.RawConn, error) {
	if s, ok := c.Conn.(syscall.Conn); ok {
		return s.SyscallConn()
	}
	return nil, errors.ErrUnsupported
}
