package lab

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// Kind is a kind of load.
type Kind string

const (
	// Connections: connect, send a byte, receive one, reset; again and again.
	Connections Kind = "connections"
	// Requests: one byte there and back, over a connection that stays.
	Requests Kind = "requests"
	// Bulk: as much as goes in one direction.
	Bulk Kind = "bulk"
	// Reach: try each address until all have answered once.
	Reach Kind = "reach"
	// Follow: connect again and again until the server of a number answers.
	Follow Kind = "follow"
)

// Order is what a load generator is told to do.
type Order struct {
	Kind Kind
	// To are addresses to take in turn.
	To  []netip.AddrPort
	For time.Duration
	// ID is the server that Follow waits for.
	ID byte
}

// Result is what came of it.
type Result struct {
	// Done are transactions, or bytes of Bulk.
	Done    int64
	Took    time.Duration
	At      time.Duration // when Reach or Follow was there, by Now
	Connect []int32       `json:",omitempty"` // nanoseconds of each connect
	Err     string        `json:",omitempty"`
}

// Rate is how many per second.
func (r Result) Rate() float64 { return float64(r.Done) / r.Took.Seconds() }

func perform(o Order) (Result, error) {
	switch o.Kind {
	case Connections:
		return connections(o)
	case Requests:
		return requests(o)
	case Bulk:
		return bulk(o)
	case Reach:
		return reach(o)
	case Follow:
		return follow(o)
	}
	return Result{}, fmt.Errorf("there is no load of the kind %q", o.Kind)
}

func connections(o Order) (r Result, err error) {
	r.Connect = make([]int32, 0, 1<<16)
	began := time.Now()
	for time.Since(began) < o.For {
		start := time.Now()
		s, err := dial(o.To[int(r.Done)%len(o.To)])
		if err != nil {
			return r, err
		}
		r.Connect = append(r.Connect, int32(time.Since(start)))
		_, err = s.ask()
		s.close()
		if err != nil {
			return r, err
		}
		r.Done++
	}
	r.Took = time.Since(began)
	return r, nil
}

func requests(o Order) (r Result, err error) {
	s, err := dial(o.To[0])
	if err != nil {
		return r, err
	}
	defer s.close()
	if err := unix.SetsockoptInt(int(s), unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
		return r, err
	}
	if _, err := s.ask(); err != nil {
		return r, err
	}
	began := time.Now()
	for time.Since(began) < o.For {
		if _, err := s.ask(); err != nil {
			return r, err
		}
		r.Done++
	}
	r.Took = time.Since(began)
	return r, nil
}

// chunk is what is written at once.
const chunk = 128 << 10

// bulk counts what the other end has taken: it closes when it has seen the end.
func bulk(o Order) (r Result, err error) {
	s, err := dial(o.To[0])
	if err != nil {
		return r, err
	}
	defer s.close()
	// Leave in peace: a reset would throw away what is on its way.
	if err := unix.SetsockoptLinger(int(s), unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{}); err != nil {
		return r, err
	}
	buf := make([]byte, chunk)
	began := time.Now()
	for time.Since(began) < o.For {
		n, err := s.write(buf)
		if err != nil {
			return r, err
		}
		r.Done += int64(n)
	}
	if err := unix.Shutdown(int(s), unix.SHUT_WR); err != nil {
		return r, err
	}
	if n, err := s.read(buf[:1]); err != nil || n != 0 {
		return r, errors.Join(errors.New("the other end did not close"), err)
	}
	r.Took = time.Since(began)
	return r, nil
}
