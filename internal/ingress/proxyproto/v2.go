package proxyproto

import (
	"encoding/binary"
	"net/netip"
)

const (
	v2Signature = "\r\n\r\n\x00\r\nQUIT\n"
	v2Fixed     = len(v2Signature) + 4 // with version and command, family, length
)

// Sizes of the addresses and ports of a family.
const (
	sizeIPv4 = 2*4 + 4
	sizeIPv6 = 2*16 + 4
	sizeUnix = 2 * 108
)

// parseV2 parses the signature, version and command, family and transport, the
// length, and what is that long.
func parseV2(b []byte) (Header, int, error) {
	if n := min(len(b), len(v2Signature)); string(b[:n]) != v2Signature[:n] {
		return Header{}, 0, ErrMissing
	}
	if len(b) < v2Fixed {
		return Header{}, 0, ErrIncomplete
	}
	command, family := b[12], b[13]
	length := int(binary.BigEndian.Uint16(b[14:]))
	size := 0
	switch family {
	case 0x00:
	case 0x11, 0x12:
		size = sizeIPv4
	case 0x21, 0x22:
		size = sizeIPv6
	case 0x31, 0x32:
		size = sizeUnix
	default:
		return Header{}, 0, ErrInvalid
	}
	switch {
	case command != 0x20 && command != 0x21:
		return Header{}, 0, ErrInvalid
	case command == 0x21 && length < size:
		return Header{}, 0, ErrInvalid
	case v2Fixed+length > Max:
		return Header{}, 0, ErrTooLong
	case len(b) < v2Fixed+length:
		return Header{}, 0, ErrIncomplete
	}
	h := Header{Version: 2}
	a := b[v2Fixed:]
	switch {
	case command == 0x20: // LOCAL: the addresses are ignored
		h.Local = true
	case size == sizeIPv4:
		h.Source = netip.AddrPortFrom(netip.AddrFrom4([4]byte(a[:4])), binary.BigEndian.Uint16(a[8:]))
		h.Destination = netip.AddrPortFrom(netip.AddrFrom4([4]byte(a[4:8])), binary.BigEndian.Uint16(a[10:]))
	case size == sizeIPv6:
		h.Source = netip.AddrPortFrom(netip.AddrFrom16([16]byte(a[:16])).Unmap(), binary.BigEndian.Uint16(a[32:]))
		h.Destination = netip.AddrPortFrom(netip.AddrFrom16([16]byte(a[16:32])).Unmap(), binary.BigEndian.Uint16(a[34:]))
	default:
		h.Local = true
	}
	return h, v2Fixed + length, nil
}
