package nginx

import (
	"errors"
	"fmt"
	"strings"

	"minato/internal/ingress/table"
)

// ingress-nginx's defaults of CORS.
const (
	corsMethods = "GET, PUT, POST, DELETE, PATCH, OPTIONS"
	corsHeaders = "DNT,Keep-Alive,User-Agent,X-Requested-With,If-Modified-Since,Cache-Control,Content-Type,Range,Authorization"
	corsMaxAge  = 1728000
)

func corsAnnotations() []Annotation {
	const group = "CORS"
	row := func(name, values, def, example, note string) Annotation {
		return Annotation{Name: name, Group: group, Scope: ScopeLocation, Support: Honoured, Bad: BadDefault, Values: values, Default: def, Example: example, Note: note, Needs: []string{"enable-cors"}}
	}
	enable := row("enable-cors", "bool", "false", "true", "Answers preflights 204 and marks answers. Without a match of the origin nothing is added, and OPTIONS goes to the backend.")
	enable.Needs = nil
	origin := row("cors-allow-origin", "a list of scheme://host[:port], scheme://*.host, or `*`", "`*`", "https://*.example.com, https://example.org", "The origins that may ask.")
	origin.Difference = "Items that can't be read are left out; if none is left, no origin is allowed. ingress-nginx allows all then."
	return []Annotation{
		enable, origin,
		row("cors-allow-methods", "a list of methods", corsMethods, "GET, POST", "Access-Control-Allow-Methods."),
		row("cors-allow-headers", "a list of headers", corsHeaders, "X-Token, Content-Type", "Access-Control-Allow-Headers."),
		row("cors-expose-headers", "a list of headers, or `*`", "none", "X-Total", "Access-Control-Expose-Headers."),
		row("cors-allow-credentials", "bool", "true", "false", "Access-Control-Allow-Credentials."),
		row("cors-max-age", "seconds", "1728000", "600", "Access-Control-Max-Age."),
	}
}

func readCORS(r *reader) {
	var on bool
	if !into(r, "enable-cors", &on, parseBool) || !on {
		return
	}
	c := &table.CORS{Origins: []string{"*"}, Methods: corsMethods, Headers: corsHeaders, Credentials: true, MaxAge: corsMaxAge}
	r.opts.Location.CORS = c
	r.corsOrigins(c)
	into(r, "cors-allow-methods", &c.Methods, tokenList)
	into(r, "cors-allow-headers", &c.Headers, tokenList)
	into(r, "cors-expose-headers", &c.ExposeHeaders, tokenList)
	into(r, "cors-allow-credentials", &c.Credentials, parseBool)
	into(r, "cors-max-age", &c.MaxAge, parseInt)
}

// corsOrigins reads the origins. None that can be read means that none is allowed, not that all are.
func (r *reader) corsOrigins(c *table.CORS) {
	v, ok := r.value("cors-allow-origin")
	if !ok {
		return
	}
	c.Origins = []string{}
	for _, o := range splitList(v) {
		if err := isOrigin(o); err != nil {
			r.find("cors-allow-origin", ReasonInvalid, true, fmt.Sprintf("the origin %q can't be used: %v. It is left out.", o, err))
			continue
		}
		c.Origins = append(c.Origins, o)
	}
	if len(c.Origins) == 0 {
		r.find("cors-allow-origin", ReasonDiffers, true, "no origin is left, so none is allowed; ingress-nginx would allow all.")
	}
}

// isOrigin checks an origin: *, or scheme://host[:port] where the host may begin with "*.".
func isOrigin(o string) error {
	if o == "*" {
		return nil
	}
	scheme, rest, ok := strings.Cut(o, "://")
	bad := errors.New("it is neither * nor scheme://host[:port] nor scheme://*.host")
	if !ok || strings.IndexFunc(scheme, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '+' && c != '-' && c != '.'
	}) >= 0 || scheme == "" {
		return bad
	}
	host, port, hasPort := strings.Cut(rest, ":")
	if hasPort {
		if n, err := parseInt(port); err != nil || n == 0 || n > 65535 {
			return bad
		}
	}
	if !isHostName(strings.TrimPrefix(host, "*.")) {
		return bad
	}
	return nil
}

// tokenList checks a list of tokens and returns it as it was written.
func tokenList(s string) (string, error) {
	items := splitList(s)
	for _, item := range items {
		if !isToken(item) {
			return "", fmt.Errorf("%q is not a name", item)
		}
	}
	if len(items) == 0 || controlCharacter(s) >= 0 {
		return "", errors.New("it is not a list of names")
	}
	return s, nil
}
