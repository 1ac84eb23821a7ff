package member

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	mdns "github.com/miekg/dns"
)

// WaitDNS returns when a client on the node gets an answer from each cluster
// DNS address, by way of the Service, or when ctx ends.
func (m *Member) WaitDNS(ctx context.Context) error {
	q := new(mdns.Msg)
	q.SetQuestion("kubernetes.default.svc."+m.cfg.ClusterDomain+".", mdns.TypeA)
	if m.cfg.Addresses[0].Is6() {
		q.Question[0].Qtype = mdns.TypeAAAA
	}
	for _, ip := range m.cfg.ClusterDNS {
		if err := m.waitAnswer(ctx, netip.AddrPortFrom(ip, dnsPort).String(), q); err != nil {
			return err
		}
	}
	return nil
}

func (m *Member) waitAnswer(ctx context.Context, address string, q *mdns.Msg) error {
	pause := time.Millisecond
	for {
		if m.askDNS(ctx, address, q) == nil {
			return nil
		}
		select {
		case <-time.After(pause):
			pause = min(2*pause, 20*time.Millisecond)
		case <-ctx.Done():
			return fmt.Errorf("%s: the cluster DNS does not answer on %s: %w", m.cfg.Name, address, context.Cause(ctx))
		}
	}
}

// askDNS makes one try, short because a packet that comes before its Service
// is programmed is dropped.
func (m *Member) askDNS(ctx context.Context, address string, q *mdns.Msg) error {
	conn, err := m.cfg.Netns.DialContext(ctx, "udp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	client := mdns.Client{Timeout: 50 * time.Millisecond}
	answer, _, err := client.ExchangeWithConnContext(ctx, q, &mdns.Conn{Conn: conn})
	if err != nil {
		return err
	}
	if answer.Rcode != mdns.RcodeSuccess || len(answer.Answer) == 0 {
		return fmt.Errorf("%s: %s without an answer", address, mdns.RcodeToString[answer.Rcode])
	}
	return nil
}
