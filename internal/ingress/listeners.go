package ingress

import (
	"context"
	"io"
	"net"
	"net/netip"

	"minato/internal/ingress/proxy"
)

// Listeners are the sockets of a Node that has no Helper: clients connect to them directly, so that the port that they see
// is the socket's.
type Listeners struct {
	HTTP, HTTPS []net.Listener
	// AccessLog, if not nil, takes a line for each request.
	AccessLog io.Writer
}

// Listen gives a Node the sockets that it is to serve, once and before Run. Run closes them.
func (n *Node) Listen(l Listeners) {
	s := &sockets{access: l.AccessLog}
	for _, one := range l.HTTP {
		s.proxied = append(s.proxied, proxy.Listener{Listener: one})
	}
	for _, one := range l.HTTPS {
		s.proxied = append(s.proxied, proxy.Listener{Listener: one, TLS: true})
	}
	n.use(s)
}

// StreamListeners keeps the sockets of the streams of such a Node open: each at its own port of all addresses.
type StreamListeners struct {
	node *Node
	open socketSet
}

// NewStreamListeners returns StreamListeners that have opened nothing.
func NewStreamListeners(n *Node) *StreamListeners {
	return &StreamListeners{node: n, open: socketSet{}}
}

// Look opens the sockets that the settings ask for now, and closes those that they do not ask for any more. Those that can't
// be opened are told, and the others are served.
func (s *StreamListeners) Look(ctx context.Context, listen Listen) error {
	var wanted []Socket
	for _, p := range s.node.State().Streams {
		k := streamSocket(p, netip.IPv6Unspecified())
		k.Address = netip.AddrPortFrom(k.Address.Addr(), p.Port)
		wanted = append(wanted, k)
	}
	err := s.open.open(ctx, s.open.keep(wanted), listen)
	list, files := s.open.list()
	s.node.serveStreams(list, files)
	return err
}

// Close closes the sockets.
func (s *StreamListeners) Close() { s.open.close() }
