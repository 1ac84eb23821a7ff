package announce

import (
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
)

const (
	etherARP  = 0x0806
	etherIPv6 = 0x86dd

	arpRequest = 1
	arpReply   = 2

	icmpSolicitation  = 135
	icmpAdvertisement = 136

	optionSourceMAC = 1
	optionTargetMAC = 2

	protoICMPv6 = 58
)

var (
	everyone = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	unknown  = make(net.HardwareAddr, 6)
	allNodes = netip.MustParseAddr("ff02::1")
)

// announcements are the gratuitous packets for an address: of IPv4 the request form and the reply form with the own hardware
// address as target, which a Linux neighbour takes over at any time, of IPv6 an advertisement that overrides.
func announcements(a netip.Addr, own net.HardwareAddr) [][]byte {
	if a.Is4() {
		return [][]byte{
			arpPacket(everyone, own, arpRequest, a, unknown, a),
			arpPacket(everyone, own, arpReply, a, own, a),
		}
	}
	const override = 1 << 29
	return [][]byte{neighbourPacket(own, a, allNodes, icmpAdvertisement, override, a, optionTargetMAC)}
}

// question asks who has an address, on behalf of nobody.
func question(a netip.Addr, own net.HardwareAddr) []byte {
	if a.Is4() {
		return arpPacket(everyone, own, arpRequest, netip.IPv4Unspecified(), unknown, a)
	}
	return neighbourPacket(own, netip.IPv6Unspecified(), solicitedNode(a), icmpSolicitation, 0, a, 0)
}

// call asks who has an address, on behalf of this node.
func call(a, self netip.Addr, own net.HardwareAddr) []byte {
	if a.Is4() {
		return arpPacket(everyone, own, arpRequest, self, unknown, a)
	}
	return neighbourPacket(own, self, solicitedNode(a), icmpSolicitation, 0, a, optionSourceMAC)
}

// solicitedNode is the group in which the owner of an IPv6 address is.
func solicitedNode(a netip.Addr) netip.Addr {
	g := netip.MustParseAddr("ff02::1:ff00:0").As16()
	b := a.As16()
	copy(g[13:], b[13:])
	return netip.AddrFrom16(g)
}

// groupMAC is the hardware address of an IPv6 group.
func groupMAC(group netip.Addr) net.HardwareAddr {
	b := group.As16()
	return net.HardwareAddr{0x33, 0x33, b[12], b[13], b[14], b[15]}
}

func ethernet(to, from net.HardwareAddr, protocol uint16) []byte {
	return binary.BigEndian.AppendUint16(slices.Concat(to, from), protocol)
}

func arpPacket(to, own net.HardwareAddr, op uint16, sender netip.Addr, targetMAC net.HardwareAddr, target netip.Addr) []byte {
	b := append(ethernet(to, own, etherARP), 0, 1, 8, 0, 6, 4) // Ethernet and IPv4, and the lengths of their addresses
	b = binary.BigEndian.AppendUint16(b, op)
	return slices.Concat(b, own, sender.AsSlice(), targetMAC, target.AsSlice())
}

// neighbourPacket makes a packet of Neighbour Discovery to a group; option is the kind of option with the own hardware
// address, or 0 for none.
func neighbourPacket(own net.HardwareAddr, from, to netip.Addr, kind uint8, flags uint32, target netip.Addr, option uint8) []byte {
	icmp := binary.BigEndian.AppendUint32([]byte{kind, 0, 0, 0}, flags)
	icmp = append(icmp, target.AsSlice()...)
	if option != 0 {
		icmp = append(append(icmp, option, 1), own...)
	}
	addrs := slices.Concat(from.AsSlice(), to.AsSlice())
	length := binary.BigEndian.AppendUint16(nil, uint16(len(icmp)))
	binary.BigEndian.PutUint16(icmp[2:], checksum(addrs, []byte{0, 0}, length, []byte{0, 0, 0, protoICMPv6}, icmp))
	ip := slices.Concat([]byte{6 << 4, 0, 0, 0}, length, []byte{protoICMPv6, 255}, addrs)
	return slices.Concat(ethernet(groupMAC(to), own, etherIPv6), ip, icmp)
}

// checksum is the Internet checksum over parts of even length.
func checksum(parts ...[]byte) uint16 {
	var sum uint32
	for _, p := range parts {
		for i := 0; i+1 < len(p); i += 2 {
			sum += uint32(binary.BigEndian.Uint16(p[i:]))
		}
	}
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}
