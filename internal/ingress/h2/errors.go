package h2

import (
	"errors"
	"fmt"

	"golang.org/x/net/http2"
)

// Errors of streams.
var (
	// ErrClosed is that of a stream whose connection has ended.
	ErrClosed = errors.New("the connection has ended")
	// ErrReset is that of a stream that the other side has reset.
	ErrReset = errors.New("the other side has reset the stream")
	// ErrUnprocessed is that of a request that the other side has not looked at, so that it can be sent again whatever its
	// method is (RFC 9113, 8.7).
	ErrUnprocessed = errors.New("the other side has not processed the request")
	// ErrMalformed is that of a stream whose message breaks the rules (RFC 9113, 8.1.1).
	ErrMalformed = errors.New("the message of the stream is malformed")
	// ErrTimeout is that of a stream on which nothing has happened for too long. It is a net.Error of a timeout.
	ErrTimeout error = timeoutError{}
	// ErrStopped is that of a body whose reading was ended by StopReading.
	ErrStopped = errors.New("the body is not read any more")
	// ErrHeader is that of a header that cannot be sent.
	ErrHeader = errors.New("the header cannot be sent")
)

type timeoutError struct{}

func (timeoutError) Error() string   { return "nothing has happened on the stream for too long" }
func (timeoutError) Timeout() bool   { return true }
func (timeoutError) Temporary() bool { return true }

// connError ends a connection, with a GOAWAY that says why.
type connError struct {
	code   http2.ErrCode
	reason string
}

func (e connError) Error() string {
	return fmt.Sprintf("the connection breaks the rules of HTTP/2: %s (%s)", e.reason, e.code)
}

// errDone ends a connection that has nothing more to do.
var errDone = errors.New("the connection has done all that it had to")
