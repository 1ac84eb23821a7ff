package proxy

import (
	"errors"
	"net"
	"net/netip"
	"strconv"

	corev1 "k8s.io/api/core/v1"

	"minato/internal/host"
)

// family is one of the two that machines, Pods and Services have. Whoever has an IPv4 address has the IPv6 address that
// ends in it as well, so tests name the IPv4 one.
type family corev1.IPFamily

const (
	ipv4 = family(corev1.IPv4Protocol)
	ipv6 = family(corev1.IPv6Protocol)
)

var families = []family{ipv4, ipv6}

// traffic is one kind of what clients send.
type traffic struct {
	family
	network string
}

var kinds = []traffic{{ipv4, "tcp"}, {ipv4, "udp"}, {ipv6, "tcp"}, {ipv6, "udp"}}

// everywhere is the destination of a default route.
const everywhere = "0.0.0.0/0"

// addr is this family's address of who has the IPv4 address.
func (f family) addr(ip string) netip.Addr {
	a := netip.MustParseAddr(ip)
	if f == ipv4 {
		return a
	}
	twin := [16]byte{0: 0xfd, 1: 0x31}
	copy(twin[12:], a.AsSlice())
	return netip.AddrFrom16(twin)
}

// of is addr as text.
func (f family) of(ip string) string { return f.addr(ip).String() }

// at is a port there.
func (f family) at(ip string, port int) string { return net.JoinHostPort(f.of(ip), strconv.Itoa(port)) }

// prefix is this family's range of who has the IPv4 range.
func (f family) prefix(cidr string) netip.Prefix {
	p := netip.MustParsePrefix(cidr)
	switch {
	case f == ipv4:
		return p
	case p.Bits() == 0:
		return host.Everywhere(netip.IPv6Unspecified())
	}
	return netip.PrefixFrom(f.addr(p.Addr().String()), p.Bits()+96)
}

// vip is a Service's address, with its port.
func (f family) vip(s *corev1.Service) string { return f.clusterIP(s, "80") }

func (f family) clusterIP(s *corev1.Service, port string) string {
	for i, of := range s.Spec.IPFamilies {
		if family(of) == f {
			return net.JoinHostPort(s.Spec.ClusterIPs[i], port)
		}
	}
	return ""
}

// both are the ranges of both families.
func both(cidr string) []netip.Prefix {
	return []netip.Prefix{ipv4.prefix(cidr), ipv6.prefix(cidr)}
}

// addresses gives a link the address of each family.
func addresses(n *host.Net, link, cidr string) error {
	var errs []error
	for _, p := range both(cidr) {
		errs = append(errs, n.AddAddress(link, p))
	}
	return errors.Join(errs...)
}

// routes leads a range of each family to a gateway, or to who is at the link's other end.
func routes(n *host.Net, link, cidr, via string) error {
	var errs []error
	for _, f := range families {
		r := host.Route{Dst: f.prefix(cidr), Link: link}
		if via != "" {
			r.Via = f.addr(via)
		}
		errs = append(errs, n.ReplaceRoute(r))
	}
	return errors.Join(errs...)
}
