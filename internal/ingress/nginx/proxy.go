package nginx

import (
	"errors"
	"fmt"
	"strings"

	"minato/internal/ingress/table"
)

func proxyAnnotations() []Annotation {
	const group = "Timeouts, bodies and buffers"
	row := func(name, values, def, example, note string) Annotation {
		return Annotation{Name: name, Group: group, Scope: ScopeLocation, Support: Honoured, Bad: BadDefault, Values: values, Default: def, Example: example, Note: note, Key: true}
	}
	needs := func(a Annotation, names ...string) Annotation {
		a.Needs = names
		return a
	}
	const size = "a size"
	return []Annotation{
		row("proxy-connect-timeout", "seconds", "5", "10", "How long a connection to a backend may take: 504."),
		row("proxy-read-timeout", "seconds", "60", "3600", "How long a backend may be silent: 504. Holds for gRPC and WebSockets too."),
		row("proxy-send-timeout", "seconds", "60", "3600", "How long a backend may take nothing."),
		row("proxy-body-size", size+"; 0 is no limit", "1m for class nginx, 0 for class minato", "8m", "A larger body is answered 413."),
		row("proxy-request-buffering", "`on` or `off`", "on for class nginx, off for class minato", "off", "on: the body is read as a whole before the backend is asked, and has a Content-Length."),
		row("client-body-buffer-size", size, "8k", "1m", "How much of a body is kept in memory."),
		row("proxy-buffering", "`on` or `off`", "off", "on", "on: the backend's answer is taken as fast as it sends."),
		row("proxy-buffers-number", "a whole number", "4", "8", "How many buffers of proxy-buffer-size an answer has."),
		row("proxy-buffer-size", size, "4k", "16k", "An answer whose header is larger is 502."),
		row("proxy-busy-buffers-size", size, "twice proxy-buffer-size", "32k", "How much may be on its way to the client while more is read."),
		row("proxy-max-temp-file-size", size+"; 0 is none", "1024m", "0", "How much of an answer may be kept beyond the buffers."),
		row("proxy-next-upstream", "a list of `error`, `timeout`, `invalid_header`, `http_500`, `http_502`, `http_503`, `http_504`, `http_403`, `http_404`, `http_429`, `non_idempotent`, or `off`", "error timeout", "error timeout http_502", "When another endpoint is tried."),
		row("proxy-next-upstream-tries", "a whole number; 0 is no limit", "3", "2", "How many endpoints are tried in all."),
		row("proxy-next-upstream-timeout", "seconds; 0 is no limit", "0", "10", "How long other endpoints are tried."),
		needs(row("proxy-cookie-domain", "`off`, or a domain and its replacement", "off", "internal.example.com example.com", "Rewrites Domain of the backend's cookies.")),
		needs(row("proxy-cookie-path", "`off`, or a path and its replacement", "off", "/app /", "Rewrites Path of the backend's cookies.")),
	}
}

func readProxy(r *reader) {
	l := &r.opts.Location
	into(r, "proxy-connect-timeout", &l.ConnectTimeout, positive(parseSeconds))
	into(r, "proxy-read-timeout", &l.ReadTimeout, positive(parseSeconds))
	into(r, "proxy-send-timeout", &l.SendTimeout, positive(parseSeconds))
	into(r, "proxy-body-size", &l.BodySize, parseSize)
	into(r, "proxy-request-buffering", &l.RequestBuffering, parseOnOff)
	into(r, "client-body-buffer-size", &l.RequestBuffer, parseSize)
	b := &l.Buffering
	into(r, "proxy-buffering", &b.Enabled, parseOnOff)
	into(r, "proxy-buffers-number", &b.Buffers, positive(parseInt))
	sized := into(r, "proxy-buffer-size", &b.HeaderSize, positive(parseSize))
	if !into(r, "proxy-busy-buffers-size", &b.Busy, parseSize) && sized {
		b.Busy = 2 * b.HeaderSize
	}
	into(r, "proxy-max-temp-file-size", &b.MaxTempFile, parseSize)
	into(r, "proxy-next-upstream", &l.Retry, func(s string) (table.Retry, error) { return parseRetry(s, l.Retry) })
	into(r, "proxy-next-upstream-tries", &l.Retry.Tries, parseInt)
	into(r, "proxy-next-upstream-timeout", &l.Retry.Total, parseSeconds)
	into(r, "proxy-cookie-domain", &l.CookieDomain, parseReplacement)
	into(r, "proxy-cookie-path", &l.CookiePath, parseReplacement)
}

// parseRetry parses the conditions of proxy_next_upstream; tries and time stay as they are in base.
func parseRetry(s string, base table.Retry) (table.Retry, error) {
	r := table.Retry{Tries: base.Tries, Total: base.Total}
	fields := strings.Fields(s)
	for _, f := range fields {
		switch f {
		case "error":
			r.Error = true
		case "timeout":
			r.Timeout = true
		case "invalid_header":
			r.InvalidHeader = true
		case "non_idempotent":
			r.NonIdempotent = true
		case "http_500", "http_502", "http_503", "http_504", "http_403", "http_404", "http_429":
			code, err := parseInt(f[len("http_"):])
			if err != nil {
				return r, err
			}
			r.Statuses = append(r.Statuses, code)
		case "off":
			if len(fields) == 1 {
				return r, nil
			}
			return r, errors.New("off stands alone")
		default:
			return r, fmt.Errorf("%q is not a condition of proxy_next_upstream", f)
		}
	}
	return r, nil
}

// parseReplacement parses "off" or "from to".
func parseReplacement(s string) (*table.Replacement, error) {
	if s == "off" {
		return &table.Replacement{Off: true}, nil
	}
	fields := strings.Fields(s)
	if len(fields) != 2 {
		return nil, errors.New("it is not off or two texts with a space between them")
	}
	rep, allowed, err := replaceFrom(fields[0])
	if err != nil {
		return nil, err
	}
	return rep, replaceBy(rep, fields[1], allowed)
}
