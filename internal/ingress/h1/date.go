package h1

import (
	"net/http"
	"sync/atomic"
	"time"
)

// Clock keeps the text of the Date field for the second that it was last asked for.
// The zero value is ready for use, by any number of goroutines. It reads no clock:
// the caller names the time.
type Clock struct {
	last atomic.Pointer[second]
}

type second struct {
	unix int64
	text [len(http.TimeFormat)]byte
}

// AppendDate appends now as the Date field has it (RFC 9110, 5.6.7).
func (c *Clock) AppendDate(dst []byte, now time.Time) []byte {
	unix := now.Unix()
	s := c.last.Load()
	if s == nil || s.unix != unix {
		s = &second{unix: unix}
		now.UTC().AppendFormat(s.text[:0], http.TimeFormat)
		c.last.Store(s)
	}
	return append(dst, s.text[:]...)
}
