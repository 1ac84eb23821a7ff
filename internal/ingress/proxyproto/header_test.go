package proxyproto

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"testing"
	"testing/iotest"
)

func v2(command, family byte, length int, rest string) string {
	return v2Signature + string([]byte{command, family, byte(length >> 8), byte(length)}) + rest
}

const (
	ip4  = "\xc0\x00\x02\x01\xc6\x33\x64\x02\x30\x39\x01\xbb"
	ip6  = " \x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01" + " \x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02" + "\x30\x39\x01\xbb"
	map6 = "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\xc0\x00\x02\x01" + "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\xc6\x33\x64\x02" + "\x30\x39\x01\xbb"
)

func describe(h Header, err error) string {
	switch {
	case err != nil:
		return err.Error()
	case h.Local:
		return fmt.Sprintf("%d local", h.Version)
	}
	return fmt.Sprintf("%d %s %s", h.Version, h.Source, h.Destination)
}

// Sections are those of haproxy's doc/proxy-protocol.txt.
func TestParse(t *testing.T) {
	const both4 = "192.0.2.1:12345 198.51.100.2:443"
	for _, c := range []struct{ source, text, want string }{
		{"2.1", "PROXY TCP4 192.0.2.1 198.51.100.2 12345 443\r\n", "1 " + both4},
		{"2.1", "PROXY TCP6 2001:db8::1 2001:db8::2 12345 443\r\n", "1 [2001:db8::1]:12345 [2001:db8::2]:443"},
		{"2.1: mapped addresses", "PROXY TCP6 ::ffff:192.0.2.1 ::ffff:198.51.100.2 12345 443\r\n", "1 " + both4},
		{"2.1: UNKNOWN", "PROXY UNKNOWN\r\n", "1 local"},
		{"2.1: UNKNOWN with addresses", "PROXY UNKNOWN ffff:f 1 2 3\r\n", "1 local"},
		{"2.1: longest line", "PROXY UNKNOWN " + strings.Repeat("x", MaxV1-16) + "\r\n", "1 local"},
		{"2.1: longer line", "PROXY UNKNOWN " + strings.Repeat("x", MaxV1-15) + "\r\n", ErrTooLong.Error()},
		{"2.1: no end", "PROXY TCP4 " + strings.Repeat("1", 200), ErrTooLong.Error()},
		{"bare LF", "PROXY TCP4 192.0.2.1 198.51.100.2 12345 443\n", ErrInvalid.Error()},
		{"bare LF, nothing else", "PROXY \n", ErrInvalid.Error()},
		{"two spaces", "PROXY TCP4  192.0.2.1 198.51.100.2 12345 443\r\n", ErrInvalid.Error()},
		{"space at the end", "PROXY TCP4 192.0.2.1 198.51.100.2 12345 443 \r\n", ErrInvalid.Error()},
		{"one word less", "PROXY TCP4 192.0.2.1 198.51.100.2 12345\r\n", ErrInvalid.Error()},
		{"family that differs", "PROXY TCP4 2001:db8::1 2001:db8::2 12345 443\r\n", ErrInvalid.Error()},
		{"family that differs", "PROXY TCP6 192.0.2.1 198.51.100.2 12345 443\r\n", ErrInvalid.Error()},
		{"other family", "PROXY UDP4 192.0.2.1 198.51.100.2 12345 443\r\n", ErrInvalid.Error()},
		{"leading zero in an address", "PROXY TCP4 192.0.2.01 198.51.100.2 12345 443\r\n", ErrInvalid.Error()},
		{"zone", "PROXY TCP6 fe80::1%eth0 fe80::2 12345 443\r\n", ErrInvalid.Error()},
		{"leading zero in a port", "PROXY TCP4 192.0.2.1 198.51.100.2 012345 443\r\n", ErrInvalid.Error()},
		{"port beyond 65535", "PROXY TCP4 192.0.2.1 198.51.100.2 65536 443\r\n", ErrInvalid.Error()},
		{"port with a sign", "PROXY TCP4 192.0.2.1 198.51.100.2 +123 443\r\n", ErrInvalid.Error()},
		{"no port", "PROXY TCP4 192.0.2.1 198.51.100.2  443\r\n", ErrInvalid.Error()},
		{"small letters", "proxy TCP4 192.0.2.1 198.51.100.2 12345 443\r\n", ErrMissing.Error()},

		{"2.2", v2(0x21, 0x11, 12, ip4), "2 " + both4},
		{"2.2: IPv6", v2(0x21, 0x21, 36, ip6), "2 [2001:db8::1]:12345 [2001:db8::2]:443"},
		{"2.2: mapped addresses", v2(0x21, 0x21, 36, map6), "2 " + both4},
		{"2.2: UDP", v2(0x21, 0x12, 12, ip4), "2 " + both4},
		{"2.2: UNIX", v2(0x21, 0x31, 216, strings.Repeat("\x00", 216)), "2 local"},
		{"2.2: unspecified", v2(0x21, 0x00, 4, "abcd"), "2 local"},
		{"2.2: LOCAL", v2(0x20, 0x00, 0, ""), "2 local"},
		{"2.2: LOCAL with addresses", v2(0x20, 0x11, 12, ip4), "2 local"},
		{"2.2.1: type-length-values", v2(0x21, 0x11, 20, ip4+"\x04\x00\x05hello"), "2 " + both4},
		{"largest", v2(0x21, 0x11, Max-v2Fixed, ip4+strings.Repeat("x", Max-v2Fixed-12)), "2 " + both4},
		{"larger", v2(0x21, 0x11, Max-v2Fixed+1, ip4), ErrTooLong.Error()},
		{"version 1 in the form of 2", v2(0x11, 0x11, 12, ip4), ErrInvalid.Error()},
		{"version 3", v2(0x31, 0x11, 12, ip4), ErrInvalid.Error()},
		{"other command", v2(0x22, 0x11, 12, ip4), ErrInvalid.Error()},
		{"other family", v2(0x21, 0x41, 12, ip4), ErrInvalid.Error()},
		{"other transport", v2(0x21, 0x13, 12, ip4), ErrInvalid.Error()},
		{"too short", v2(0x21, 0x11, 11, ip4), ErrInvalid.Error()},
		{"too short for IPv6", v2(0x21, 0x21, 12, ip4), ErrInvalid.Error()},
		{"signature that differs", "\r\n\r\n\x00\r\nQUIT\r", ErrMissing.Error()},

		{"HTTP", "GET / HTTP/1.1\r\n", ErrMissing.Error()},
		{"TLS", "\x16\x03\x01", ErrMissing.Error()},
		{"POST begins as PROXY does", "POST / HTTP/1.1\r\n", ErrMissing.Error()},
		{"empty line", "\r\nGET", ErrMissing.Error()},
	} {
		h, n, err := Parse([]byte(c.text + "rest"))
		if got := describe(h, err); got != c.want || err == nil && n != len(c.text) {
			t.Errorf("%s: %q: %s, %d; want %s", c.source, c.text, got, n, c.want)
		}
		for _, src := range []io.Reader{strings.NewReader(c.text + "rest"), iotest.OneByteReader(strings.NewReader(c.text + "rest"))} {
			h, rest, err := Read(src, make([]byte, Max))
			if got := describe(h, err); got != c.want {
				t.Errorf("%s: Read(%q): %s; want %s", c.source, c.text, got, c.want)
			}
			all, _ := io.ReadAll(src)
			if err == nil && string(rest)+string(all) != "rest" {
				t.Errorf("%s: Read(%q) leaves %q, %q", c.source, c.text, rest, all)
			}
		}
		if err != nil {
			continue
		}
		for i := range c.text {
			if _, _, err := Parse([]byte(c.text[:i])); err != ErrIncomplete {
				t.Fatalf("%s: the first %d bytes: %v", c.source, i, err)
			}
		}
	}
}

