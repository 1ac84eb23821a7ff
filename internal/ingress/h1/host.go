package h1

import (
	"bytes"
	"net/netip"
)

// hostClass is 1 for the bytes of a host's name.
var hostClass = func() (t [256]uint8) {
	for c := '0'; c <= '9'; c++ {
		t[c] = 1
	}
	for c := 'a'; c <= 'z'; c++ {
		t[c], t[c-'a'+'A'] = 1, 1
	}
	t['-'], t['.'], t['_'] = 1, 1, 1
	return t
}()

// ValidHost tells whether h is a host's name, an IPv4 address or an IPv6 address in
// brackets, with a port or without: what Host and :authority may be. It is stricter
// than RFC 3986, 3.2.2, whose names may hold escapes and punctuation that no DNS name
// has and parsers disagree on; underscores are taken. Empty names, empty labels (but
// the one behind a trailing dot) and user information are not; nor are they by nginx.
func ValidHost(h []byte) bool {
	if len(h) == 0 {
		return false
	}
	if h[0] == '[' {
		end := bytes.IndexByte(h, ']')
		if end < 0 || !validPort(h[end+1:]) {
			return false
		}
		a, err := netip.ParseAddr(string(h[1:end]))
		return err == nil && a.Is6() && a.Zone() == ""
	}
	i, dot := 0, true
	for i < len(h) && hostClass[h[i]] != 0 {
		if h[i] == '.' && dot {
			return false
		}
		dot = h[i] == '.'
		i++
	}
	return i > 0 && validPort(h[i:])
}

// validPort tells whether p is nothing, or a colon and a port, which may be empty
// (RFC 3986, 3.2.3).
func validPort(p []byte) bool {
	if len(p) == 0 {
		return true
	}
	if p[0] != ':' {
		return false
	}
	n := 0
	for _, c := range p[1:] {
		if c < '0' || c > '9' {
			return false
		}
		if n = 10*n + int(c-'0'); n > 65535 {
			return false
		}
	}
	return true
}

// SplitHost cuts the port, without its colon, off a valid host. An IPv6 address
// keeps its brackets.
func SplitHost(h []byte) (host, port []byte) {
	i := bytes.LastIndexByte(h, ':')
	if i < 0 || i < bytes.LastIndexByte(h, ']') {
		return h, nil
	}
	return h[:i], h[i+1:]
}
