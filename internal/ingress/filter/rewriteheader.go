package filter

import (
	"bytes"
	"strings"

	"minato/internal/ingress/exchange"
	"minato/internal/ingress/h1"
	"minato/internal/ingress/table"
)

// rewriteRedirects rewrites Location and the URL in Refresh, as nginx's proxy_redirect does.
func rewriteRedirects(x *exchange.Exchange, r *table.Replacement) {
	h := x.Response
	if v := h.Get(h1.Location); len(v) > 0 {
		if to, ok := replaced(x, r, v, 0, len(v)); ok {
			_ = h.Set(h1.Location, to) // the old value stays where the new one can't be a field's
		}
	}
	v := h.Get(h1.Refresh)
	if i := indexFold(v, "url="); i >= 0 {
		if to, ok := replaced(x, r, v, i+len("url="), len(v)); ok {
			_ = h.Set(h1.Refresh, to)
		}
	}
}

// replaced rewrites v[from:to]. A text that is no pattern is a prefix, whose case matters; a pattern may match anywhere, and
// all of v[from:to] is then replaced.
func replaced(x *exchange.Exchange, r *table.Replacement, v []byte, from, to int) ([]byte, bool) {
	s := view(v[from:to])
	end := to
	var captures []int
	switch {
	case r.Pattern != nil:
		var room [20]int
		var err error
		// A pattern that takes too many steps matches nothing: the value stays.
		if captures, err = r.Pattern.MatchInto(s, room[:0]); err != nil || captures == nil {
			return nil, false
		}
	case strings.HasPrefix(s, r.From):
		end = from + len(r.From)
	default:
		return nil, false
	}
	return splice(x, r, v, from, end, s, captures), true
}

// splice returns v with v[from:end] replaced.
func splice(x *exchange.Exchange, r *table.Replacement, v []byte, from, end int, subject string, captures []int) []byte {
	out := make([]byte, 0, len(v)+len(r.To)+64)
	out = append(out, v[:from]...)
	out = appendReplacement(out, x, r, subject, captures)
	return append(out, v[end:]...)
}

// appendReplacement appends what is put in. Its captures are those of the Replacement's own pattern.
func appendReplacement(out []byte, x *exchange.Exchange, r *table.Replacement, subject string, captures []int) []byte {
	if r.Expand == nil {
		return append(out, r.To...)
	}
	for i := range r.Expand.Parts {
		p := &r.Expand.Parts[i]
		if p.Var != table.VarCapture || r.Pattern == nil {
			out = append(out, value(x, p)...)
			continue
		}
		if n := int(p.Name[0] - '0'); 2*n+1 < len(captures) && captures[2*n] >= 0 {
			out = append(out, subject[captures[2*n]:captures[2*n+1]]...)
		}
	}
	return out
}

// rewriteCookies rewrites Domain and Path in each Set-Cookie, as nginx's proxy_cookie_domain and proxy_cookie_path do.
func rewriteCookies(x *exchange.Exchange, loc *table.Location) {
	h := x.Response
	var all [][]byte
	changed := false
	for v := range h.Values("Set-Cookie") {
		to := v
		if acts(loc.CookieDomain) {
			if n, ok := rewriteAttribute(x, loc.CookieDomain, to, "domain", replacedDomain); ok {
				to, changed = n, true
			}
		}
		if acts(loc.CookiePath) {
			if n, ok := rewriteAttribute(x, loc.CookiePath, to, "path", replaced); ok {
				to, changed = n, true
			}
		}
		all = append(all, bytes.Clone(to))
	}
	if !changed {
		return
	}
	h.Del(h1.SetCookie)
	for _, v := range all {
		// A value that can't be a field's is dropped: the cookie would go where it should not.
		_ = h.Add(h1.SetCookie, v)
	}
}

type replaceFunc func(x *exchange.Exchange, r *table.Replacement, v []byte, from, to int) ([]byte, bool)

// rewriteAttribute rewrites an attribute of a cookie; its last one counts for browsers (RFC 6265, 5.3), so that each is
// rewritten.
func rewriteAttribute(x *exchange.Exchange, r *table.Replacement, v []byte, name string, replace replaceFunc) ([]byte, bool) {
	changed := false
	at := bytes.IndexByte(v, ';')
	for at >= 0 {
		from, end := at+1, len(v)
		if i := bytes.IndexByte(v[from:], ';'); i >= 0 {
			end = from + i
		}
		tail := len(v) - end
		if value, ok := attribute(v[from:end], name); ok {
			stop := end
			for stop > from+value && (v[stop-1] == ' ' || v[stop-1] == '\t') {
				stop--
			}
			if n, ok := replace(x, r, v, from+value, stop); ok {
				v, changed = n, true
			}
		}
		if at = len(v) - tail; tail == 0 {
			at = -1
		}
	}
	return v, changed
}

// attribute returns where the value of "name=value" begins, if the name is that, in any case.
func attribute(b []byte, name string) (int, bool) {
	key, _, ok := bytes.Cut(b, []byte("="))
	if !ok || !strings.EqualFold(strings.Trim(view(key), " \t"), name) {
		return 0, false
	}
	i := len(key) + 1
	for i < len(b) && (b[i] == ' ' || b[i] == '\t') {
		i++
	}
	return i, true
}

// replacedDomain is replaced for a domain: it is the whole value that is compared, in any case, and a dot before a
// domain does not count.
func replacedDomain(x *exchange.Exchange, r *table.Replacement, v []byte, from, to int) ([]byte, bool) {
	if r.Pattern != nil {
		return replaced(x, r, v, from, to)
	}
	if from < to && v[from] == '.' {
		from++
	}
	if !strings.EqualFold(view(v[from:to]), strings.TrimPrefix(r.From, ".")) {
		return nil, false
	}
	out := make([]byte, 0, len(v)+len(r.To)+64)
	out = append(out, v[:from]...)
	begin := len(out)
	out = appendReplacement(out, x, r, "", nil)
	if len(out) > begin && out[begin] == '.' {
		out = append(out[:begin], out[begin+1:]...)
	}
	return append(out, v[to:]...), true
}

// indexFold is strings.Index in any case of ASCII letters; sub is in lower case.
func indexFold(b []byte, sub string) int {
	for i := 0; i+len(sub) <= len(b); i++ {
		if strings.EqualFold(view(b[i:i+len(sub)]), sub) {
			return i
		}
	}
	return -1
}
