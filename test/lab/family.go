package lab

import (
	"errors"
	"net"
	"net/netip"
	"strconv"

	corev1 "k8s.io/api/core/v1"

	"minato/internal/host"
)

// Family is one of the two that machines, Pods and Services have. Whoever has an IPv4 address has the IPv6 address that
// ends in it as well, so tests name the IPv4 one.
type Family corev1.IPFamily

// The families.
const (
	IPv4 = Family(corev1.IPv4Protocol)
	IPv6 = Family(corev1.IPv6Protocol)
)

// Families are both.
var Families = []Family{IPv4, IPv6}

// Traffic is one kind of what clients send.
type Traffic struct {
	Family
	Network string
}

// Kinds are all of them.
var Kinds = []Traffic{{IPv4, "tcp"}, {IPv4, "udp"}, {IPv6, "tcp"}, {IPv6, "udp"}}

// Everywhere is the destination of a default route.
const Everywhere = "0.0.0.0/0"

// Addr is this family's address of who has the IPv4 address.
func (f Family) Addr(ip string) netip.Addr {
	a := netip.MustParseAddr(ip)
	if f == IPv4 {
		return a
	}
	twin := [16]byte{0: 0xfd, 1: 0x31}
	copy(twin[12:], a.AsSlice())
	return netip.AddrFrom16(twin)
}

// Of is Addr as text.
func (f Family) Of(ip string) string { return f.Addr(ip).String() }

// At is a port there.
func (f Family) At(ip string, port int) string { return net.JoinHostPort(f.Of(ip), strconv.Itoa(port)) }

// Prefix is this family's range of who has the IPv4 range.
func (f Family) Prefix(cidr string) netip.Prefix {
	p := netip.MustParsePrefix(cidr)
	switch {
	case f == IPv4:
		return p
	case p.Bits() == 0:
		return host.Everywhere(netip.IPv6Unspecified())
	}
	return netip.PrefixFrom(f.Addr(p.Addr().String()), p.Bits()+96)
}

// VIP is a Service's address, with its port.
func (f Family) VIP(s *corev1.Service) string { return f.ClusterIP(s, "80") }

// ClusterIP is a Service's address with another port.
func (f Family) ClusterIP(s *corev1.Service, port string) string {
	for i, of := range s.Spec.IPFamilies {
		if Family(of) == f {
			return net.JoinHostPort(s.Spec.ClusterIPs[i], port)
		}
	}
	return ""
}

// Both are the ranges of both families.
func Both(cidr string) []netip.Prefix {
	return []netip.Prefix{IPv4.Prefix(cidr), IPv6.Prefix(cidr)}
}

// Addresses gives a link the address of each family.
func Addresses(n *host.Net, link, cidr string) error {
	var errs []error
	for _, p := range Both(cidr) {
		errs = append(errs, n.AddAddress(link, p))
	}
	return errors.Join(errs...)
}

// Routes leads a range of each family to a gateway, or to who is at the link's other end.
func Routes(n *host.Net, link, cidr, via string) error {
	var errs []error
	for _, f := range Families {
		r := host.Route{Dst: f.Prefix(cidr), Link: link}
		if via != "" {
			r.Via = f.Addr(via)
		}
		errs = append(errs, n.ReplaceRoute(r))
	}
	return errors.Join(errs...)
}
