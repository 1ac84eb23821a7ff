package proxy

// appendPath appends the decoded path of a raw one to dst: escapes decoded, runs of slashes merged, dot segments
// resolved, as nginx does before it looks for a location. It reports false for a path that leaves the root, and for one
// that does not begin with a slash. The escapes are two hexadecimal digits each, which the reader has made sure of.
func appendPath(dst, raw []byte) ([]byte, bool) {
	if len(raw) == 0 || raw[0] != '/' {
		return dst, false
	}
	base := len(dst)
	for i := 0; i < len(raw); i++ {
		c := raw[i]
		if c == '%' && i+2 < len(raw) {
			c = hexByte(raw[i+1])<<4 | hexByte(raw[i+2])
			i += 2
		}
		if c != '/' {
			dst = append(dst, c)
			continue
		}
		var ok bool
		if dst, ok = endSegment(dst, base, true); !ok {
			return dst, false
		}
	}
	return endSegment(dst, base, false)
}

// endSegment resolves the segment that ends dst, and begins another if slash is set.
func endSegment(dst []byte, base int, slash bool) ([]byte, bool) {
	at := len(dst)
	for at > base && dst[at-1] != '/' {
		at--
	}
	switch segment := dst[at:]; {
	case len(segment) == 0:
		if slash && len(dst) == base {
			dst = append(dst, '/')
		}
		return dst, true // a slash is there already: they merge
	case len(segment) == 1 && segment[0] == '.':
		return dst[:at], true
	case len(segment) == 2 && segment[0] == '.' && segment[1] == '.':
		if at-1 <= base {
			return dst, false
		}
		at-- // the slash before the dots
		for at > base && dst[at-1] != '/' {
			at--
		}
		return dst[:at], true
	}
	if slash {
		dst = append(dst, '/')
	}
	return dst, true
}

func hexByte(c byte) byte {
	switch {
	case c >= 'a':
		return c - 'a' + 10
	case c >= 'A':
		return c - 'A' + 10
	default:
		return c - '0'
	}
}