func TestRead(t *testing.T) {
	buf := make([]byte, Max)
	if _, _, err := Read(strings.NewReader(""), buf); err != io.EOF {
		t.Error(err)
	}
	if _, _, err := Read(strings.NewReader("PROXY "), buf); err != io.ErrUnexpectedEOF {
		t.Error(err)
	}
	if _, _, err := Read(strings.NewReader(v2(0x21, 0x11, 100, ip4)), buf[:20]); err != ErrTooLong {
		t.Error(err)
	}
}

func TestAppend(t *testing.T) {
	for _, c := range []struct{ src, dst, v1, want string }{
		{"192.0.2.1:12345", "198.51.100.2:443", "PROXY TCP4 192.0.2.1 198.51.100.2 12345 443\r\n", "192.0.2.1:12345 198.51.100.2:443"},
		{"[2001:db8::1]:1", "[2001:db8::2]:0", "PROXY TCP6 2001:db8::1 2001:db8::2 1 0\r\n", "[2001:db8::1]:1 [2001:db8::2]:0"},
		{"192.0.2.1:1", "[2001:db8::2]:2", "PROXY TCP6 ::ffff:192.0.2.1 2001:db8::2 1 2\r\n", "192.0.2.1:1 [2001:db8::2]:2"},
		{"[::ffff:192.0.2.1]:1", "198.51.100.2:2", "PROXY TCP4 192.0.2.1 198.51.100.2 1 2\r\n", "192.0.2.1:1 198.51.100.2:2"},
		{"[fe80::1%eth0]:1", "[fe80::2]:2", "PROXY TCP6 fe80::1 fe80::2 1 2\r\n", "[fe80::1]:1 [fe80::2]:2"},
		{"", "198.51.100.2:2", "PROXY UNKNOWN\r\n", "local"},
	} {
		src, _ := netip.ParseAddrPort(c.src)
		dst, _ := netip.ParseAddrPort(c.dst)
		one, two := AppendV1(nil, src, dst), appendV2(nil, src, dst)
		if string(one) != c.v1 {
			t.Errorf("%s %s: %q, want %q", c.src, c.dst, one, c.v1)
		}
		for version, b := range map[int][]byte{1: one, 2: two} {
			h, n, err := Parse(b)
			if got, want := describe(h, err), fmt.Sprintf("%d %s", version, c.want); got != want || n != len(b) {
				t.Errorf("%s %s: %q is %s, want %s", c.src, c.dst, b, got, want)
			}
		}
	}
}

