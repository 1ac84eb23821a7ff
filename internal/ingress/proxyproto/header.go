package proxyproto

import (
	"errors"
	"io"
	"net/netip"
)

// Bounds of a header in bytes.
const (
	// MaxV1 is the longest line of version 1 with its CRLF.
	MaxV1 = 107
	// Max is the longest header of version 2 that is taken, its type-length-values
	// included; nginx's bound, too.
	Max = 4096
)

// Errors of Parse and Read.
var (
	// ErrIncomplete means that the header is right so far and more bytes are needed.
	ErrIncomplete = errors.New("the PROXY protocol header is not complete")
	// ErrMissing means that the connection does not begin with a header.
	ErrMissing = errors.New("the connection has no PROXY protocol header")
	// ErrInvalid means that the header is malformed.
	ErrInvalid = errors.New("the PROXY protocol header is malformed")
	// ErrTooLong means that the header is longer than its bound.
	ErrTooLong = errors.New("the PROXY protocol header is too long")
)

// Header is what a header tells.
type Header struct {
	// Version is 1 or 2.
	Version int
	// Local tells that the header names no addresses (UNKNOWN of version 1; LOCAL,
	// an unspecified family or a UNIX socket of version 2): those of the connection
	// itself count.
	Local bool
	// Source is the client, Destination what it connected to. IPv4 addresses that are
	// mapped into IPv6 are plain IPv4 here. Both are invalid if Local.
	Source, Destination netip.AddrPort
}

// Parse parses the header that b begins with, and returns its length.
func Parse(b []byte) (Header, int, error) {
	switch {
	case len(b) == 0:
		return Header{}, 0, ErrIncomplete
	case b[0] == v1Prefix[0]:
		return parseV1(b)
	case b[0] == v2Signature[0]:
		return parseV2(b)
	}
	return Header{}, 0, ErrMissing
}

// Read reads a header from the beginning of a connection into buf, which holds at
// least Max bytes for any header of version 2 that is taken to fit. What was read
// behind the header is returned as a part of buf. If the connection ends first the
// error is io.ErrUnexpectedEOF, or io.EOF before the first byte.
func Read(r io.Reader, buf []byte) (h Header, rest []byte, err error) {
	n := 0
	for {
		h, length, err := Parse(buf[:n])
		if err == nil {
			return h, buf[length:n], nil
		}
		if err != ErrIncomplete {
			return Header{}, nil, err
		}
		if n == len(buf) {
			return Header{}, nil, ErrTooLong
		}
		m, err := io.ReadAtLeast(r, buf[n:], 1)
		if err != nil {
			if err == io.EOF && n > 0 {
				err = io.ErrUnexpectedEOF
			}
			return Header{}, nil, err
		}
		n += m
	}
}
