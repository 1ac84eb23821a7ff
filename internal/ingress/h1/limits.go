package h1

// Limits bound one side's messages. The zero value has no room for anything: begin
// with RequestLimits or ResponseLimits.
type Limits struct {
	// MaxLine is the longest line of a head in bytes, with its CRLF: the request
	// line (else 414), a field (else 400).
	MaxLine int
	// MaxHead is the largest head in bytes, from the first line to the empty one.
	MaxHead int
	// MaxFields is the largest number of fields, dropped ones included.
	MaxFields int
	// MaxTrailer is the largest trailer section in bytes.
	MaxTrailer int
	// PassUnderscores keeps fields with an underscore in their name (ingress-nginx's
	// enable-underscores-in-headers); else they are dropped. Of requests only.
	PassUnderscores bool
	// PassInvalid keeps fields whose name is a token but has other bytes than
	// letters, digits and hyphens (the opposite of ingress-nginx's
	// ignore-invalid-headers); else they are dropped. As with nginx it lets
	// underscores pass, too. Names that are no token are refused in any case.
	PassInvalid bool
}

// RequestLimits returns the bounds of ingress-nginx's client-header-buffer-size and
// large-client-header-buffers (number and size), in bytes: no line is larger than
// one large buffer, and no head than all of them. The number of fields is bounded
// by 1000, as nginx's max_headers has it.
func RequestLimits(headerBuffer, number, size int) Limits {
	return Limits{
		MaxLine:    max(headerBuffer, size),
		MaxHead:    headerBuffer + number*size,
		MaxFields:  1000,
		MaxTrailer: max(headerBuffer, size),
	}
}

// ResponseLimits returns the bounds of a backend's response, whose head must fit
// into buffer bytes (ingress-nginx's proxy-buffer-size, 4k unless set).
func ResponseLimits(buffer int) Limits {
	return Limits{
		MaxLine:         buffer,
		MaxHead:         buffer,
		MaxFields:       1000,
		MaxTrailer:      buffer,
		PassUnderscores: true,
		PassInvalid:     true,
	}
}
