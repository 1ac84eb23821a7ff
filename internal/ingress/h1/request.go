package h1

import "io"

// Request is a request's head and the way to its body. The zero value is ready for
// ReadRequest, which may be called again and again on the same one.
type Request struct {
	// Method is the method; MethodName its name as received.
	Method     Method
	MethodName []byte
	// Line is the request line as received, without CRLF, also of most requests that
	// are refused; for the access log.
	Line []byte
	// Target is the request target as received, of which the others are parts.
	Target []byte
	Form   Form
	// URI is the target in origin form, raw: the path and the query, as backends get
	// it where nothing rewrites it.
	URI []byte
	// Scheme is "http" or "https" in any case, of a target in absolute form; else nil.
	Scheme []byte
	// Path is the raw path, "/" if the target has none, "*" in asterisk form. Its
	// escapes are two hexadecimal digits each, and not %00.
	Path []byte
	// Query is the raw query without its question mark; HasQuery tells an empty one
	// from none.
	Query    []byte
	HasQuery bool
	// Plain tells that the path has no escape, no "//", no segment that begins with a
	// dot, no backslash, no semicolon and no byte that isn't ASCII: decoding and normalising would
	// not change it.
	Plain bool
	// Host is the host with its port, in the case received: that of the target in
	// absolute form (RFC 9112, 3.2.2), else that of the Host field. It is empty only
	// in HTTP/1.0. The Host field has the same value.
	Host []byte
	// Minor is 1 in HTTP/1.1 and 0 in HTTP/1.0.
	Minor uint8
	// Header are the fields, Host included.
	Header Header
	// ContentLength is the body's length in bytes, 0 without a body, -1 if Chunked.
	ContentLength int64
	Chunked       bool
	// KeepAlive tells that the client wants the connection kept (RFC 9112, 9.3).
	KeepAlive bool
	// ExpectContinue tells that the client waits for 100 Continue before it sends the
	// body. Other expectations are passed over, as nginx does.
	ExpectContinue bool
	// WantsUpgrade tells that the client asks for another protocol, which Upgrade
	// names (RFC 9110, 7.8). To "h2c" it is never set: that upgrade is gone since
	// RFC 9113, and through a gateway it only serves to get past the gateway's rules.
	// Nor is it for a request with a body, whose end two sides could see differently.
	WantsUpgrade bool
	// AcceptsTrailers tells that TE has "trailers".
	AcceptsTrailers bool
	// Body reads the body.
	Body Body
}

// Reset empties the request.
func (q *Request) Reset() {
	q.Header.Reset()
	q.Body.reset()
	q.Method, q.MethodName = 0, nil
	q.Line, q.URI = nil, nil
	q.Target, q.Form, q.Scheme, q.Path, q.Query, q.HasQuery, q.Plain = nil, 0, nil, nil, nil, false, false
	q.Host, q.Minor = nil, 0
	q.ContentLength, q.Chunked = 0, false
	q.KeepAlive, q.ExpectContinue, q.WantsUpgrade, q.AcceptsTrailers = false, false, false, false
}

// ReadRequest reads the head of the next request into q, which it resets first; the
// views of the message before become invalid. The limits must not change before the
// body was read. If the body before was not read to its end it is ErrBroken. The body is read by q.Body, to its end
// before the next call.
//
// The error is io.EOF if the connection ended before the first byte, an *Error with
// the status to answer if the request is refused, else that of the source:
// io.ErrUnexpectedEOF within a head, or its own, as a deadline's; Buffered then tells
// whether part of a request had come. Fields of q that were parsed are set beside an
// *Error, for the access log.
//
// One empty line before the request line is passed over (RFC 9112, 2.2). HTTP/0.9,
// CONNECT and TRACE are refused, as by nginx.
func (r *Reader) ReadRequest(q *Request, lim *Limits) error {
	q.Reset()
	if err := r.begin(); err != nil {
		return err
	}
	line, reason, err := r.readLine(lim)
	if err == nil && reason == 0 {
		reason, err = r.readRequest(q, lim, line)
	}
	if err != nil {
		if err == io.EOF && r.Buffered() > 0 {
			err = io.ErrUnexpectedEOF
		}
		return err
	}
	r.broken = reason != 0
	return fail(false, reason)
}

// readLine waits for the first line of a request and returns the offset of its
// CRLF in the unread bytes. An empty line before it is consumed.
func (r *Reader) readLine(lim *Limits) (end int, reason Reason, err error) {
	empty, seen := 0, 0
	for {
		data := r.buf[r.r:r.w]
		if empty == 0 && len(data) >= 2 && data[0] == '\r' && data[1] == '\n' {
			empty, seen = 1, 0
			r.r += 2
			continue
		}
		if i := scanValue(data, seen); i < len(data) {
			switch {
			case data[i] == '\n':
				return 0, ReasonBareLF, nil
			case data[i] != '\r':
				return 0, ReasonRequestLine, nil
			case i+1 < len(data) && data[i+1] != '\n':
				return 0, ReasonBareCR, nil
			case i+2 > lim.MaxLine:
				return 0, ReasonTargetTooLong, nil
			case i+1 < len(data):
				return i, 0, nil
			}
			seen = i
		} else {
			seen = len(data)
		}
		if seen >= lim.MaxLine {
			return 0, ReasonTargetTooLong, nil
		}
		if err := r.more(); err != nil {
			return 0, 0, err
		}
	}
}

