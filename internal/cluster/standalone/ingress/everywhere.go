package ingress

import (
	"context"
	"net"

	"minato/internal/host"
)

// everywhere opens sockets at all addresses of this network namespace, of the families that it has.
type everywhere struct{ host.Netns }

// Listen implements ingress.Listen.
func (e everywhere) Listen(ctx context.Context, network, address string) (net.Listener, error) {
	return e.Netns.Listen(ctx, network, anyFamily(address))
}

// ListenPacket implements ingress.Listen.
func (e everywhere) ListenPacket(ctx context.Context, network, address string) (net.PacketConn, error) {
	return e.Netns.ListenPacket(ctx, network, anyFamily(address))
}

func anyFamily(address string) string {
	if _, port, err := net.SplitHostPort(address); err == nil {
		return ":" + port
	}
	return address
}
