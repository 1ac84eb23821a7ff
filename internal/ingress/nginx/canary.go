package nginx

import (
	"errors"

	"minato/internal/ingress/regex"
	"minato/internal/ingress/table"
)

func canaryAnnotations() []Annotation {
	const group = "Canaries"
	row := func(name, values, def, example, note string, needs ...string) Annotation {
		return Annotation{Name: name, Group: group, Scope: ScopeUpstream, Support: Honoured, Bad: BadDefault, Values: values, Default: def, Example: example, Note: note, Needs: needs}
	}
	return []Annotation{
		row("canary", "bool", "false", "true", "The Ingress takes part of the requests of the Ingress with the same host, path and pathType."),
		row("canary-by-header", "a header's name", "none", "X-Canary", "`always` and `never` in it decide; else the value or pattern below. Comes first.", "canary"),
		row("canary-by-header-value", "a text", "none", "beta", "Requests whose header has this value go to the canary.", "canary-by-header"),
		row("canary-by-header-pattern", "a pattern", "none", "^(beta|dev)$", "The same for a pattern; without effect beside a value.", "canary-by-header"),
		row("canary-by-cookie", "a cookie's name", "none", "canary", "`always` and `never` in it decide. Comes second.", "canary"),
		row("canary-weight", "a whole number", "0", "20", "How many of canary-weight-total requests go to the canary. Comes last.", "canary"),
		row("canary-weight-total", "a whole number from 100", "100", "1000", "What canary-weight is a part of.", "canary"),
	}
}

func readCanary(r *reader) {
	var on bool
	if !into(r, "canary", &on, parseBool) || !on {
		return
	}
	c := &table.Canary{Total: 100}
	r.opts.Canary = c
	into(r, "canary-by-header", &c.Header, func(s string) (string, error) {
		if !isHeaderName(s) {
			return "", errors.New("it is not a header's name")
		}
		return s, nil
	})
	into(r, "canary-by-header-value", &c.HeaderValue, func(s string) (string, error) {
		if controlCharacter(s) >= 0 {
			return "", errors.New("it has a control character")
		}
		return s, nil
	})
	into(r, "canary-by-cookie", &c.Cookie, parseToken)
	into(r, "canary-weight", &c.Weight, parseInt)
	into(r, "canary-weight-total", &c.Total, func(s string) (int, error) {
		n, err := parseInt(s)
		if err == nil && n < 100 {
			err = errors.New("it is less than 100")
		}
		return n, err
	})
	r.canaryPattern(c)
}

func (r *reader) canaryPattern(c *table.Canary) {
	v, ok := r.value("canary-by-header-pattern")
	switch {
	case !ok:
	case c.HeaderValue != "":
		r.find("canary-by-header-pattern", ReasonNoEffect, true, "canary-by-header-value is set too and is used.")
	default:
		re, err := regex.Compile(v, regex.Options{})
		if err != nil {
			c.PatternBroken = true
			r.find("canary-by-header-pattern", ReasonInvalid, true, "the pattern can't be used: "+err.Error()+". Requests with the header go to the Ingress that this is a canary of.")
			return
		}
		c.HeaderPattern = re
	}
}