// readRequest reads the fields, and parses the request line that ends at end.
func (r *Reader) readRequest(q *Request, lim *Limits, end int) (Reason, error) {
	q.Line = r.buf[r.r : r.r+end : r.r+end]
	if reason := q.checkLine(q.Line); reason != 0 {
		return reason, nil
	}
	n, reason, err := r.readFields(&q.Header, end+2, lim.MaxHead, lim)
	// The head may have moved meanwhile: only now its views can be made.
	q.Line = r.buf[r.r : r.r+end : r.r+end]
	if lineReason := q.parseLine(q.Line); reason == 0 {
		reason = lineReason
	}
	if reason != 0 || err != nil {
		return reason, err
	}
	r.r += n
	r.pin = r.r
	if reason = q.interpret(); reason != 0 {
		return reason, nil
	}
	q.Body.begin(r, lim, false)
	switch {
	case q.Chunked:
		q.Body.kind = bodyChunked
	case q.ContentLength > 0:
		q.Body.kind, q.Body.left = bodyLength, q.ContentLength
	}
	return 0, nil
}

// checkLine refuses a request line early, before its fields are waited for.
func (q *Request) checkLine(line []byte) Reason {
	sp := 0
	for sp < len(line) && methodByte(line[sp]) {
		sp++
	}
	if sp == 0 || sp > maxMethod || sp == len(line) || line[sp] != ' ' {
		return ReasonMethod
	}
	q.Method = MethodOf(line[:sp])
	end := len(line) - len(" HTTP/1.1")
	if end <= sp {
		return ReasonRequestLine // HTTP/0.9, or no target
	}
	target, version := line[sp+1:end], line[end+1:]
	if line[end] != ' ' || string(version[:5]) != "HTTP/" || version[6] != '.' || !digit(version[5]) || !digit(version[7]) {
		return ReasonRequestLine
	}
	if len(target) == 0 || !validTarget(target) {
		return ReasonTarget
	}
	switch {
	case version[5] != '1' || version[7] > '1':
		return ReasonVersion
	case q.Method == MethodConnect || q.Method == MethodTrace:
		return ReasonMethodRefused
	}
	q.Minor = version[7] - '0'
	return 0
}

func digit(c byte) bool { return '0' <= c && c <= '9' }

// parseLine makes the views of a request line that checkLine took.
func (q *Request) parseLine(line []byte) Reason {
	const version = len(" HTTP/1.1")
	sp := 0
	for line[sp] != ' ' {
		sp++
	}
	q.MethodName = line[:sp:sp]
	return q.setTarget(line[sp+1 : len(line)-version : len(line)-version])
}

// interpret draws the conclusions from the fields.
func (q *Request) interpret() Reason {
	h := &q.Header
	if r := q.interpretHost(); r != 0 {
		return r
	}
	// nginx refuses these when repeated: the gateway would look at one, and the
	// backend at the other.
	if h.twice&(1<<Authorization|1<<Expect) != 0 {
		return ReasonDuplicateField
	}
	q.KeepAlive = q.Minor > 0
	const special = framing | 1<<Expect | 1<<TE | 1<<Upgrade
	if h.present&special == 0 {
		return 0
	}
	length, chunked, r := h.bodyFraming(q.Minor)
	if r != 0 {
		return r
	}
	q.ContentLength, q.Chunked = length, chunked
	if length < 0 && !chunked {
		q.ContentLength = 0
	}
	o := h.connectionOptions()
	q.KeepAlive = o.persistent(q.Minor)
	if q.Minor > 0 {
		q.ExpectContinue = equalFold(h.Get(Expect), "100-continue")
		q.WantsUpgrade = o&optionUpgrade != 0 && q.ContentLength == 0 && len(h.Get(Upgrade)) > 0 && !h.HasToken(Upgrade, "h2c")
		q.AcceptsTrailers = h.HasToken(TE, "trailers")
	}
	return 0
}

// interpretHost applies RFC 9112, 3.2: one valid Host field in HTTP/1.1, and a
// target in absolute form before it.
func (q *Request) interpretHost() Reason {
	h := &q.Header
	switch {
	case h.twice&(1<<Host) != 0:
		return ReasonDuplicateField
	case !h.Has(Host):
		if q.Minor > 0 {
			return ReasonNoHost
		}
		if q.Form == FormAbsolute {
			return storeReason(h.Set(Host, q.Host))
		}
		return 0
	}
	host := h.Get(Host)
	if !ValidHost(host) {
		return ReasonHost
	}
	if q.Form != FormAbsolute {
		q.Host = host
		return 0
	}
	if string(host) != string(q.Host) {
		return storeReason(h.Set(Host, q.Host))
	}
	return 0
}

// storeReason is the reason for which a field could not be set.
func storeReason(err error) Reason {
	if err != nil {
		return ReasonHost
	}
	return 0
}
