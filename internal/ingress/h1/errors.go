package h1

import "errors"

// Errors of the functions that write or change a Header.
var (
	// ErrInvalidName means that a field's name is not a token of RFC 9110, 5.6.2.
	ErrInvalidName = errors.New("the field's name is not a token")
	// ErrInvalidValue means that a field's value holds CR, LF, NUL or another
	// control byte that RFC 9110, 5.5 does not allow.
	ErrInvalidValue = errors.New("the field's value holds a control byte")
	// ErrInvalidMethod means that a method is not a token.
	ErrInvalidMethod = errors.New("the method is not a token")
	// ErrTooManyFields means that a Header would hold more than its bound.
	ErrTooManyFields = errors.New("the header holds too many fields")
)

// ErrBroken means that nothing further can be read from a connection: its last message
// was refused, or its body was not read to the end, and bytes of it would be taken for
// the next message.
var ErrBroken = errors.New("the connection's last message was refused or not read to its end")

// Reason says what is wrong with a message that was received.
type Reason uint8

// Reasons for which a message is refused.
const (
	ReasonNone Reason = iota
	ReasonRequestLine
	ReasonMethod
	ReasonMethodRefused
	ReasonTarget
	ReasonTargetTooLong
	ReasonVersion
	ReasonStatusLine
	ReasonBareCR
	ReasonBareLF
	ReasonControlByte
	ReasonFolded
	ReasonFieldName
	ReasonFieldTooLong
	ReasonHeadTooLarge
	ReasonTooManyFields
	ReasonHost
	ReasonNoHost
	ReasonDuplicateField
	ReasonContentLength
	ReasonLengthAndCoding
	ReasonCoding
	ReasonCodingInOldVersion
	ReasonChunk
	ReasonChunkExtension
	ReasonTrailer
	ReasonBodyTooLarge
	ReasonTruncated
	ReasonInterim
	reasonCount
)

// reasonTexts are the sentences of Error.Error.
var reasonTexts = [reasonCount]string{
	ReasonNone:               "no error",
	ReasonRequestLine:        "the request line is malformed",
	ReasonMethod:             "the method is malformed",
	ReasonMethodRefused:      "the method is not served by a gateway",
	ReasonTarget:             "the request target is malformed",
	ReasonTargetTooLong:      "the request line is too long",
	ReasonVersion:            "the version of HTTP is not supported",
	ReasonStatusLine:         "the status line is malformed",
	ReasonBareCR:             "a line holds CR without LF",
	ReasonBareLF:             "a line ends in LF without CR",
	ReasonControlByte:        "a field holds a control byte",
	ReasonFolded:             "a field is folded over several lines",
	ReasonFieldName:          "a field's name is malformed",
	ReasonFieldTooLong:       "a field is too long",
	ReasonHeadTooLarge:       "the header is too large",
	ReasonTooManyFields:      "the header has too many fields",
	ReasonHost:               "the host is malformed",
	ReasonNoHost:             "the request has no Host field",
	ReasonDuplicateField:     "a field that must be unique is repeated",
	ReasonContentLength:      "Content-Length is malformed",
	ReasonLengthAndCoding:    "the message has both Content-Length and Transfer-Encoding",
	ReasonCoding:             "the transfer coding is not supported",
	ReasonCodingInOldVersion: "the message has Transfer-Encoding in HTTP/1.0",
	ReasonChunk:              "a chunk is malformed",
	ReasonChunkExtension:     "the chunk extensions are too long",
	ReasonTrailer:            "the trailer section is malformed",
	ReasonBodyTooLarge:       "the body is too large",
	ReasonTruncated:          "the connection ended within the message",
	ReasonInterim:            "an interim response has a body",
}

// String returns the reason as a sentence without a full stop.
func (r Reason) String() string {
	if r >= reasonCount {
		return "unknown reason"
	}
	return reasonTexts[r]
}

// requestStatuses are the statuses that nginx answers with; 400 where none is named.
var requestStatuses = [reasonCount]uint16{
	ReasonMethodRefused: 405,
	ReasonTargetTooLong: 414,
	ReasonVersion:       505,
	ReasonCoding:        501,
	ReasonBodyTooLarge:  413,
}

// Error is a message that was refused. The connection it came from cannot be used
// any further: where the next message begins is not known.
type Error struct {
	// Reason says what is wrong.
	Reason Reason
	// Status is what the client is to be answered with: 400, 405, 413, 414, 501 or
	// 505 for a client's request, 502 for a backend's response.
	Status int
}

// Error returns the reason.
func (e *Error) Error() string { return e.Reason.String() }

// fail returns the error of a message of the given side, or nil without a reason.
func fail(response bool, r Reason) error {
	switch {
	case r == ReasonNone:
		return nil
	case response:
		return &Error{Reason: r, Status: 502}
	case requestStatuses[r] != 0:
		return &Error{Reason: r, Status: int(requestStatuses[r])}
	default:
		return &Error{Reason: r, Status: 400}
	}
}
