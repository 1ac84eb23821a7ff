package h1

import "net/http"

// ReadHTTP makes q the request that net/http or an HTTP/2 server has read, held to the
// same rules as ReadRequest: the form of method, target and host, which fields are
// dropped, and their number. q.Body stays empty: the body is r.Body's.
//
// ContentLength and Chunked say what the request's body is, as do the fields of these
// names, which suit a request of HTTP/1.1 that is written from q. q holds copies: it
// stays valid until the next Reset. The error is an *Error.
func (q *Request) ReadHTTP(r *http.Request, lim *Limits) error {
	q.Reset()
	return fail(false, q.readHTTP(r, lim))
}

func (q *Request) readHTTP(r *http.Request, lim *Limits) Reason {
	line := append(q.line[:0], r.Method...)
	line = append(append(line, ' '), r.RequestURI...)
	q.line = append(line, " HTTP/1.1"...)
	q.Line = q.line
	if len(q.line) > lim.MaxLine {
		return ReasonTargetTooLong
	}
	if reason := q.checkLine(q.line); reason != 0 {
		return reason
	}
	if reason := q.parseLine(q.line); reason != 0 {
		return reason
	}
	h := &q.Header
	if r.Host != "" && h.AddString(Host, r.Host) != nil {
		return ReasonHost
	}
	if reason := q.addHTTP(r.Header, lim); reason != 0 {
		return reason
	}
	h.DelMask(framing)
	if reason := q.interpret(); reason != 0 {
		return reason
	}
	q.KeepAlive, q.WantsUpgrade = true, false
	q.ContentLength, q.Chunked = max(r.ContentLength, -1), r.ContentLength < 0
	if q.ContentLength != 0 {
		h.SetLength(q.ContentLength)
	}
	return 0
}

// addHTTP adds the fields that a client may send.
func (q *Request) addHTTP(src http.Header, lim *Limits) Reason {
	n, size := 0, len(q.line)
	for name, values := range src {
		n += len(values)
		for _, v := range values {
			if size += len(name) + len(v) + len(": \r\n"); len(name)+len(v) > lim.MaxLine {
				return ReasonFieldTooLong
			}
		}
	}
	switch {
	case n > lim.MaxFields:
		return ReasonTooManyFields
	case size > lim.MaxHead:
		return ReasonHeadTooLarge
	}
	if q.Header.AddHTTP(src) > 0 {
		return ReasonControlByte
	}
	if !lim.PassInvalid {
		q.Header.DelFunc(func(_ ID, name, _ []byte) bool {
			_, keep, _ := oddName(name, 0, 0, lim)
			return !keep
		})
	}
	return 0
}
