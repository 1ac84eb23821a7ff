package h1

// framing are the fields that decide where a message ends and what its connection
// is used for afterwards.
const framing = 1<<Connection | 1<<ContentLength | 1<<TransferEncoding

// options are the tokens of Connection.
type options uint8

const (
	optionClose options = 1 << iota
	optionKeepAlive
	optionUpgrade
	optionTE
	optionOther
)

// connectionOptions returns the tokens of all Connection fields.
func (h *Header) connectionOptions() (o options) {
	if !h.Has(Connection) {
		return 0
	}
	for i := range h.fields {
		f := &h.fields[i]
		if f.id != Connection {
			continue
		}
		for list := h.valueOf(f); len(list) > 0; {
			var e []byte
			e, list = nextElement(list)
			switch {
			case len(e) == 0:
			case string(e) == "keep-alive", equalFold(e, "keep-alive"):
				o |= optionKeepAlive
			case equalFold(e, "close"):
				o |= optionClose
			case equalFold(e, "upgrade"):
				o |= optionUpgrade
			case equalFold(e, "te"):
				o |= optionTE
			default:
				o |= optionOther
			}
		}
	}
	return o
}

// persistent tells whether the connection stays open (RFC 9112, 9.3).
func (o options) persistent(minor uint8) bool {
	return o&optionClose == 0 && (minor > 0 || o&optionKeepAlive != 0)
}

// bodyFraming returns the body's length, -1 if no field gives it, and whether it is
// chunked (RFC 9112, 6). Where two readers could differ there is a reason to refuse:
// a Content-Length that is repeated, even with the same value, or is not digits
// alone; Content-Length beside Transfer-Encoding; Transfer-Encoding in HTTP/1.0,
// repeated, or of another value than "chunked".
func (h *Header) bodyFraming(minor uint8) (length int64, chunked bool, r Reason) {
	if h.present&(1<<ContentLength|1<<TransferEncoding) == 0 {
		return -1, false, 0
	}
	switch {
	case h.twice&(1<<ContentLength|1<<TransferEncoding) != 0:
		return 0, false, ReasonDuplicateField
	case h.Has(ContentLength) && h.Has(TransferEncoding):
		return 0, false, ReasonLengthAndCoding
	case h.Has(TransferEncoding):
		switch {
		case minor == 0:
			return 0, false, ReasonCodingInOldVersion
		case !equalFold(h.Get(TransferEncoding), "chunked"):
			return 0, false, ReasonCoding
		}
		return -1, true, 0
	}
	length, ok := parseLength(h.Get(ContentLength))
	if !ok {
		return 0, false, ReasonContentLength
	}
	return length, false, 0
}

// parseLength parses a Content-Length: 1 to 18 digits.
func parseLength(v []byte) (n int64, ok bool) {
	if len(v) == 0 || len(v) > 18 {
		return 0, false
	}
	for _, c := range v {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = 10*n + int64(c-'0')
	}
	return n, true
}
