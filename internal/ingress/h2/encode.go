package h2

import (
	"strconv"

	"golang.org/x/net/http2/hpack"

	"minato/internal/ingress/h1"
)

// Indices of HPACK's static table (RFC 7541, appendix A) that have a value, and those of names.
const (
	staticAuthority  = 1
	staticGet        = 2
	staticPost       = 3
	staticMethod     = 2
	staticRoot       = 4
	staticPath       = 4
	staticHTTP       = 6
	staticHTTPS      = 7
	staticStatus     = 8
	staticLength     = 28
	emptyTable       = 0x20 // a size update to 0
	literal          = 0x00 // without indexing, an index of 4 bits
	literalNever     = 0x10 // the same; nobody on the way may index it
	indexed          = 0x80
	longestKnownName = 32
)

// staticNames are the indices of the static table's names.
var staticNames = buildStaticNames()

func buildStaticNames() map[string]uint8 {
	m := map[string]uint8{}
	dec := hpack.NewDecoder(0, nil)
	for i := 61; i > 14; i-- {
		// The last of several of the same name is the lowest.
		if f, err := dec.DecodeFull([]byte{indexed | byte(i)}); err == nil && len(f) == 1 {
			m[f[0].Name] = uint8(i)
		}
	}
	return m
}

// staticStatus200 and the like have an index with their value.
func appendStatus(dst []byte, status int) []byte {
	switch status {
	case 200:
		return append(dst, indexed|8)
	case 204:
		return append(dst, indexed|9)
	case 206:
		return append(dst, indexed|10)
	case 304:
		return append(dst, indexed|11)
	case 400:
		return append(dst, indexed|12)
	case 404:
		return append(dst, indexed|13)
	case 500:
		return append(dst, indexed|14)
	}
	if status < 100 || status > 999 {
		status = 500
	}
	dst = append(dst, literal|staticStatus, 3)
	return strconv.AppendInt(dst, int64(status), 10)
}

// appendInt appends an integer behind the first bits of its first byte, which are those of first (RFC 7541, 5.1).
func appendInt(dst []byte, first byte, bits uint, n uint64) []byte {
	most := uint64(1)<<bits - 1
	if n < most {
		return append(dst, first|byte(n))
	}
	dst = append(dst, first|byte(most))
	for n -= most; n >= 128; n >>= 7 {
		dst = append(dst, 0x80|byte(n))
	}
	return append(dst, byte(n))
}

func appendText[T string | []byte](dst []byte, s T) []byte {
	return append(appendInt(dst, 0, 7, uint64(len(s))), s...)
}

// appendIndexedName appends a field whose name is in the static table.
func appendIndexedName[T string | []byte](dst []byte, index uint8, value T) []byte {
	return appendText(appendInt(dst, literal, 4, uint64(index)), value)
}

// connectionFields are those that HTTP/2 has none of (RFC 9113, 8.2.2), and those that are written apart.
var connectionFields = h1.Mask(h1.Connection, h1.KeepAlive, h1.ProxyConnection, h1.TransferEncoding, h1.Upgrade, h1.HTTP2Settings,
	h1.Host, h1.ContentLength, h1.TE)

// secretFields must not be indexed by anybody on the way.
var secretFields = h1.Mask(h1.Authorization, h1.ProxyAuthorization, h1.Cookie, h1.SetCookie)

// appendFields appends all fields that HTTP/2 can carry, but for Host, Content-Length and TE.
func appendFields(dst []byte, h *h1.Header) []byte {
	for i := range h.Len() {
		id := h.FieldID(i)
		mask := h1.Mask(id)
		if mask&connectionFields != 0 {
			continue
		}
		name, value := h.Field(i)
		first := byte(literal)
		if mask&secretFields != 0 {
			first = literalNever
		}
		dst = appendField(dst, first, name, value)
	}
	return dst
}

// appendField appends one field; the name in lower case.
func appendField(dst []byte, first byte, name, value []byte) []byte {
	var small [longestKnownName]byte
	if len(name) <= len(small) {
		lower := small[:len(name)]
		for i, c := range name {
			lower[i] = lowerByte(c)
		}
		if index, ok := staticNames[string(lower)]; ok {
			return appendText(appendInt(dst, first, 4, uint64(index)), value)
		}
		return appendText(appendText(append(dst, first), lower), value)
	}
	dst = appendInt(append(dst, first), 0, 7, uint64(len(name)))
	for _, c := range name {
		dst = append(dst, lowerByte(c))
	}
	return appendText(dst, value)
}

func lowerByte(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}

// appendLength appends a Content-Length.
func appendLength(dst []byte, n int64) []byte {
	var digits [20]byte
	return appendIndexedName(dst, staticLength, strconv.AppendInt(digits[:0], n, 10))
}

// Request is the head of a request that is sent.
type Request struct {
	Method, Authority, Path string
	// TLS is whether the scheme is https.
	TLS bool
	// Header are the fields. Those that concern a connection, Host and Content-Length are left out.
	Header *h1.Header
	// Trailers tells the endpoint that trailers are accepted, as gRPC demands.
	Trailers bool
	// Length is that of the body, -1 if it is not known.
	Length int64
}

// appendRequest appends a request's header block.
func appendRequest(dst []byte, q *Request) []byte {
	switch q.Method {
	case "GET":
		dst = append(dst, indexed|staticGet)
	case "POST":
		dst = append(dst, indexed|staticPost)
	default:
		dst = appendIndexedName(dst, staticMethod, q.Method)
	}
	if q.TLS {
		dst = append(dst, indexed|staticHTTPS)
	} else {
		dst = append(dst, indexed|staticHTTP)
	}
	if q.Path == "/" {
		dst = append(dst, indexed|staticRoot)
	} else {
		dst = appendIndexedName(dst, staticPath, q.Path)
	}
	if q.Authority != "" {
		dst = appendIndexedName(dst, staticAuthority, q.Authority)
	}
	dst = appendFields(dst, q.Header)
	if q.Trailers {
		dst = append(dst, "\x00\x02te\x08trailers"...)
	}
	if q.Length > 0 || q.Length == 0 && q.Method != "GET" && q.Method != "HEAD" {
		dst = appendLength(dst, q.Length)
	}
	return dst
}
