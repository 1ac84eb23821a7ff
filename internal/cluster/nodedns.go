package cluster

import (
	"context"
	"fmt"
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
	address := netip.AddrPortFrom(n.ip, dnsPort).String()
	streams, packets, err := n.dnsKeeper().Adopt(ctx, address)
	if err != nil {
		n.log.Warn("DNS sockets of the server before cannot be taken over; new ones are opened", "error", err)
	}
	if len(streams) > 0 {
		return streams, packets, nil
	}
	stream, err := n.netns.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, nil, fmt.Errorf("DNS server: %w", err)
	}
	packets, err = n.netns.ListenPackets(ctx, "udp", address, goruntime.GOMAXPROCS(0))
	if err != nil {
		stream.Close()
		return nil, nil, fmt.Errorf("DNS server: %w", err)
	}
	n.dnsUnkept = append(n.dnsUnkept, stream.(syscall.Conn))
	for _, c := range packets {
		n.dnsUnkept = append(n.dnsUnkept, c.(syscall.Conn))
	}
	return []net.Listener{stream}, packets, nil
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
