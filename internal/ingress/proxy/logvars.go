package proxy

import (
	"strconv"
	"time"

	"minato/internal/ingress/exchange"
	"minato/internal/ingress/table"
)

// appendVar appends a variable whose value needs no escaping; it reports false for any other, which Lookup knows.
func (l *AccessLog) appendVar(dst []byte, r *Record, p *table.Part) ([]byte, bool) {
	switch p.Var {
	case table.VarRemoteAddr:
		return r.Client.Addr().AppendTo(dst), true
	case table.VarTimeLocal:
		l.zone.at(r.Start.Add(r.Duration))
		return append(dst, l.zone.local...), true
	case table.VarTimeISO8601:
		l.zone.at(r.Start.Add(r.Duration))
		return append(dst, l.zone.iso...), true
	case table.VarStatus:
		return appendInt(dst, int64(r.Status)), true
	case table.VarBodyBytesSent:
		return appendInt(dst, r.SentBody), true
	case table.VarBytesSent:
		return appendInt(dst, r.Sent), true
	case table.VarRequestLength:
		return appendInt(dst, requestLength(r.Exchange)), true
	case table.VarRequestTime:
		return appendSeconds(dst, r.Duration), true
	case table.VarConnection:
		return strconv.AppendUint(dst, r.Connection, 10), true
	case table.VarConnectionRequests:
		return appendInt(dst, int64(r.ConnectionRequests)), true
	case table.VarPID:
		return appendInt(dst, int64(l.pid)), true
	case table.VarPipe:
		return append(dst, '.'), true
	case table.VarUpstreamName:
		if r.Route == nil || r.Route.Backend == nil {
			return append(dst, "upstream-default-backend"...), true
		}
		return appendUpstream(dst, r.Route.Backend), true
	case table.VarAlternativeUpstreamName:
		if r.Canary == nil || r.Canary.Upstream == nil {
			return dst, true
		}
		return appendUpstream(dst, r.Canary.Upstream), true
	}
	return appendAttempts(dst, r, p.Var)
}

func appendUpstream(dst []byte, u *table.Upstream) []byte {
	dst = append(append(dst, u.Namespace...), '-')
	dst = append(append(dst, u.Service...), '-')
	return append(dst, u.Port...)
}

// appendAttempts appends what there is to say of each endpoint that was asked, separated as nginx does it; and the
// variables that are texts.
func appendAttempts(dst []byte, r *Record, v table.Var) ([]byte, bool) {
	switch v {
	case table.VarUpstreamAddr, table.VarUpstreamStatus, table.VarUpstreamConnectTime, table.VarUpstreamHeaderTime,
		table.VarUpstreamResponseTime, table.VarUpstreamResponseLength:
	default:
		return dst, false
	}
	for i := range r.Attempts {
		if i > 0 {
			dst = append(dst, ", "...)
		}
		dst = appendAttempt(dst, &r.Attempts[i], v)
	}
	return dst, true
}

func appendAttempt(dst []byte, a *exchange.Attempt, v table.Var) []byte {
	switch v {
	case table.VarUpstreamAddr:
		return a.Endpoint.AppendTo(dst)
	case table.VarUpstreamStatus:
		return appendInt(dst, int64(a.Status))
	case table.VarUpstreamConnectTime:
		return appendSeconds(dst, a.Connect)
	case table.VarUpstreamHeaderTime:
		if a.Header == 0 {
			return append(dst, '-')
		}
		return appendSeconds(dst, a.Header)
	case table.VarUpstreamResponseTime:
		return appendSeconds(dst, a.Duration)
	default:
		return appendInt(dst, a.Bytes)
	}
}

// appendSeconds appends a duration in seconds with three digits behind the point.
func appendSeconds(dst []byte, d time.Duration) []byte {
	ms := d.Milliseconds()
	dst = appendInt(dst, ms/1000)
	ms %= 1000
	return append(dst, '.', byte('0'+ms/100), byte('0'+ms/10%10), byte('0'+ms%10))
}

// requestLength is the length of the request with its line and header.
func requestLength(x *exchange.Exchange) int64 {
	n := int64(len(x.Method)+len(x.Target)+len(" HTTP/1.1\r\n")+1+2) + x.Received
	if x.Header != nil {
		for i := range x.Header.Len() {
			name, value := x.Header.Field(i)
			n += int64(len(name) + len(value) + 4)
		}
	}
	return n
}

// Lookup implements table.Lookup with the variables that are known when the request has been answered.
func (r *Record) Lookup(v table.Var, name string) string {
	switch v {
	case table.VarSentHeader, table.VarUpstreamHeader:
		if r.Response == nil || v == table.VarUpstreamHeader && !r.FromBackend {
			return ""
		}
		return str(r.Response.GetName(name))
	case table.VarLocationPath:
		if r.Route == nil {
			return ""
		}
		return r.Route.Path
	}
	return r.Exchange.Lookup(v, name)
}
