package filter

import (
	"bytes"
	"strings"

	"minato/internal/ingress/exchange"
	"minato/internal/ingress/h1"
	"minato/internal/ingress/table"
)

// rewrite replaces the path (rewrite-target). The target is put together of decoded text, and escaped again for the
// backend; the query stays. A URL as target answers 302.
func rewrite(x *exchange.Exchange, loc *table.Location) *exchange.Answer {
	t := &loc.Rewrite.Target
	if loc.Rewrite.URL || t.Parts[0].Var == table.VarScheme {
		return found(x, 302, escaped(withQuery(string(appendURL(nil, x, t)), x.Query), inLocation))
	}
	var room [256]byte
	w := rewriter{x: x, path: room[:0]}
	for i := range t.Parts {
		w.add(&t.Parts[i])
	}
	if len(w.path) == 0 || w.path[0] != '/' {
		w.path = append([]byte{'/'}, w.path...)
	}
	if dotted(w.path) && !dotted([]byte(literals(t))) {
		// A capture that begins within a segment, as of "/app(.*)" and "/app..", would leave what the target is below.
		return x.Reply(400)
	}
	w.finish()
	return nil
}

// rewriter puts a target together.
type rewriter struct {
	x     *exchange.Exchange
	path  []byte // decoded
	args  []byte // of the target itself
	query bool   // the target's question mark has come
}

func (w *rewriter) add(p *table.Part) {
	switch {
	case p.Var == table.VarNone && !w.query:
		path, args, query := strings.Cut(p.Literal, "?")
		w.path, w.query = append(w.path, path...), query
		w.args = appendEscaped(w.args, args, inLocation)
	case p.Var == table.VarNone:
		w.args = appendEscaped(w.args, p.Literal, inLocation)
	case !w.query:
		w.path = append(w.path, w.x.Lookup(p.Var, p.Name)...)
	case p.Var == table.VarCapture || p.Var == table.VarURI:
		w.args = appendEscaped(w.args, w.x.Lookup(p.Var, p.Name), inArgument)
	default:
		w.args = appendEscaped(w.args, w.x.Lookup(p.Var, p.Name), inLocation)
	}
}

// finish sets what the backend gets. The query that came follows the target's own; a target that ends with a question
// mark drops it, as nginx has it.
func (w *rewriter) finish() {
	x := w.x
	out := make([]byte, 0, len(w.path)+len(w.args)+len(x.Query)+8)
	out = appendEscaped(out, view(w.path), inPath)
	end := len(out)
	keep := x.Query
	if parts := x.Route.Location.Rewrite.Target.Parts; strings.HasSuffix(parts[len(parts)-1].Literal, "?") {
		keep = ""
		w.args = bytes.TrimSuffix(w.args, []byte("?"))
	}
	if len(w.args) > 0 || keep != "" {
		out = append(append(out, '?'), w.args...)
		if len(w.args) > 0 && keep != "" {
			out = append(out, '&')
		}
		out = append(out, keep...)
	}
	x.RewrittenTarget = view(out)
	if x.Path = x.RewrittenTarget[:end]; end != len(w.path) {
		x.Path = string(w.path)
	}
	x.HasQuery = end < len(out)
	if x.Query = ""; x.HasQuery {
		x.Query = x.RewrittenTarget[end+1:]
	}
}

// withQuery adds a query to a URL, unless the URL ends with a question mark.
func withQuery(url, query string) string {
	if rest, ok := strings.CutSuffix(url, "?"); ok {
		return rest
	}
	switch {
	case query == "":
		return url
	case strings.IndexByte(url, '?') >= 0:
		return url + "&" + query
	default:
		return url + "?" + query
	}
}

// dotted tells whether a path has a segment of one or two dots.
func dotted(path []byte) bool {
	for i := 0; i < len(path); i++ {
		if path[i] != '.' || i > 0 && path[i-1] != '/' && path[i-1] != '\\' {
			continue
		}
		end := i + 1
		if end < len(path) && path[end] == '.' {
			end++
		}
		if end == len(path) || path[end] == '/' || path[end] == '\\' {
			return true
		}
	}
	return false
}

// literals is a text with a letter in the place of each variable.
func literals(t *table.Text) string {
	var s strings.Builder
	for i := range t.Parts {
		if p := &t.Parts[i]; p.Var == table.VarNone {
			s.WriteString(p.Literal)
		} else {
			s.WriteByte('x')
		}
	}
	return s.String()
}

// forwardedPrefix tells the backend what was cut off the path (x-forwarded-prefix). A request that is not rewritten keeps
// the client's own.
func forwardedPrefix(x *exchange.Exchange, prefix *table.Text) {
	value := escaped(x.Expand(prefix), inValue)
	if value == "" {
		x.Forward.Del(h1.XForwardedPrefix)
		return
	}
	// Without control bytes, it is a value that a field can have.
	_ = x.Forward.SetString(h1.XForwardedPrefix, value)
}
