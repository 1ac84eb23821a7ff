package nginx

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"minato/internal/ingress/regex"
	"minato/internal/ingress/table"
)

// compressible are the media types that are compressed by default; text/html is, whatever the types are.
const compressible = "application/atom+xml application/javascript application/x-javascript application/json application/rss+xml " +
	"application/vnd.ms-fontobject application/x-font-ttf application/x-web-app-manifest+json application/xhtml+xml application/xml " +
	"font/opentype image/svg+xml image/x-icon text/css text/javascript text/plain text/x-component"

func (r *settingsReader) compression() {
	r.s.Gzip = r.compressor("use-gzip", "gzip", 1, 9, 256)
	r.s.Brotli = r.compressor("enable-brotli", "brotli", 4, 11, 20)
}

func (r *settingsReader) compressor(enable, prefix string, level, top int, length int64) *table.Compression {
	c := &table.Compression{Level: level, MinLength: length, Types: mediaTypes(compressible)}
	on := false
	field(r, enable, &on, parseBool)
	field(r, prefix+"-level", &c.Level, func(s string) (int, error) {
		n, err := parseInt(s)
		if err == nil && (n < 1 || n > top) {
			err = fmt.Errorf("it is not between 1 and %d", top)
		}
		return n, err
	})
	field(r, prefix+"-min-length", &c.MinLength, parseDigits)
	set(r, prefix+"-types", func(s string) (string, error) {
		if controlCharacter(s) >= 0 || strings.ContainsAny(s, ";,\"") {
			return "", errors.New("it is not a list of media types with spaces between them")
		}
		return s, nil
	}, func(s string) { c.Types = mediaTypes(s) })
	if !on {
		for _, k := range [...]string{"-level", "-min-length", "-types"} {
			if _, ok := r.values[prefix+k]; ok {
				r.find(prefix+k, ReasonSettingDiffers, false, "it does nothing unless "+enable+" is true.")
			}
		}
		return nil
	}
	return c
}

// mediaTypes are the types of a list, in lower case, with text/html, each once.
func mediaTypes(s string) []string {
	list := append(strings.Fields(strings.ToLower(s)), "text/html")
	slices.Sort(list)
	return slices.Compact(list)
}

func (r *settingsReader) access() {
	s, d := r.s, r.d
	if v, ok := r.values["block-cidrs"]; ok {
		s.BlockCIDRs = r.prefixes("block-cidrs", v)
	}
	s.BlockAgents = r.blockPatterns("block-user-agents")
	s.BlockReferers = r.blockPatterns("block-referers")
	field(r, "http-redirect-code", &s.RedirectCode, oneOf([]string{"301", "302", "307", "308"}, 301, 302, 307, 308))
	field(r, "limit-req-status-code", &s.LimitRequestStatus, errorStatus)
	field(r, "limit-conn-status-code", &s.LimitConnStatus, errorStatus)
	field(r, "no-tls-redirect-locations", &s.NoTLSRedirect, pathList)
	field(r, "no-auth-locations", &s.NoAuth, pathList)
	field(r, "allow-cross-namespace-resources", &d.CrossNamespace, parseBool)
	field(r, "global-allowed-response-headers", &d.ResponseHeaders, func(v string) ([]string, error) {
		return headerNames(strings.ToLower(v))
	})
	field(r, "annotations-risk-level", &d.MaxRisk, parseRisk)
	field(r, "annotation-value-word-blocklist", &d.Blocklist, func(v string) ([]string, error) { return splitList(v), nil })
}

// blockPatterns reads a list as nginx's map has it: a text that is equal regardless of case, or "~" or "~*" and a
// pattern. All become patterns.
func (r *settingsReader) blockPatterns(key string) []*regex.Regexp {
	var out []*regex.Regexp
	for _, item := range splitList(r.values[key]) {
		pattern, fold := "^"+quotePattern(item)+"$", true
		if p, ok := strings.CutPrefix(item, "~"); ok {
			pattern, fold = strings.CutPrefix(p, "*")
		}
		re, err := regex.Compile(pattern, regex.Options{IgnoreCase: fold})
		if err != nil {
			r.find(key, ReasonSettingInvalid, true, fmt.Sprintf("the pattern %q can't be used: %v. It is left out.", item, err))
			continue
		}
		out = append(out, re)
	}
	return out
}

// quotePattern escapes what has a meaning in patterns.
func quotePattern(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if strings.IndexByte(`\.+*?()|[]{}^$`, s[i]) >= 0 {
			b.WriteByte('\\')
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func errorStatus(s string) (int, error) {
	n, err := parseInt(s)
	if err == nil && (n < 400 || n > 599) {
		err = errors.New("it is not a status between 400 and 599")
	}
	return n, err
}

// pathList parses a list of paths.
func pathList(s string) ([]string, error) {
	list := splitList(s)
	for _, p := range list {
		if !strings.HasPrefix(p, "/") || controlCharacter(p) >= 0 {
			return nil, fmt.Errorf("%q is not a path that begins with /", p)
		}
	}
	return list, nil
}

func (r *settingsReader) logs() {
	l := &r.s.Log
	field(r, "disable-access-log", &l.Off, parseBool)
	field(r, "disable-http-access-log", &l.HTTPOff, parseBool)
	field(r, "disable-stream-access-log", &l.StreamOff, parseBool)
	field(r, "log-format-escape-json", &l.JSON, parseBool)
	field(r, "log-format-escape-none", &l.EscapeNone, parseBool)
	field(r, "log-format-upstream", &l.Format, logFormat(LogVars))
	field(r, "log-format-stream", &l.StreamFormat, logFormat(StreamVars))
	field(r, "skip-access-log-urls", &l.SkipPaths, pathList)
}

// logFormat parses a format; one that goes over several lines makes one line, as in nginx where it is a parameter.
func logFormat(allowed Vars) func(string) (*table.Text, error) {
	return pointer(func(s string) (table.Text, error) {
		return ParseText(strings.NewReplacer("\r", "", "\n", "", "\t", " ").Replace(s), allowed)
	})
}

func (r *settingsReader) streams() {
	s := r.s
	field(r, "proxy-stream-timeout", &s.StreamTimeout, positive(parseTime))
	field(r, "proxy-stream-next-upstream-tries", &s.StreamTries, parseInt)
	field(r, "proxy-stream-next-upstream-timeout", &s.StreamRetryTime, parseTime)
	set(r, "proxy-stream-next-upstream", parseBool, func(on bool) {
		if !on {
			s.StreamTries = 1
		}
	})
}
