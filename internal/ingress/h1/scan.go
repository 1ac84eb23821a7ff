package h1

import (
	"encoding/binary"
	"math/bits"
)

// Classes of the bytes of a field's name.
const (
	byteInvalid    = iota // refused: not a byte of a token
	bytePlain             // letter, digit or hyphen
	byteUnderscore        // underscore
	byteOdd               // another byte of a token
)

// nameClass classes bytes by RFC 9110, 5.6.2.
var nameClass = func() (t [256]uint8) {
	for c := '0'; c <= '9'; c++ {
		t[c] = bytePlain
	}
	for c := 'a'; c <= 'z'; c++ {
		t[c], t[c-'a'+'A'] = bytePlain, bytePlain
	}
	for _, c := range "!#$%&'*+.^`|~" {
		t[c] = byteOdd
	}
	t['-'] = bytePlain
	t['_'] = byteUnderscore
	return t
}()

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// controls marks the high bit of the bytes of x that are below 0x20 or 0x7f. The
// lowest mark is exact; a mark above another may be wrong.
func controls(x uint64) uint64 {
	del := x ^ 0x7f*ones
	return ((x-0x20*ones)&^x | (del-ones)&^del) & highs
}

// scanValue returns the index from i on of the first byte that cannot be part of
// a field's value (RFC 9110, 5.5): controls except HTAB, and DEL; or len(b).
func scanValue(b []byte, i int) int {
	for i+8 <= len(b) {
		m := controls(binary.LittleEndian.Uint64(b[i:]))
		if m == 0 {
			i += 8
			continue
		}
		i += bits.TrailingZeros64(m) >> 3
		if b[i] != '\t' {
			return i
		}
		i++
	}
	for i < len(b) && (b[i] >= 0x20 && b[i] != 0x7f || b[i] == '\t') {
		i++
	}
	return i
}

// equals marks the high bit of the bytes of x that are c. The lowest mark is exact.
func equals(x uint64, c byte) uint64 {
	x ^= uint64(c) * ones
	return (x - ones) &^ x & highs
}

// validTarget tells whether b has only bytes that a target in a request line may
// have: no control, space or DEL, and no fragment.
func validTarget(b []byte) bool {
	i := 0
	for ; i+8 <= len(b); i += 8 {
		x := binary.LittleEndian.Uint64(b[i:])
		if controls(x)|equals(x, ' ')|equals(x, '#') != 0 {
			return false
		}
	}
	for ; i < len(b); i++ {
		if targetClass[b[i]] == targetEnd {
			return false
		}
	}
	return true
}

// validValue tells whether v can be a field's value.
func validValue[T []byte | string](v T) bool {
	for i := range len(v) {
		if c := v[i]; c < 0x20 && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

// validToken tells whether s is a token of RFC 9110, 5.6.2.
func validToken[T []byte | string](s T) bool {
	for i := range len(s) {
		if nameClass[s[i]] == byteInvalid {
			return false
		}
	}
	return len(s) > 0
}

// lower returns the small letter of an ASCII letter, and other bytes as they are.
func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c | 0x20
	}
	return c
}

// appendLower appends s to dst in lower case.
func appendLower[T []byte | string](dst []byte, s T) []byte {
	for i := range len(s) {
		dst = append(dst, lower(s[i]))
	}
	return dst
}

// equalFold tells whether a and b are equal but for the case of ASCII letters.
func equalFold[A, B []byte | string](a A, b B) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		if lower(a[i]) != lower(b[i]) {
			return false
		}
	}
	return true
}

// trimOWS cuts optional white space (RFC 9110, 5.6.3) from both ends.
func trimOWS(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	for len(b) > 0 && (b[len(b)-1] == ' ' || b[len(b)-1] == '\t') {
		b = b[:len(b)-1]
	}
	return b
}

// nextElement cuts the first element of a comma-separated list, trimmed; it is
// empty where the list has an empty element.
func nextElement(list []byte) (element, rest []byte) {
	for i, c := range list {
		if c == ',' {
			return trimOWS(list[:i]), list[i+1:]
		}
	}
	return trimOWS(list), nil
}

// HasToken tells whether a comma-separated list holds token, in any case.
func HasToken(list []byte, token string) bool {
	for len(list) > 0 {
		var e []byte
		e, list = nextElement(list)
		if equalFold(e, token) {
			return true
		}
	}
	return false
}
