package bgp

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"time"

	"golang.org/x/net/ipv6"
)

// advertiser sends router advertisements on the interfaces of peers that have no address: that is how such a peer learns
// whom it has on the link. They name no prefix and no default router, so nobody else's routes change. They need the right
// to use raw sockets.
type advertiser struct {
	log     *slog.Logger
	running map[string]func() // by interface: ends it
}

// How often advertisements are sent: some soon after each other, since a peer may wait for one.
const (
	hurriedAdvertisements = 4
	hurriedInterval       = time.Second
	quietInterval         = 10 * time.Second
)

// set has advertisements sent on these interfaces and no others.
func (a *advertiser) set(interfaces map[string]bool) {
	for name, end := range a.running {
		if !interfaces[name] {
			end()
			delete(a.running, name)
		}
	}
	for name := range interfaces {
		if a.running[name] != nil {
			continue
		}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan struct{})
		go func() {
			defer close(done)
			a.run(ctx, name)
		}()
		a.running[name] = func() { cancel(); <-done }
	}
}

func (a *advertiser) run(ctx context.Context, name string) {
	failed := ""
	for n := 0; ; n++ {
		if err := advertise(name); err != nil && err.Error() != failed {
			failed = err.Error()
			a.log.Warn("No router advertisement could be sent; a BGP peer that waits for one will not find this node", "interface", name, "error", err)
		}
		pause := quietInterval
		if n < hurriedAdvertisements {
			pause = hurriedInterval
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

// advertise sends one advertisement, as RFC 4861, section 4.2, has it.
func advertise(name string) error {
	link, err := net.InterfaceByName(name)
	if err != nil {
		return err
	}
	c, err := net.ListenPacket("ip6:ipv6-icmp", "::")
	if err != nil {
		return fmt.Errorf("open a raw socket: %w", err)
	}
	defer c.Close()
	p := ipv6.NewPacketConn(c)
	if err := p.SetMulticastHopLimit(255); err != nil { // others are not taken
		return err
	}
	if err := p.SetMulticastInterface(link); err != nil {
		return err
	}
	const advertisement, ownLinkAddress = 134, 1
	b := make([]byte, 16) // the kernel adds the checksum; a lifetime of 0 is no default router
	b[0] = advertisement
	if len(link.HardwareAddr) == 6 {
		b = append(append(b, ownLinkAddress, 1), link.HardwareAddr...)
	}
	_, err = p.WriteTo(b, nil, &net.IPAddr{IP: net.IPv6linklocalallnodes, Zone: name})
	return err
}
