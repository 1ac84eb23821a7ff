package nginx

import (
	"net/netip"

	"minato/internal/ingress/table"
)

func accessAnnotations() []Annotation {
	const group = "Addresses and limits"
	row := func(name, values, def, example, note string) Annotation {
		return Annotation{Name: name, Group: group, Scope: ScopeLocation, Support: Honoured, Bad: BadCloses, Values: values, Default: def, Example: example, Note: note}
	}
	const cidrs = "a list of addresses and CIDRs"
	allow := row("allowlist-source-range", cidrs, "all", "10.0.0.0/8, 2001:db8::/32", "Other clients are answered 403. Replaces the key's list.")

	white := row("whitelist-source-range", cidrs, "all", "10.0.0.0/8", "The older name of allowlist-source-range.")
	white.AliasOf, white.Key = "allowlist-source-range", true
	deny := row("denylist-source-range", cidrs, "none", "203.0.113.7", "These clients are answered 403, whatever the allow list says. Replaces the key's list.")
	deny.Key = true
	limits := []string{"limit-rps", "limit-rpm", "limit-connections"}
	limit := func(name, example, note string) Annotation {
		a := row(name, "a whole number", "no limit", example, note)
		a.Difference = "A value that can't be read closes the paths; ingress-nginx serves without a limit then."
		return a
	}
	burst := row("limit-burst-multiplier", "a whole number", "5", "3", "How many times a rate is let through at once.")
	burst.Needs = limits
	exempt := row("limit-allowlist", cidrs, "none", "10.0.0.0/8", "Clients without limits.")
	exempt.Needs = limits
	exemptOld := row("limit-whitelist", cidrs, "none", "10.0.0.0/8", "The older name of limit-allowlist.")
	exemptOld.Needs, exemptOld.AliasOf = limits, "limit-allowlist"
	rate := row("limit-rate", "KB per second", "0, no limit", "512", "The pace of an answer.")
	rate.Key, rate.Bad = true, BadDefault
	after := row("limit-rate-after", "KB", "0", "1024", "How much of an answer is sent before limit-rate holds.")
	after.Key, after.Bad = true, BadDefault
	return []Annotation{
		deny, allow, white,
		row("satisfy", "`all` or `any`", "all", "any", "With any, an allowed address or a credential is enough."),
		limit("limit-rps", "10", "Requests in a second from one client address, for each Ingress and node; 503 above."),
		limit("limit-rpm", "600", "The same for a minute."),
		limit("limit-connections", "20", "Requests at a time from one client address, for each Ingress and node; 503 above."),
		burst, exempt, exemptOld, rate, after,
	}
}

func readAccess(r *reader) {
	l := &r.opts.Location
	into(r, "denylist-source-range", &l.Deny, parsePrefixes)
	into(r, "allowlist-source-range", &l.Allow, func(s string) ([]netip.Prefix, error) {
		list, err := parsePrefixes(s)
		if len(list) == 0 && err == nil {
			list = []netip.Prefix{} // only commas: nobody is on the list
		}
		return list, err
	})
	into(r, "satisfy", &l.Satisfy, oneOf([]string{"all", "any"}, table.SatisfyAll, table.SatisfyAny))
	r.limits()
	r.pace()
}

func (r *reader) limits() {
	c := table.Limits{Burst: 5}
	into(r, "limit-rps", &c.RPS, parseInt)
	into(r, "limit-rpm", &c.RPM, parseInt)
	into(r, "limit-connections", &c.Connections, parseInt)
	into(r, "limit-burst-multiplier", &c.Burst, positive(parseInt))
	into(r, "limit-allowlist", &c.Exempt, parsePrefixes)
	if c.RPS != 0 || c.RPM != 0 || c.Connections != 0 {
		r.opts.Location.Limits = &c
	}
}

// pace reads kilobytes into bytes.
func (r *reader) pace() {
	p := table.Pace{}
	if base := r.opts.Location.Pace; base != nil {
		p = *base
	}
	into(r, "limit-rate", &p.Rate, parseKB)
	into(r, "limit-rate-after", &p.After, parseKB)
	r.opts.Location.Pace = nil
	if p.Rate != 0 {
		r.opts.Location.Pace = &p
	} else if _, ok := r.value("limit-rate-after"); ok {
		r.find("limit-rate-after", ReasonNoEffect, true, "it does nothing without limit-rate; add that annotation or remove this one.")
	}
}

// parseKB parses a number of kilobytes into bytes.
func parseKB(s string) (int64, error) {
	v, err := parseInt(s)
	return int64(v) << 10, err
}
