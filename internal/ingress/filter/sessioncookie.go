package filter

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"minato/internal/ingress/exchange"
	"minato/internal/ingress/h1"
)

// setSession adds the session cookie to the answer.
func (s *afterState) setSession(x *exchange.Exchange, now time.Time) {
	s.buf = s.session.appendCookie(s.buf[:0], x, now)
	// What cannot be a field's value sets no cookie; the parts of it are checked when the annotations are read.
	_ = x.Response.Add(h1.SetCookie, s.buf)
}

// appendCookie appends the value of Set-Cookie (session-cookie-*), its attributes in ingress-nginx's order.
func (s *session) appendCookie(b []byte, x *exchange.Exchange, now time.Time) []byte {
	o := s.option
	b = append(append(append(append(b, o.Name...), '='), s.key[:]...), '|')
	key := backendKey(&s.ref)
	b = append(b, key[:]...)
	if o.Expires > 0 {
		b = append(b, "; Expires="...)
		b = now.Add(time.Duration(o.Expires)*time.Second).UTC().AppendFormat(b, http.TimeFormat)
	}
	if o.MaxAge > 0 {
		b = strconv.AppendInt(append(b, "; Max-Age="...), int64(o.MaxAge), 10)
	}
	if o.Domain != "" {
		b = append(append(b, "; Domain="...), o.Domain...)
	}
	b = appendCookiePath(append(b, "; Path="...), s.path(x))
	encrypted := x.TLS != nil || x.Scheme == "https"
	if encrypted || o.Secure != nil && *o.Secure {
		b = append(b, "; Secure"...)
	}
	b = append(b, "; HttpOnly"...)
	if o.SameSite != "" && !(o.ConditionalNone && o.SameSite == "None" && !takesNone(view(x.Header.Get(h1.UserAgent)))) {
		b = append(append(b, "; SameSite="...), o.SameSite...)
	}
	return b
}

// path is the cookie's: the rule's, if none is set.
func (s *session) path(x *exchange.Exchange) string {
	switch {
	case s.option.Path != "":
		return s.option.Path
	case x.Route != nil && x.Route.Path != "":
		return x.Route.Path
	default:
		return "/"
	}
}

// appendCookiePath appends a path, without what would end the attribute.
func appendCookiePath(b []byte, path string) []byte {
	for i := range len(path) {
		if path[i] == ';' {
			b = append(b, "%3B"...)
		} else {
			b = append(b, path[i])
		}
	}
	return b
}

// takesNone tells whether a browser takes SameSite=None as it is meant (session-cookie-conditional-samesite-none). Those
// that don't are known: Chrome up to 69, iOS 12, and Safari of macOS 10.14.
func takesNone(agent string) bool {
	for _, old := range [...]string{"Chrome/4", "Chrome/5", "Chrome/6", "CPU iPhone OS 12", "iPad; CPU OS 12"} {
		if strings.Contains(agent, old) {
			return false
		}
	}
	return !strings.Contains(agent, "Macintosh") || !strings.Contains(agent, "Intel Mac OS X 10_14") ||
		!strings.Contains(agent, "Safari") || strings.Contains(agent, "Chrome")
}
