package proxyproto

import (
	"bytes"
	"net/netip"
	"strconv"
)

const v1Prefix = "PROXY "

// parseV1 parses "PROXY TCP4 SOURCE DESTINATION PORT PORT\r\n".
func parseV1(b []byte) (Header, int, error) {
	if n := min(len(b), len(v1Prefix)); string(b[:n]) != v1Prefix[:n] {
		return Header{}, 0, ErrMissing
	}
	end := bytes.IndexByte(b[:min(len(b), MaxV1)], '\n')
	if end < 0 {
		if len(b) >= MaxV1 {
			return Header{}, 0, ErrTooLong
		}
		return Header{}, 0, ErrIncomplete
	}
	if end < len(v1Prefix)+1 || b[end-1] != '\r' {
		return Header{}, 0, ErrInvalid
	}
	line := b[len(v1Prefix) : end-1]
	h := Header{Version: 1}
	family, rest, _ := bytes.Cut(line, []byte(" "))
	if string(family) == "UNKNOWN" { // whatever follows is ignored
		h.Local = true
		return h, end + 1, nil
	}
	var words [4]string
	for i := range words {
		word, after, more := bytes.Cut(rest, []byte(" "))
		if more != (i < len(words)-1) {
			return Header{}, 0, ErrInvalid
		}
		words[i], rest = string(word), after
	}
	src, ok1 := addressV1(string(family), words[0], words[2])
	dst, ok2 := addressV1(string(family), words[1], words[3])
	if !ok1 || !ok2 {
		return Header{}, 0, ErrInvalid
	}
	h.Source, h.Destination = src, dst
	return h, end + 1, nil
}

// addressV1 parses an address of the family and a port without leading zeros.
func addressV1(family, addr, port string) (netip.AddrPort, bool) {
	a, err := netip.ParseAddr(addr)
	if err != nil || a.Zone() != "" || family != "TCP4" && family != "TCP6" || a.Is4() != (family == "TCP4") {
		return netip.AddrPort{}, false
	}
	if len(port) == 0 || len(port) > 1 && port[0] == '0' {
		return netip.AddrPort{}, false
	}
	n := 0
	for i := range len(port) {
		if port[i] < '0' || port[i] > '9' {
			return netip.AddrPort{}, false
		}
		if n = 10*n + int(port[i]-'0'); n > 65535 {
			return netip.AddrPort{}, false
		}
	}
	return netip.AddrPortFrom(a.Unmap(), uint16(n)), true
}

// AppendV1 appends a header of version 1 for a connection from src to dst. If either
// is invalid it is UNKNOWN; if either is IPv6 so are both.
func AppendV1(b []byte, src, dst netip.AddrPort) []byte {
	if !src.IsValid() || !dst.IsValid() {
		return append(b, "PROXY UNKNOWN\r\n"...)
	}
	s, d := src.Addr().Unmap().WithZone(""), dst.Addr().Unmap().WithZone("")
	family := "TCP4"
	if s.Is6() || d.Is6() {
		family = "TCP6"
		s, d = netip.AddrFrom16(s.As16()), netip.AddrFrom16(d.As16())
	}
	b = append(append(append(b, v1Prefix...), family...), ' ')
	b = append(s.AppendTo(b), ' ')
	b = append(d.AppendTo(b), ' ')
	b = append(strconv.AppendUint(b, uint64(src.Port()), 10), ' ')
	return append(strconv.AppendUint(b, uint64(dst.Port()), 10), "\r\n"...)
}
