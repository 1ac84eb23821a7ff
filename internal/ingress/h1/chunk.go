package h1

import "io"

const (
	// maxChunkLine bounds the line of a chunk's size with its extensions.
	maxChunkLine = 256
	// maxExtra bounds the bytes of extensions of one body, so that a body cannot
	// consist of them.
	maxExtra = 16 << 10
	// maxChunkDigits bounds a chunk's size: below 2^60.
	maxChunkDigits = 15
)

// chunkStep goes on to the next chunk's data, or to the end of the body (RFC 9112,
// 7.1).
func (b *Body) chunkStep() error {
	reason, err := Reason(0), error(nil)
	switch b.state {
	case chunkEnd:
		reason, err = b.readChunkEnd()
	case chunkSize:
		reason, err = b.readChunkSize()
	case chunkTrailer:
		reason, err = b.readTrailer()
	}
	if reason != 0 {
		b.err = fail(b.response, reason)
		return b.err
	}
	if err != nil {
		return b.ended(err)
	}
	return b.err
}

// readChunkEnd reads the CRLF behind a chunk's data.
func (b *Body) readChunkEnd() (Reason, error) {
	for b.r.Buffered() < 2 {
		if err := b.r.moreBody(0); err != nil {
			return 0, err
		}
	}
	if p := b.r.Bytes(); p[0] != '\r' || p[1] != '\n' {
		return ReasonChunk, nil
	}
	b.r.r += 2
	b.state = chunkSize
	return 0, nil
}

// readChunkSize reads the line of a chunk's size.
func (b *Body) readChunkSize() (Reason, error) {
	for {
		size, n, extra, reason := parseChunkSize(b.r.Bytes())
		if reason != 0 {
			return reason, nil
		}
		if n > 0 {
			if b.extra += extra; b.extra > maxExtra {
				return ReasonChunkExtension, nil
			}
			b.r.r += n
			b.left, b.state = size, chunkData
			if size == 0 {
				b.state = chunkTrailer
			}
			return 0, nil
		}
		if b.r.Buffered() >= maxChunkLine {
			return ReasonChunkExtension, nil
		}
		if err := b.r.moreBody(0); err != nil {
			return 0, err
		}
	}
}

// parseChunkSize parses the line of a chunk's size and returns the size, the line's
// length (0 if it isn't whole) and how much of that are extensions, which are
// ignored (RFC 9112, 7.1.1) but must hold no control byte.
func parseChunkSize(p []byte) (size int64, n, extra int, r Reason) {
	i := 0
	for ; i < len(p); i++ {
		d := unhex(p[i])
		if d < 0 {
			break
		}
		if i == maxChunkDigits {
			return 0, 0, 0, ReasonChunk
		}
		size = size<<4 | int64(d)
	}
	if i == len(p) {
		return 0, 0, 0, 0
	}
	if i == 0 {
		return 0, 0, 0, ReasonChunk
	}
	end := i
	if p[i] != '\r' {
		// White space is allowed only before the semicolon of an extension.
		for end < len(p) && (p[end] == ' ' || p[end] == '\t') {
			end++
		}
		if end < len(p) && p[end] != ';' {
			return 0, 0, 0, ReasonChunk
		}
		if end = scanValue(p, end); end > maxChunkLine {
			return 0, 0, 0, ReasonChunkExtension
		}
	}
	switch {
	case end == len(p):
		return 0, 0, 0, 0
	case p[end] != '\r':
		return 0, 0, 0, ReasonChunk
	case end+1 == len(p):
		return 0, 0, 0, 0
	case p[end+1] != '\n':
		return 0, 0, 0, ReasonChunk
	}
	return size, end + 2, end - i, 0
}

// unknownOnly keeps the fields that may be trailers.
func unknownOnly(id ID, _, _ []byte) bool { return id != Unknown }

// readTrailer reads the trailer section, and with it the body's end.
func (b *Body) readTrailer() (Reason, error) {
	b.trailer.Reset()
	n, reason, err := b.r.readFields(&b.trailer, 0, b.limits.MaxTrailer, b.limits)
	if reason != 0 || err != nil {
		return reason, err
	}
	b.r.r += n
	if len(b.trailer.fields) > 0 {
		b.r.pin = b.r.r
		b.trailer.DelFunc(unknownOnly)
	}
	b.err = io.EOF
	return 0, nil
}
