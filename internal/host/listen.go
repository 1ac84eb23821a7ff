package host

import (
	"context"
	"fmt"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// packetBuffer is how much of a burst a packet socket holds, in bytes.
const packetBuffer = 4 << 20

// ListenPackets opens n packet sockets on the same address inside the
// namespace; the kernel spreads the clients over them, so that several threads
// can answer at once.
func (n Netns) ListenPackets(ctx context.Context, network, address string, sockets int) (conns []net.PacketConn, err error) {
	err = n.Do(func() error {
		for range sockets {
			lc := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
				var failed error
				err := raw.Control(func(fd uintptr) {
					failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
					// Without CAP_NET_ADMIN the buffer keeps the default size, which is no
					// fault.
					_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, packetBuffer)
				})
				if err != nil {
					return err
				}
				return failed
			}}
			c, err := lc.ListenPacket(ctx, network, address)
			if err != nil {
				return fmt.Errorf("open socket %d of %d: %w", len(conns)+1, sockets, err)
			}
			conns = append(conns, c)
			address = c.LocalAddr().String() // with port 0, the others follow the first
		}
		return nil
	})
	if err != nil {
		for _, c := range conns {
			c.Close()
		}
		return nil, err
	}
	return conns, nil
}
