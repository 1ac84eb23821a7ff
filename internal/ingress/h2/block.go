package h2

import (
	"strconv"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"minato/internal/ingress/h1"
)

// block is the header block that is being received. It is the reading goroutine's alone.
type block struct {
	id       uint32     // of the stream
	stream   *Stream    // that it begins, of a client; nil of any other block
	header   *h1.Header // that the fields are for; nil where they are only decoded
	open     bool       // more of it is to come
	end      bool       // the stream ends with it
	trailer  bool       // it comes behind a body
	tooLarge bool
	broken   bool // it is malformed
	regular  bool // a field that is no pseudo-field has come
	pseudo   uint8
	left     int // of the size that it may have, as fields
	raw      int // and in bytes
	parts    int
	since    int64
	status   int
	declared int64         // Content-Length; -1 without one
	code     http2.ErrCode // what the stream is reset with where fields are only decoded; 0 is not at all
}

// Pseudo-fields that have come.
const (
	hasMethod = 1 << iota
	hasScheme
	hasPath
	hasAuthority
	hasStatus
)

func (c *Conn) beginBlock(id uint32, end bool) *block {
	b := &c.block
	*b = block{id: id, end: end, open: true, declared: -1, left: c.cfg.MaxHeader, raw: 2*c.cfg.MaxHeader + 1<<10, since: c.now()}
	c.dec.SetEmitEnabled(true)
	return b
}

// decode takes a piece of the block.
func (c *Conn) decode(p []byte, last bool) error {
	b := &c.block
	if b.raw -= len(p); b.raw < 0 {
		return connError{http2.ErrCodeEnhanceYourCalm, "a header block that is too large"}
	}
	if _, err := c.dec.Write(p); err != nil {
		return connError{http2.ErrCodeCompression, "a header block that cannot be decoded"}
	}
	if !last {
		return nil
	}
	if c.dec.Close() != nil {
		return connError{http2.ErrCodeCompression, "a header block that is cut off"}
	}
	b.open = false
	return c.endBlock()
}

// emit takes one field.
func (c *Conn) emit(f hpack.HeaderField) {
	b := &c.block
	if b.left -= len(f.Name) + len(f.Value) + 32; b.left < 0 {
		b.tooLarge = true
		c.dec.SetEmitEnabled(false) // what follows changes the table alone
		return
	}
	if b.header == nil || b.broken {
		return
	}
	switch {
	case f.Name == "":
		b.broken = true
	case f.Name[0] == ':':
		b.broken = b.regular || b.trailer || !b.takePseudo(f, c.cfg.Client)
	default:
		b.regular = true
		b.take(f, c.cfg.Client)
	}
}

// take takes a field that is no pseudo-field.
func (b *block) take(f hpack.HeaderField, answer bool) {
	for i := range len(f.Name) {
		if c := f.Name[i]; 'A' <= c && c <= 'Z' {
			b.broken = true
			return
		}
	}
	switch f.Name {
	case "connection", "proxy-connection", "keep-alive", "transfer-encoding", "upgrade":
		b.broken = true
		return
	case "te":
		if f.Value != "trailers" {
			b.broken = true
			return
		}
	case "content-length":
		if !b.trailer && !b.takeLength(f.Value) {
			b.broken = true
			return
		}
	}
	switch b.header.AddName(f.Name, f.Value) {
	case nil:
		if b.trailer && !answer && b.header.FieldID(b.header.Len()-1) != h1.Unknown {
			// Fields of framing, routing, credentials and the like must not come behind the body (RFC 9110, 6.5.1).
			b.header.DelName(f.Name)
		}
	case h1.ErrTooManyFields:
		b.tooLarge = true
	default:
		b.broken = true
	}
}

// takeLength takes a Content-Length, of which there may be several that are the same.
func (b *block) takeLength(v string) bool {
	n, err := strconv.ParseUint(v, 10, 63)
	if err != nil || b.declared >= 0 && b.declared != int64(n) {
		return false
	}
	b.declared = int64(n)
	return true
}

// takePseudo takes a pseudo-field; it reports false for one that is not allowed, or comes twice.
func (b *block) takePseudo(f hpack.HeaderField, answer bool) bool {
	s := b.stream
	var bit uint8
	if answer != (f.Name == ":status") {
		return false
	}
	switch f.Name {
	case ":method":
		bit, s.Method = hasMethod, f.Value
	case ":scheme":
		bit, s.Scheme = hasScheme, f.Value
	case ":path":
		bit, s.Path = hasPath, f.Value
	case ":authority":
		bit, s.Authority = hasAuthority, f.Value
	case ":status":
		bit = hasStatus
		n, err := strconv.Atoi(f.Value)
		if err != nil || len(f.Value) != 3 || n < 100 {
			return false
		}
		b.status = n
	default:
		return false
	}
	if b.pseudo&bit != 0 {
		return false
	}
	b.pseudo |= bit
	return true
}

// requestComplete tells whether a request has the pseudo-fields that it must have (RFC 9113, 8.3.1).
func (b *block) requestComplete(s *Stream) bool {
	if s.Method == "CONNECT" {
		return b.pseudo == hasMethod|hasAuthority
	}
	return b.pseudo|hasAuthority == hasMethod|hasScheme|hasPath|hasAuthority && s.Path != "" && s.Method != ""
}

// joinCookies makes one field of a cookie that came in pieces (RFC 9113, 8.2.3).
func joinCookies(h *h1.Header) {
	if h.Count(h1.Cookie) < 2 {
		return
	}
	var all []byte
	for v := range h.Values("Cookie") {
		if len(all) > 0 {
			all = append(all, "; "...)
		}
		all = append(all, v...)
	}
	h.Del(h1.Cookie)
	_ = h.Add(h1.Cookie, all) // its pieces were values of fields
}
