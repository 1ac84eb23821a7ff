package h1

// defaultRequestLimits are RequestLimits of 1k and "4 8k".
func defaultRequestLimits() Limits { return RequestLimits(1<<10, 4, 8<<10) }

// appendRequestHead appends the head of a request in HTTP/1.1, as a proxy puts it together.
func appendRequestHead(dst, method, target []byte, h *Header) ([]byte, error) {
	if !validToken(method) {
		return dst, ErrInvalidMethod
	}
	dst = append(append(dst, method...), ' ')
	dst = AppendTarget(dst, target)
	dst = append(dst, " HTTP/1.1\r\n"...)
	return append(h.AppendTo(dst), "\r\n"...), nil
}

// appendChunk appends a whole chunk, or nothing without data.
func appendChunk(dst, data []byte) []byte {
	if len(data) == 0 {
		return dst
	}
	dst = AppendChunkHeader(dst, len(data))
	return append(append(dst, data...), "\r\n"...)
}
