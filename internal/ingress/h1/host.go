package h1

import "bytes"

// hostClass is 1 for the bytes of a host's name.
var hostClass = func() (t [256]uint8) {
	for c := '0'; c <= '9'; c++ {
		t[c] = 1
	}
	for c := 'a'; c <= 'z'; c++ {
		t[c], t[c-'a'+'A'] = 1, 1
	}
	t['-'], t['.'], t['_'], t['~'] = 1, 1, 1, 1
	return t
}()

// ValidHost tells whether h is a host, an IPv4 address or an IPv6 address in
// brackets, with a port or without: what Host and :authority may be. It is
// stricter than RFC 3986, 3.2.2, whose names may hold escapes and punctuation that
// no DNS name has and parsers disagree on; names with an underscore are taken. Empty
// ones, user information and empty labels at the beginning are not.
func ValidHost(h []byte) bool {
	if len(h) == 0 {
		return false
	}
	i := 0
	if h[0] == '[' {
		end := bytes.IndexByte(h, ']')
		if end < 3 {
			return false
		}
		for _, c := range h[1:end] {
			if unhex(c) < 0 && c != ':' && c != '.' {
				return false
			}
		}
		i = end + 1
	} else {
		for i < len(h) && hostClass[h[i]] != 0 {
			i++
		}
		if i == 0 || h[0] == '.' {
			return false
		}
	}
	return i == len(h) || h[i] == ':' && validPort(h[i+1:])
}

// validPort tells whether p is a port, or empty (RFC 3986, 3.2.3 allows that).
func validPort(p []byte) bool {
	n := 0
	for _, c := range p {
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
