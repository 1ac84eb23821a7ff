package apiserver

import (
	"net"
	"sync"
)

// fan accepts from several listeners as if they were one, which is all that
// upstream's serving knows. Its address is the first one's.
type fan struct {
	listeners []net.Listener
	conns     chan net.Conn
	failed    chan error
	closed    chan struct{}
	start     sync.Once
	stop      sync.Once
}

func newFan(listeners []net.Listener) *fan {
	return &fan{
		listeners: listeners,
		conns:     make(chan net.Conn),
		failed:    make(chan error, len(listeners)),
		closed:    make(chan struct{}),
	}
}

func (f *fan) Addr() net.Addr { return f.listeners[0].Addr() }

func (f *fan) Accept() (net.Conn, error) {
	f.start.Do(func() {
		for _, l := range f.listeners {
			go f.accept(l)
		}
	})
	select {
	case c := <-f.conns:
		return c, nil
	case err := <-f.failed:
		return nil, err
	case <-f.closed:
		return nil, net.ErrClosed
	}
}

func (f *fan) accept(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			// http.Server tells temporary errors from final ones and calls Accept
			// again after the former.
			if ne, ok := err.(net.Error); ok && ne.Timeout() {
				continue
			}
			f.failed <- err
			return
		}
		select {
		case f.conns <- c:
		case <-f.closed:
			_ = c.Close()
			return
		}
	}
}

func (f *fan) Close() error {
	var err error
	f.stop.Do(func() {
		close(f.closed)
		for _, l := range f.listeners {
			if e := l.Close(); err == nil {
				err = e
			}
		}
	})
	return err
}
