package nginx

import (
	"errors"
	"net/url"
	"strings"

	"minato/internal/ingress/table"
)

func rewriteAnnotations() []Annotation {
	const group = "Paths and rewriting"
	return []Annotation{
		{
			Name: "rewrite-target", Group: group, Scope: ScopeLocation, Support: Honoured, Bad: BadCloses,
			Values: "a path or an http(s) URL, with `$1` to `$9` and variables", Default: "none", Example: "/$2",
			Note: "Replaces the path; the query is kept. A URL answers 302 with it. All paths of the host become patterns. " +
				"A path that would come to have a segment of dots, as /app../x does with the pattern /app(.*), is answered 400.",
		},
		{
			Name: "use-regex", Group: group, Scope: ScopeLocation, Support: Honoured, Bad: BadCloses,
			Values: "bool", Default: "false", Example: "true",
			Note:       "All paths of the host are matched as patterns, regardless of case.",
			Difference: "Patterns run with a bounded number of steps; one that needs more doesn't match.",
		},
		{
			Name: "x-forwarded-prefix", Group: group, Scope: ScopeLocation, Support: Honoured, Bad: BadCloses,
			Values: "a path, with `$1` to `$9` and variables", Default: "none", Example: "/app",
			Note: "Sets X-Forwarded-Prefix on requests that rewrite-target rewrites.", Needs: []string{"rewrite-target"},
		},
		{
			Name: "app-root", Group: group, Scope: ScopeHost, Support: Honoured, Bad: BadDefault,
			Values: "an absolute path", Default: "none", Example: "/app",
			Note: "A request for `/` is answered 302 with this path.",
		},
	}
}

func readRewrite(r *reader) {
	l := &r.opts.Location
	if t := r.text("rewrite-target", CaptureVars, isPathOrURL); t != nil {
		l.Rewrite = &table.Rewrite{Target: *t, URL: isHTTP(r.values["rewrite-target"])}
	}
	into(r, "use-regex", &l.UseRegex, parseBool)
	if t := r.text("x-forwarded-prefix", CaptureVars, nil); t != nil {
		l.ForwardedPrefix = t
	}
	into(r, "app-root", &r.opts.Host.AppRoot, func(s string) (string, error) {
		if !strings.HasPrefix(s, "/") || strings.ContainsAny(s, "$ \\") || controlCharacter(s) >= 0 {
			return "", errors.New("it is not a path that begins with /")
		}
		return s, nil
	})
}

func isHTTP(s string) bool {
	l := strings.ToLower(s)
	return strings.HasPrefix(l, "http://") || strings.HasPrefix(l, "https://")
}

// isPathOrURL checks a target: what it begins with decides whether it is a path or a URL.
func isPathOrURL(s string) error {
	if isHTTP(s) || strings.HasPrefix(s, "/") || strings.HasPrefix(s, "$") {
		return noSpace(s)
	}
	return errors.New("it begins neither with / nor with http:// or https://")
}

func noSpace(s string) error {
	if strings.ContainsAny(s, " \"\\") || controlCharacter(s) >= 0 {
		return errors.New(`it has a space, a quote or a backslash, which no URL has; escape it with "%"`)
	}
	return nil
}

// isURL checks an absolute http or https URL that may have variables behind the scheme.
func isURL(s string) error {
	if !isHTTP(s) {
		return errors.New("it is not a URL that begins with http:// or https://")
	}
	if err := noSpace(s); err != nil {
		return err
	}
	u, err := url.Parse(withoutVariables(s))
	if err != nil || u.Host == "" || u.Hostname() == "" || strings.Contains(u.Host, "..") || u.User != nil {
		return errors.New("it is not a URL with a host")
	}
	return nil
}

// withoutVariables puts an ordinary word where a text has variables.
func withoutVariables(s string) string {
	var b strings.Builder
	for s != "" {
		before, after, ok := strings.Cut(s, "$")
		b.WriteString(before)
		if !ok {
			break
		}
		_, rest, err := variableName(after)
		if err != nil {
			rest = after
		}
		b.WriteString("8") // a digit may stand in a host as in a port
		s = rest
	}
	return b.String()
}
