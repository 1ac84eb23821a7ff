package apiserver

import (
	"net"
	"sync"

	"minato/internal/host/limit"
)

// connectionLimit bounds the connections to the API server, which listens in the
// machine's own network namespace. A client that speaks HTTP/2 needs one
// connection; old ones that speak HTTP/1.1 need one for each watch.
func connectionLimit() limit.Listener {
	return limit.Listener{Name: "API server", Machine: true, PerSource: 512}
}

// fan accepts from several listeners as if they were one, because upstream's
// server takes only one. Its address is the first one's.
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
			// Temporary errors, such as a lack of descriptors, are not returned
			// here: the listeners are bounded ones, which wait and try again.
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
