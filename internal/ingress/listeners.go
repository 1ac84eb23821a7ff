package ingress

import (
	"net"

	"minato/internal/ingress/proxy"
)

// Listeners are the sockets of a Node that has no Helper: clients connect to them directly, so that the port that they see
// is the socket's.
type Listeners struct {
	HTTP, HTTPS []net.Listener
}

// Listen gives a Node the sockets that it is to serve, once and before Run. Run closes them.
func (n *Node) Listen(l Listeners) {
	s := &sockets{}
	for _, one := range l.HTTP {
		s.proxied = append(s.proxied, proxy.Listener{Listener: one})
	}
	for _, one := range l.HTTPS {
		s.proxied = append(s.proxied, proxy.Listener{Listener: one, TLS: true})
	}
	n.mu.Lock()
	n.sockets, n.told = s, true
	n.mu.Unlock()
	poke(n.wake)
}
