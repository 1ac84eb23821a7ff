package filter

import "unsafe"

// view returns bytes as a string without a copy; they must not change as long as it is used.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// Bits of escapes: in which kind of text a byte is escaped.
const (
	inPath     = 1 << iota // a path, as nginx escapes it for a backend
	inArgument             // a value in a URL: what separates arguments is escaped, too
	inLocation             // a whole URL that is escaped already: only what no URL holds
	inValue                // the value of a header
)

// escapes says for each byte in which texts it is escaped.
var escapes = func() (t [256]uint8) {
	for c := range t {
		if c < 0x20 || c == 0x7f {
			t[c] = inPath | inArgument | inLocation | inValue
		} else if c >= 0x80 || c == ' ' {
			t[c] = inPath | inArgument | inLocation
		}
	}
	for _, c := range "\"<>\\^`{|}" {
		t[c] |= inPath | inArgument | inLocation
	}
	for _, c := range "#%?" {
		t[c] |= inPath | inArgument
	}
	for _, c := range "&+;" {
		t[c] |= inArgument
	}
	return t
}()

const upperHex = "0123456789ABCDEF"

// appendEscaped appends s with the bytes as %XX that the kind of text can't hold.
func appendEscaped(dst []byte, s string, kind uint8) []byte {
	for i := range len(s) {
		if c := s[i]; escapes[c]&kind != 0 {
			dst = append(dst, '%', upperHex[c>>4], upperHex[c&15])
		} else {
			dst = append(dst, c)
		}
	}
	return dst
}

// escaped is appendEscaped for a string; it costs nothing where nothing is escaped.
func escaped(s string, kind uint8) string {
	for i := range len(s) {
		if escapes[s[i]]&kind != 0 {
			return string(appendEscaped(make([]byte, 0, len(s)+16), s, kind))
		}
	}
	return s
}
