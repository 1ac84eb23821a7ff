package h2

import (
	"encoding/binary"

	"golang.org/x/net/http2"
)

// frame is the header of a frame (RFC 9113, 4.1).
type frame struct {
	length int
	kind   http2.FrameType
	flags  http2.Flags
	stream uint32
}

// parseFrame parses the first 9 bytes of b.
func parseFrame(b []byte) frame {
	return frame{
		length: int(b[0])<<16 | int(b[1])<<8 | int(b[2]), kind: http2.FrameType(b[3]), flags: http2.Flags(b[4]),
		stream: binary.BigEndian.Uint32(b[5:]) & (1<<31 - 1),
	}
}

// unpad cuts the padding off the payload of DATA and HEADERS.
func (f frame) unpad(p []byte) ([]byte, error) {
	if f.flags&http2.FlagDataPadded == 0 {
		return p, nil
	}
	if len(p) == 0 {
		return nil, connError{http2.ErrCodeFrameSize, "a padded frame without a length of its padding"}
	}
	pad := int(p[0])
	p = p[1:]
	if pad > len(p) {
		return nil, connError{http2.ErrCodeProtocol, "a frame whose padding is longer than itself"}
	}
	return p[:len(p)-pad], nil
}

// unprioritize cuts the priority off the payload of HEADERS, and tells whether the stream depends on itself.
func (f frame) unprioritize(p []byte) (rest []byte, itself bool, err error) {
	if f.flags&http2.FlagHeadersPriority == 0 {
		return p, false, nil
	}
	if len(p) < 5 {
		return nil, false, connError{http2.ErrCodeFrameSize, "a HEADERS frame without the priority that it announces"}
	}
	return p[5:], binary.BigEndian.Uint32(p)&(1<<31-1) == f.stream, nil
}

func appendFrame(dst []byte, length int, kind http2.FrameType, flags http2.Flags, stream uint32) []byte {
	return append(dst, byte(length>>16), byte(length>>8), byte(length), byte(kind), byte(flags),
		byte(stream>>24), byte(stream>>16), byte(stream>>8), byte(stream))
}

func appendReset(dst []byte, stream uint32, code http2.ErrCode) []byte {
	return binary.BigEndian.AppendUint32(appendFrame(dst, 4, http2.FrameRSTStream, 0, stream), uint32(code))
}

func appendWindow(dst []byte, stream uint32, n int64) []byte {
	return binary.BigEndian.AppendUint32(appendFrame(dst, 4, http2.FrameWindowUpdate, 0, stream), uint32(n))
}

func appendGoAway(dst []byte, last uint32, code http2.ErrCode) []byte {
	dst = appendFrame(dst, 8, http2.FrameGoAway, 0, 0)
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(dst, last), uint32(code))
}

func appendPing(dst []byte, flags http2.Flags, data [8]byte) []byte {
	return append(appendFrame(dst, 8, http2.FramePing, flags, 0), data[:]...)
}

func appendSettings(dst []byte, settings ...http2.Setting) []byte {
	dst = appendFrame(dst, 6*len(settings), http2.FrameSettings, 0, 0)
	for _, s := range settings {
		dst = binary.BigEndian.AppendUint16(dst, uint16(s.ID))
		dst = binary.BigEndian.AppendUint32(dst, s.Val)
	}
	return dst
}

// appendHeaders appends a header block as HEADERS and, where it is larger than the other side takes at once, CONTINUATION.
func appendHeaders(dst []byte, stream uint32, block []byte, end bool, most int) []byte {
	kind, flags := http2.FrameHeaders, http2.Flags(0)
	if end {
		flags = http2.FlagHeadersEndStream
	}
	for {
		n := min(len(block), most)
		if n == len(block) {
			flags |= http2.FlagHeadersEndHeaders
		}
		dst = append(appendFrame(dst, n, kind, flags, stream), block[:n]...)
		if block = block[n:]; len(block) == 0 {
			return dst
		}
		kind, flags = http2.FrameContinuation, 0
	}
}
