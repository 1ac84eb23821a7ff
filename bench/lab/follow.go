package lab

import (
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// Now is the machine's clock that all processes have in common.
func Now() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		panic(err) // the kernel always has it
	}
	return time.Duration(t.Nano())
}

const (
	// followPause leaves the processors to those who have to do the work.
	followPause = 500 * time.Microsecond
	// tryTimeout bounds a connection to a Service that may not be there yet.
	tryTimeout = 20 * time.Millisecond
)

// try asks who serves an address, without patience.
func try(to netip.AddrPort) (byte, error) {
	s, err := dialWithin(to, tryTimeout)
	if err != nil {
		return 0, err
	}
	defer s.close()
	return s.ask()
}

// follow tells when the first connection was begun that reached the server.
func follow(o Order) (r Result, err error) {
	for end := Now() + o.For; ; {
		r.At = Now()
		id, err := try(o.To[0])
		if err == nil && id == o.ID {
			return r, nil
		}
		if Now() > end {
			return r, fmt.Errorf("after %s still server %d: %w", o.For, id, err)
		}
		r.Done++
		nap(followPause)
	}
}

// reach tells when the last of the addresses had answered.
func reach(o Order) (r Result, err error) {
	end := Now() + o.For
	for _, to := range o.To {
		for {
			if _, err = try(to); err == nil {
				break
			}
			if Now() > end {
				return r, fmt.Errorf("%s does not answer: %w", to, err)
			}
			nap(followPause)
		}
	}
	r.At = Now()
	return r, nil
}

func nap(d time.Duration) {
	t := unix.NsecToTimespec(d.Nanoseconds())
	_ = unix.Nanosleep(&t, nil) // a shorter one is as good
}
