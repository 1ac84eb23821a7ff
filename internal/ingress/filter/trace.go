package filter

import (
	"encoding/hex"

	"minato/internal/ingress/exchange"
	"minato/internal/ingress/h1"
	"minato/internal/ingress/table"
)

// emptyTraceparent is a traceparent of version 00 for IDs to be written into: version, trace, parent and flags, of which the
// one says that the trace is sampled.
const emptyTraceparent = "00-00000000000000000000000000000000-0000000000000000-01"

const traceparentSize = len(emptyTraceparent)

// trace gives the request to the backend a context of a trace (enable-opentelemetry; W3C Trace Context). A client's own is
// gone on with under a new ID of a span, if it is believed (opentelemetry-trust-incoming-span; it is by default), else it
// is replaced by that of a new trace, which is marked as sampled. Spans are not exported.
//
// Without enable-opentelemetry the client's context passes as it is.
func (a *after) trace(x *exchange.Exchange, loc *table.Location) {
	if loc.Tracing == nil || !*loc.Tracing {
		return
	}
	h, s := &x.Forward, a.state(x)
	s.buf = append(s.buf[:0], emptyTraceparent...)
	b := s.buf
	in := h.Get(h1.Traceparent)
	if trusts := loc.TracingTrust == nil || *loc.TracingTrust; trusts && h.Count(h1.Traceparent) == 1 && validTraceparent(in) {
		copy(b, in[:traceparentSize])
		b[0], b[1] = '0', '0' // of the fields of later versions nothing is known: they are not passed
	} else {
		h.DelName("Tracestate") // it goes with the context that is replaced
		a.newID(b[3:19])
		a.newID(b[19:35])
	}
	a.newID(b[36:52])
	_ = h.Set(h1.Traceparent, b) // it has only digits and hyphens
}

// newID writes sixteen hexadecimal digits, not all of which are zeros.
func (a *after) newID(b []byte) {
	v := a.cfg.Random()
	if v == 0 {
		v = 1
	}
	appendHex64(b[:0], v)
}

// validTraceparent tells whether a context can be gone on with (W3C Trace Context, 3.2.2 and 4.3): of version 00 it has
// the four fields and nothing else, of a later one it may have more behind them.
func validTraceparent(v []byte) bool {
	if len(v) < traceparentSize || v[2] != '-' || v[35] != '-' || v[52] != '-' {
		return false
	}
	var room [16]byte
	for _, field := range [...][2]int{{0, 2}, {3, 35}, {36, 52}, {53, 55}} {
		digits := v[field[0]:field[1]]
		n, err := hex.Decode(room[:], digits)
		if err != nil || !lower(digits) {
			return false
		}
		if n >= 8 && zero(room[:n]) {
			return false
		}
	}
	switch version := string(v[:2]); {
	case version == "ff":
		return false
	case version == "00":
		return len(v) == traceparentSize
	default:
		return len(v) == traceparentSize || v[traceparentSize] == '-'
	}
}

func lower(b []byte) bool {
	for _, c := range b {
		if 'A' <= c && c <= 'Z' {
			return false
		}
	}
	return true
}

func zero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
