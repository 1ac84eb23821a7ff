package table

import (
	"errors"
	"strings"
	"unsafe"
)

// PathFlags say in what a path differs from what was received.
type PathFlags uint8

const (
	// PathDecoded: an escape was decoded.
	PathDecoded PathFlags = 1 << iota
	// PathMerged: slashes that follow each other were merged.
	PathMerged
	// PathDots: "." or ".." elements, escaped or not, were resolved.
	PathDots
	// PathSlash: an escaped slash or backslash was decoded. A backend that decodes otherwise sees other elements.
	PathSlash
)

// Ambiguous tells whether a backend that reads the path as it was received may see another one than the path by which
// the route, with what guards it, was chosen.
func (f PathFlags) Ambiguous() bool { return f&(PathDots|PathSlash|PathMerged) != 0 }

// The errors of NormalizePath; the answer to all of them is 400.
var (
	ErrPathEscape = errors.New("the path has a % that isn't followed by two hexadecimal digits")
	ErrPathZero   = errors.New("the path has a NUL byte")
	ErrPathAbove  = errors.New("the path leads above its root with ..")
	ErrPathForm   = errors.New("the path doesn't begin with a slash")
)

// NormalizePath makes the path by which the route is chosen from that of the request target, which is without query:
// escapes are decoded once, slashes that follow each other are merged, "." and ".." are resolved, in this order of
// meaning, as nginx does before it looks for a location. So /public/../admin and /public/%2e%2e/admin are /admin, and
// whatever guards /admin holds. A path without any of this is returned as it is; otherwise the result is appended to
// dst and is valid as long as that isn't written to. A path above the root, a bad escape and a NUL byte are errors, as in nginx.
//
// What the backend gets is another matter: without a rewrite it is the target as received. Flags tell the caller where
// that could mean something else to the backend than to the route.
func NormalizePath(dst []byte, raw string) (path string, flags PathFlags, err error) {
	if raw == "" || raw[0] != '/' {
		return "", 0, ErrPathForm
	}
	if clean(raw) {
		return raw, 0, nil
	}
	start := len(dst)
	for i := 0; i < len(raw); {
		c := raw[i]
		i++
		escaped := false
		if c == '%' {
			if i+2 > len(raw) || unhex(raw[i]) > 15 || unhex(raw[i+1]) > 15 {
				return "", 0, ErrPathEscape
			}
			c = unhex(raw[i])<<4 | unhex(raw[i+1])
			i += 2
			escaped = true
			flags |= PathDecoded
			if c == '/' || c == '\\' {
				flags |= PathSlash
			}
		}
		if c == 0 {
			return "", 0, ErrPathZero
		}
		if c != '/' {
			dst = append(dst, c)
			continue
		}
		var f PathFlags
		if dst, f, err = element(dst, start, escaped); err != nil {
			return "", 0, err
		}
		flags |= f
	}
	// A last element of dots is resolved as one with a slash behind it.
	dst, f, err := lastElement(dst, start)
	if err != nil {
		return "", 0, err
	}
	dst = dst[start:]
	return unsafe.String(unsafe.SliceData(dst), len(dst)), flags | f, nil
}

// element ends an element at a slash: dst has all before it.
func element(dst []byte, start int, escaped bool) ([]byte, PathFlags, error) {
	if len(dst) > start && dst[len(dst)-1] == '/' {
		return dst, PathMerged, nil
	}
	dst, f, err := lastElement(dst, start)
	if err != nil || f != 0 {
		return dst, f, err
	}
	return append(dst, '/'), 0, nil
}

// lastElement resolves a last element that is "." or "..". The result ends with a slash then.
func lastElement(dst []byte, start int) ([]byte, PathFlags, error) {
	s := dst[start:]
	n := len(s)
	switch {
	case n >= 2 && s[n-1] == '.' && s[n-2] == '/':
		return dst[:len(dst)-1], PathDots, nil
	case n >= 3 && s[n-1] == '.' && s[n-2] == '.' && s[n-3] == '/':
		s = s[:n-3]
		i := len(s) - 1
		for i >= 0 && s[i] != '/' {
			i--
		}
		if i < 0 {
			return dst, 0, ErrPathAbove
		}
		return dst[:start+i+1], PathDots, nil
	}
	return dst, 0, nil
}

// clean tells whether a path is as it would be made: it may say no for some that are.
func clean(p string) bool {
	if strings.IndexByte(p, '%') >= 0 || strings.IndexByte(p, 0) >= 0 || strings.Contains(p, "//") {
		return false
	}
	for {
		i := strings.Index(p, "/.")
		if i < 0 {
			return true
		}
		p = p[i+2:]
		if p == "" || p[0] == '/' || p[0] == '.' && (len(p) == 1 || p[1] == '/') {
			return false
		}
	}
}

// unhex returns the value of a hexadecimal digit, 255 for other bytes.
func unhex(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10
	}
	return 255
}
