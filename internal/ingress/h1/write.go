package h1

import (
	"net/http"
	"strconv"
)

// AppendTarget appends a target; bytes that it cannot have are percent-encoded. Raw
// bytes beyond ASCII, which nginx passes as they are, mean the same when encoded, and
// no backend can mistake them for white space.
func AppendTarget(dst, target []byte) []byte {
	if len(target) == 0 {
		return append(dst, '/')
	}
	const hex = "0123456789ABCDEF"
	clean := 0
	for i, c := range target {
		if class := targetClass[c]; class != targetEnd && class != targetHigh {
			continue
		}
		dst = append(append(dst, target[clean:i]...), '%', hex[c>>4], hex[c&15])
		clean = i + 1
	}
	return append(dst, target[clean:]...)
}

// AppendResponseHead appends the head of a response in HTTP/1.1. An empty phrase, or
// one with a control byte, is replaced by the usual one. A status outside of 100 to
// 999 is written as 500.
func AppendResponseHead(dst []byte, status int, phrase []byte, h *Header) []byte {
	dst = AppendStatusLine(dst, status, phrase)
	return append(h.AppendTo(dst), "\r\n"...)
}

// AppendStatusLine appends a status line, as AppendResponseHead.
func AppendStatusLine(dst []byte, status int, phrase []byte) []byte {
	if status == 200 && (len(phrase) == 0 || string(phrase) == "OK") {
		return append(dst, "HTTP/1.1 200 OK\r\n"...)
	}
	if status < 100 || status > 999 {
		status, phrase = 500, nil
	}
	dst = append(dst, "HTTP/1.1 "...)
	dst = append(strconv.AppendInt(dst, int64(status), 10), ' ')
	if len(phrase) == 0 || scanValue(phrase, 0) < len(phrase) {
		dst = append(dst, http.StatusText(status)...)
	} else {
		dst = append(dst, phrase...)
	}
	return append(dst, "\r\n"...)
}

// AppendTo appends the fields as lines, without an empty line. Neighbours that stand
// as they were received are copied at once.
func (h *Header) AppendTo(dst []byte) []byte {
	for i := 0; i < len(h.fields); {
		f := &h.fields[i]
		i++
		if f.flags&wholeLine == 0 {
			dst = append(append(dst, h.nameOf(f)...), ": "...)
			dst = append(append(dst, h.valueOf(f)...), "\r\n"...)
			continue
		}
		start, end := f.name, f.value+f.valueLen+2
		for i < len(h.fields) {
			next := &h.fields[i]
			if next.flags&wholeLine == 0 || next.name != end {
				break
			}
			end = next.value + next.valueLen + 2
			i++
		}
		dst = append(dst, h.text[start:end]...)
	}
	return dst
}

// AppendChunkHeader appends the line that begins a chunk of n bytes, n > 0. Behind
// the data comes a CRLF.
func AppendChunkHeader(dst []byte, n int) []byte {
	return append(strconv.AppendUint(dst, uint64(n), 16), "\r\n"...)
}

// AppendLastChunk appends the end of a chunked body with its trailer section; trailer
// may be nil.
func AppendLastChunk(dst []byte, trailer *Header) []byte {
	dst = append(dst, "0\r\n"...)
	if trailer != nil {
		dst = trailer.AppendTo(dst)
	}
	return append(dst, "\r\n"...)
}
