package h1

import "bytes"

// Form is the form of a request target (RFC 9112, 3.2).
type Form uint8

// Forms of targets. The authority form belongs to CONNECT alone and is refused.
const (
	FormOrigin   Form = iota // /path?query
	FormAbsolute             // http://host/path?query
	FormAsterisk             // *, of OPTIONS
)

// targetClass classes the bytes of a target.
var targetClass = func() (t [256]uint8) {
	for c := range t {
		switch {
		case c <= 0x20 || c == 0x7f || c == '#':
			t[c] = targetEnd
		case c >= 0x80:
			t[c] = targetHigh
		}
	}
	t['?'], t['%'], t['/'], t['\\'], t[';'] = targetQuery, targetPercent, targetSlash, targetOdd, targetOdd
	return t
}()

const (
	targetPlain   = iota
	targetSlash   // may begin "//", "/./" or "/../"
	targetPercent // begins an escape
	targetQuery   // ends the path
	targetHigh    // not ASCII
	targetOdd     // a byte that some take for a slash, or for the end of an element
	targetEnd     // ends the target, or is refused in it
)

// setTarget splits a target whose bytes are known to be allowed.
func (q *Request) setTarget(target []byte) Reason {
	q.Target = target
	switch {
	case len(target) == 0:
		return ReasonTarget
	case target[0] == '/':
		return q.setPath(target)
	case len(target) == 1 && target[0] == '*':
		if q.Method != MethodOptions {
			return ReasonTarget
		}
		q.Form, q.Path, q.URI = FormAsterisk, target, target
		return 0
	}
	return q.setAbsolute(target)
}

// setAbsolute splits a target in absolute form, of the schemes http and https.
func (q *Request) setAbsolute(target []byte) Reason {
	i := bytes.Index(target, []byte("://"))
	if i < 0 || !equalFold(target[:i], "http") && !equalFold(target[:i], "https") {
		return ReasonTarget
	}
	q.Form, q.Scheme = FormAbsolute, target[:i]
	rest := target[i+3:]
	end := bytes.IndexAny(rest, "/?")
	if end < 0 {
		end = len(rest)
	}
	if !ValidHost(rest[:end]) {
		return ReasonHost
	}
	q.Host = rest[:end]
	return q.setPath(rest[end:])
}

// setPath splits a path and a query. As with nginx, escapes of the path must be two
// hexadecimal digits and not NUL; those of the query are left to the backend.
func (q *Request) setPath(s []byte) Reason {
	q.Plain = true
	end := len(s)
	for i := 0; i < len(s); i++ {
		switch targetClass[s[i]] {
		case targetPlain:
			continue
		case targetSlash:
			if i+1 < len(s) && (s[i+1] == '/' || s[i+1] == '.') {
				q.Plain = false
			}
			continue
		case targetPercent:
			q.Plain = false
			if i+2 >= len(s) || unhex(s[i+1]) < 0 || unhex(s[i+2]) < 0 || s[i+1] == '0' && s[i+2] == '0' {
				return ReasonTarget
			}
			i += 2
			continue
		case targetQuery:
			end = i
			q.HasQuery, q.Query = true, s[i+1:]
		default:
			q.Plain = false
			continue
		}
		break
	}
	if end == 0 { // of a target in absolute form alone
		s, end = append([]byte("/"), s...), 1
	}
	q.URI, q.Path = s, s[:end:end]
	return 0
}

// unhex returns the value of a hexadecimal digit, or -1.
func unhex(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}
