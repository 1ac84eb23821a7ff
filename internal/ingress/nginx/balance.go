package nginx

import (
	"errors"
	"strings"

	"minato/internal/ingress/table"
)

func balanceAnnotations() []Annotation {
	const group = "Choice of endpoints"
	row := func(name, values, def, example, note string, bad Bad, needs ...string) Annotation {
		return Annotation{Name: name, Group: group, Scope: ScopeUpstream, Support: Honoured, Bad: bad, Values: values, Default: def, Example: example, Note: note, Needs: needs}
	}
	cookie := func(name, values, def, example, note string) Annotation {
		return row("session-cookie-"+name, values, def, example, note, BadDefault, "affinity")
	}
	service := row("service-upstream", "bool", "false", "true", "The Service's cluster IP is the one endpoint.", BadDefault)
	balance := row("load-balance", "`round_robin` or `ewma`", "round_robin", "ewma", "How endpoints take turns. Affinity and upstream-hash-by come before it.", BadCloses)
	service.Key, balance.Key = true, true
	path := cookie("path", "a path", "the rule's path", "/app", "Path of the cookie.")
	return []Annotation{
		service, balance,
		row("upstream-hash-by", "a text with variables", "none", "$request_uri", "Requests with the same text go to the same endpoint.", BadCloses),
		row("upstream-hash-by-subset", "bool", "false", "true", "Such requests go to one of a set of endpoints.", BadDefault, "upstream-hash-by"),
		row("upstream-hash-by-subset-size", "a whole number", "3", "2", "How many endpoints a set has.", BadDefault, "upstream-hash-by"),
		row("affinity", "`cookie`", "none", "cookie", "A cookie keeps a client at an endpoint.", BadCloses),
		row("affinity-mode", "`balanced` or `persistent`", "balanced", "persistent", "Whether clients move to other endpoints when there are more.", BadCloses, "affinity"),
		row("affinity-canary-behavior", "`sticky` or `legacy`", "sticky", "legacy", "Whether a client that a canary has served stays there.", BadCloses, "affinity"),
		cookie("name", "a name", "INGRESSCOOKIE", "route", "The cookie's name."),
		path,
		cookie("domain", "a host", "none", "example.com", "Domain of the cookie."),
		cookie("samesite", "`None`, `Lax` or `Strict`", "none", "Lax", "SameSite of the cookie."),
		cookie("conditional-samesite-none", "bool", "false", "true", "SameSite=None is left out for browsers that take it wrongly."),
		cookie("secure", "bool", "whether the request came over TLS", "true", "Secure of the cookie; always over TLS."),
		cookie("partitioned", "bool", "false", "true", "Partitioned of the cookie."),
		cookie("max-age", "seconds", "none", "172800", "Max-Age of the cookie."),
		cookie("expires", "seconds", "none", "172800", "Expires of the cookie."),
		cookie("change-on-failure", "bool", "false", "true", "A client whose endpoint fails gets another one for good."),
	}
}

func readBalance(r *reader) {
	u := &r.opts.Upstream
	if into(r, "service-upstream", &u.ServiceUpstream, parseBool) {
		u.Set |= table.SetServiceUpstream
	}
	if into(r, "load-balance", &u.LoadBalance, parseBalance) {
		u.Set |= table.SetLoadBalance
	}
	if u.HashBy = r.text("upstream-hash-by", KeyVars, nil); u.HashBy != nil {
		u.Set |= table.SetHashBy
	}
	subset, size := false, 3
	into(r, "upstream-hash-by-subset", &subset, parseBool)
	into(r, "upstream-hash-by-subset-size", &size, positive(parseInt))
	switch _, sized := r.value("upstream-hash-by-subset-size"); {
	case subset && u.HashBy != nil:
		u.HashSubset = size
	case sized:
		r.find("upstream-hash-by-subset-size", ReasonNoEffect, true, "it does nothing unless upstream-hash-by-subset is true.")
	}
	if _, ok := r.value("affinity"); ok {
		r.affinity()
	}
}

func (r *reader) affinity() {
	c := &table.CookieOption{Name: "INGRESSCOOKIE"}
	var on bool
	if !into(r, "affinity", &on, oneOf([]string{"cookie"}, true)) {
		return
	}
	r.opts.Upstream.Affinity = c
	r.opts.Upstream.Set |= table.SetAffinity
	into(r, "affinity-mode", &c.Persistent, oneOf([]string{"balanced", "persistent"}, false, true))
	into(r, "affinity-canary-behavior", &c.CanaryLegacy, oneOf([]string{"sticky", "legacy"}, false, true))
	into(r, "session-cookie-name", &c.Name, parseToken)
	into(r, "session-cookie-path", &c.Path, func(s string) (string, error) {
		if !strings.HasPrefix(s, "/") || strings.ContainsAny(s, "; ,") || controlCharacter(s) >= 0 {
			return "", errors.New("it is not a path that begins with /")
		}
		return s, nil
	})
	into(r, "session-cookie-domain", &c.Domain, func(s string) (string, error) {
		if !isHostName(strings.TrimPrefix(s, ".")) {
			return "", errors.New("it is not a host's name")
		}
		return s, nil
	})
	into(r, "session-cookie-samesite", &c.SameSite, func(s string) (string, error) {
		return oneOf([]string{"none", "lax", "strict"}, "None", "Lax", "Strict")(strings.ToLower(s))
	})
	into(r, "session-cookie-conditional-samesite-none", &c.ConditionalNone, parseBool)
	var secure bool
	if into(r, "session-cookie-secure", &secure, parseBool) {
		c.Secure = &secure
	}
	into(r, "session-cookie-partitioned", &c.Partitioned, parseBool)
	into(r, "session-cookie-max-age", &c.MaxAge, positive(parseInt))
	into(r, "session-cookie-expires", &c.Expires, positive(parseInt))
	into(r, "session-cookie-change-on-failure", &c.ChangeOnFailure, parseBool)
}

func parseBalance(s string) (table.LoadBalance, error) {
	return oneOf([]string{"round_robin", "ewma"}, table.RoundRobin, table.EWMA)(s)
}
