package announce

import (
	"errors"
	"fmt"
	"net"

	"golang.org/x/sys/unix"

	"minato/internal/host"
)

// wire sends frames at interfaces of the node.
type wire struct{ fd int }

// openWire opens a packet socket in the namespace. It receives nothing.
func openWire(ns host.Netns) (*wire, error) {
	w := &wire{}
	err := ns.Do(func() (err error) {
		w.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open packet socket in network namespace %q; it needs CAP_NET_RAW: %w", ns.Name, err)
	}
	return w, nil
}

func (w *wire) send(index int, frame []byte) error {
	to := &unix.SockaddrLinklayer{Ifindex: index, Halen: 6}
	copy(to.Addr[:], frame[:6])
	for {
		err := unix.Sendto(w.fd, frame, 0, to)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

func (w *wire) close() { unix.Close(w.fd) }

// uplink is an interface where addresses are announced.
type uplink struct {
	name    string
	index   int
	number  uint32
	mac     net.HardwareAddr
	carrier bool
}

func (u *uplink) same(o *uplink) bool {
	return u.index == o.index && u.number == o.number && u.mac.String() == o.mac.String()
}
