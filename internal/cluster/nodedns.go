package cluster

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"path/filepath"
	goruntime "runtime"
	"syscall"

	"minato/internal/host"
)

// dnsKeeper keeps the DNS server's sockets open, so that questions wait while
// the server of the cluster is away for a moment, and no name is unknown.
func (n *node) dnsKeeper() host.Keeper {
	return host.Keeper{
		Netns: n.netns, Cgroup: n.server.paths.Cgroup().Child(n.name).Child("dns"),
		Program: filepath.Join(n.server.paths.NodeData(n.name), "keeper"),
	}
}

// dnsSockets takes over those of an earlier server, or opens them.
func (n *node) dnsSockets(ctx context.Context) ([]net.Listener, []net.PacketConn, error) {
	var addresses []string
	for _, ip := range n.ips {
		addresses = append(addresses, netip.AddrPortFrom(ip, dnsPort).String())
	}
	streams, packets, err := n.dnsKeeper().Adopt(ctx, addresses...)
	if err != nil {
		n.log.Warn("DNS sockets of the server before cannot be taken over; new ones are opened", "error", err)
	}
	if len(streams) > 0 {
		return streams, packets, nil
	}
	if streams, err = n.listen(ctx, dnsPort); err != nil {
		return nil, nil, fmt.Errorf("DNS server: %w", err)
	}
	for _, a := range addresses {
		conns, err := n.netns.ListenPackets(ctx, "udp", a, goruntime.GOMAXPROCS(0))
		if err != nil {
			closeAll(streams)
			closeAll(packets)
			return nil, nil, fmt.Errorf("DNS server: %w", err)
		}
		packets = append(packets, conns...)
	}
	for _, l := range streams {
		n.dnsUnkept = append(n.dnsUnkept, l.(syscall.Conn))
	}
	for _, c := range packets {
		n.dnsUnkept = append(n.dnsUnkept, c.(syscall.Conn))
	}
	return streams, packets, nil
}

// listen opens a port on each of the node's addresses.
func (n *node) listen(ctx context.Context, port uint16) ([]net.Listener, error) {
	var out []net.Listener
	for _, ip := range n.ips {
		l, err := n.netns.Listen(ctx, "tcp", netip.AddrPortFrom(ip, port).String())
		if err != nil {
			closeAll(out)
			return nil, err
		}
		out = append(out, l)
	}
	return out, nil
}

func closeAll[C io.Closer](all []C) {
	for _, c := range all {
		c.Close()
	}
}

// keepDNS has the sockets that this server opened outlive it.
func (n *node) keepDNS(context.Context) error {
	if len(n.dnsUnkept) == 0 {
		return nil
	}
	if err := n.dnsKeeper().Keep(n.dnsUnkept...); err != nil {
		n.log.Warn("DNS sockets are not kept: if the server ends, names are unknown until it is back", "error", err)
	}
	return nil
}

// runDNS answers once the cluster's names are known. Until then questions wait,
// which is better than to be told that there is no answer.
func (n *node) runDNS(ctx context.Context) error {
	select {
	case <-n.server.shared.zone.Ready():
	case <-ctx.Done():
	}
	return n.dns.Run(ctx)
}
