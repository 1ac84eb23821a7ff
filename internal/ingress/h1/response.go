package h1

import "io"

// Response is a response's head and the way to its body. The zero value is ready for
// ReadResponse, which may be called again and again on the same one.
type Response struct {
	// Status is the code, 100 to 999.
	Status int
	// Phrase is the reason phrase as received; it may be empty.
	Phrase []byte
	// Minor is 1 in HTTP/1.1 and 0 in HTTP/1.0.
	Minor uint8
	// Header are the fields.
	Header Header
	// ContentLength is what the field of this name says, -1 without one; of an answer
	// to HEAD and of 304 it is not the length of the body, which is empty.
	ContentLength int64
	Chunked       bool
	// UntilClose tells that the body ends with the connection.
	UntilClose bool
	// KeepAlive tells that the connection can be used again once the body is Done and
	// nothing is Buffered: whatever came behind a response was not asked for.
	KeepAlive bool
	// Body reads the body.
	Body Body
}

// Reset empties the response.
func (p *Response) Reset() {
	p.Header.Reset()
	p.Body.reset()
	p.Status, p.Phrase, p.Minor = 0, nil, 0
	p.ContentLength, p.Chunked, p.UntilClose, p.KeepAlive = -1, false, false, false
}

// Interim tells that another response follows (1xx but 101; RFC 9110, 15.2).
func (p *Response) Interim() bool { return p.Status < 200 && p.Status != 101 }

// ReadResponse reads the head of the next response to a request of the given method
// into p, which it resets first; the views of the message before become invalid.
// After an Interim one it is called again; the caller bounds how often. After 101 the
// connection belongs to another protocol, and what is Buffered is the first of it; to a
// request that asked for none 101 is no answer.
//
// The error is io.EOF if the connection ended before the first byte (the request may
// be sent again), an *Error of status 502 if the response is refused, else that of
// the source: io.ErrUnexpectedEOF within a head, or its own.
//
// Bare LF, and what else is refused of clients, is refused of backends.
func (r *Reader) ReadResponse(p *Response, method Method, lim *Limits) error {
	p.Reset()
	if err := r.begin(); err != nil {
		return err
	}
	reason, err := r.readResponse(p, method, lim)
	if err != nil {
		if err == io.EOF && r.Buffered() > 0 {
			err = io.ErrUnexpectedEOF
		}
		return err
	}
	r.broken = reason != 0
	return fail(true, reason)
}

func (r *Reader) readResponse(p *Response, method Method, lim *Limits) (Reason, error) {
	end, reason, err := r.readStatusLine(lim)
	if reason != 0 || err != nil {
		return reason, err
	}
	n, reason, err := r.readFields(&p.Header, end+2, lim.MaxHead, lim)
	if reason != 0 || err != nil {
		return reason, err
	}
	if reason = p.parseLine(r.buf[r.r : r.r+end : r.r+end]); reason != 0 {
		return reason, nil
	}
	r.r += n
	r.pin = r.r
	p.Body.begin(r, lim, true)
	return p.interpret(method), nil
}

// readStatusLine waits for the first line of a response and returns the offset of
// its CRLF in the unread bytes.
func (r *Reader) readStatusLine(lim *Limits) (end int, reason Reason, err error) {
	for seen := 0; ; {
		data := r.buf[r.r:r.w]
		if n := min(len(data), len("HTTP/1.")); string(data[:n]) != "HTTP/1."[:n] {
			return 0, ReasonStatusLine, nil
		}
		seen = scanValue(data, seen)
		switch {
		case seen == len(data) || seen+1 == len(data) && data[seen] == '\r':
		case data[seen] == '\n':
			return 0, ReasonBareLF, nil
		case data[seen] != '\r':
			return 0, ReasonStatusLine, nil
		case data[seen+1] != '\n':
			return 0, ReasonBareCR, nil
		case seen+2 > lim.MaxLine:
			return 0, ReasonHeadTooLarge, nil
		default:
			return seen, 0, nil
		}
		if seen >= lim.MaxLine {
			return 0, ReasonHeadTooLarge, nil
		}
		if err := r.more(); err != nil {
			return 0, 0, err
		}
	}
}

// parseLine parses a status line (RFC 9112, 4). As nginx does it takes one without
// the space before an empty phrase.
func (p *Response) parseLine(line []byte) Reason {
	const min = len("HTTP/1.1 200")
	if len(line) < min || string(line[:7]) != "HTTP/1." || line[8] != ' ' {
		return ReasonStatusLine
	}
	if line[7] != '0' && line[7] != '1' {
		return ReasonVersion
	}
	for _, c := range line[9:12] {
		if !digit(c) {
			return ReasonStatusLine
		}
		p.Status = 10*p.Status + int(c-'0')
	}
	if p.Status < 100 || len(line) > min && line[min] != ' ' {
		return ReasonStatusLine
	}
	if len(line) > min {
		p.Phrase = line[min+1:]
	}
	p.Minor = line[7] - '0'
	return 0
}

// interpret decides where the body ends (RFC 9112, 6.3) and whether the connection
// can be kept.
func (p *Response) interpret(method Method) Reason {
	length, chunked, reason := p.Header.bodyFraming(p.Minor)
	if reason != 0 {
		return reason
	}
	p.ContentLength, p.Chunked = length, chunked
	p.KeepAlive = p.Header.connectionOptions().persistent(p.Minor)
	switch {
	case p.Status < 200:
		if length > 0 || chunked {
			return ReasonInterim
		}
	case p.Status == 204:
		// A body, which is not allowed, would be taken for the next response.
		p.KeepAlive = p.KeepAlive && length <= 0 && !chunked
	case method == MethodHead || p.Status == 304:
	case chunked:
		p.Body.kind = bodyChunked
	case length > 0:
		p.Body.kind, p.Body.left = bodyLength, length
	case length < 0:
		p.Body.kind, p.UntilClose, p.KeepAlive = bodyClose, true, false
	}
	return 0
}