// FuzzParse holds that a header that is taken is the same when it is written and
// taken again, and that how it arrives does not matter.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"PROXY TCP4 192.0.2.1 198.51.100.2 12345 443\r\nGET", "PROXY UNKNOWN\r\n", "PROXY TCP6 ::1 ::2 1 2\r\n", v2(0x21, 0x11, 12, ip4), v2(0x21, 0x21, 40, ip6+"\x01\x00\x01a"), v2(0x20, 0, 0, "")} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		h, n, err := Parse(b)
		h1, rest, err1 := Read(iotest.OneByteReader(bytes.NewReader(b)), make([]byte, Max))
		if err == nil && (err1 != nil || h1 != h || len(rest) != 0) || err != nil && err != ErrIncomplete && err1 != err {
			t.Fatalf("%q: %v, %v; byte by byte %v, %v", b, h, err, h1, err1)
		}
		if err != nil {
			return
		}
		if n > len(b) || n > Max {
			t.Fatalf("%q: a header of %d bytes", b, n)
		}
		out := AppendV1(nil, h.Source, h.Destination)
		if h.Version == 2 {
			out = appendV2(nil, h.Source, h.Destination)
		}
		if again, m, err := Parse(out); err != nil || m != len(out) || again != h {
			t.Fatalf("%q is written as %q, which is %v, %v", b, out, again, err)
		}
	})
}

// appendV2 appends a header of version 2 for a TCP connection from src to dst. If
// either is invalid it is LOCAL; if either is IPv6 so are both.
func appendV2(b []byte, src, dst netip.AddrPort) []byte {
	b = append(b, v2Signature...)
	if !src.IsValid() || !dst.IsValid() {
		return append(b, 0x20, 0, 0, 0)
	}
	s, d := src.Addr().Unmap(), dst.Addr().Unmap()
	if s.Is4() && d.Is4() {
		b = append(b, 0x21, 0x11, 0, sizeIPv4)
		s4, d4 := s.As4(), d.As4()
		b = append(append(b, s4[:]...), d4[:]...)
	} else {
		b = append(b, 0x21, 0x21, 0, sizeIPv6)
		s16, d16 := s.As16(), d.As16()
		b = append(append(b, s16[:]...), d16[:]...)
	}
	return binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(b, src.Port()), dst.Port())
}
