package nginx

import (
	"errors"
	"strings"

	"minato/internal/ingress/regex"
)

func hostAnnotations() []Annotation {
	const group = "Hosts and TLS"
	return []Annotation{
		{
			Name: "server-alias", Group: group, Scope: ScopeHost, Support: Honoured, Bad: BadCloses,
			Values: "a list of names, `*.` names, or `~` and a pattern", Default: "none", Example: "www.example.com, ~^shop[0-9]+\\.example\\.com$",
			Note: "Further names of the host. A name that an Ingress has as host stays that Ingress's.",
		},
		{
			Name: "ssl-passthrough", Group: group, Scope: ScopeHost, Support: Honoured, Bad: BadDefault,
			Values: "bool", Default: "false", Example: "true",
			Note: "TLS connections for this host are passed to the backend of `/` as they are. Needs --enable-ssl-passthrough.",
		},
		{
			Name: "ssl-ciphers", Group: group, Scope: ScopeHost, Support: Honoured, Bad: BadDefault, Key: true,
			Values: "OpenSSL names, with `:` between them", Default: "the six of ECDHE with AEAD", Example: "ECDHE-RSA-AES128-GCM-SHA256:ECDHE-RSA-AES256-GCM-SHA384",
			Note:       "The cipher suites of TLS 1.2.",
			Difference: "Suites that Go's TLS library lacks (DHE, CAMELLIA, …) and OpenSSL's group names (HIGH, !aNULL, …) are left out, with a finding that names them.",
		},
		{
			Name: "ssl-prefer-server-ciphers", Group: group, Scope: ScopeHost, Support: Differs, Bad: BadDefault,
			Values: "bool", Default: "true", Example: "true",
			Note:       "Whose order of cipher suites counts.",
			Difference: "The TLS library orders suites itself by strength and by the speed of both sides' hardware; the value changes nothing.",
		},
	}
}

func readHost(r *reader) {
	h := &r.opts.Host
	r.serverAlias()
	into(r, "ssl-passthrough", &h.Passthrough, func(s string) (bool, error) {
		on, err := parseBool(s)
		if err == nil && on && !r.d.Passthrough {
			return false, errors.New("passing TLS through is switched off; set --enable-ssl-passthrough")
		}
		return on, err
	})
	if v, ok := r.value("ssl-ciphers"); ok {
		ids, unknown := parseCiphers(v)
		switch {
		case len(ids) == 0:
			r.bad("ssl-ciphers", errors.New("the TLS library has none of these cipher suites"))
		case len(unknown) > 0:
			r.find("ssl-ciphers", ReasonDiffers, true, "the TLS library doesn't have "+strings.Join(unknown, ", ")+"; the others are used.")
			fallthrough
		default:
			h.Ciphers = ids
		}
	}
	var prefer bool
	if into(r, "ssl-prefer-server-ciphers", &prefer, parseBool) {
		h.PreferCiphers = &prefer
		r.differs("ssl-prefer-server-ciphers")
	}
}

// differs tells what an annotation's row says about the difference.
func (r *reader) differs(name string) {
	r.find(name, ReasonDiffers, false, known().byName[name].Difference)
}

func (r *reader) serverAlias() {
	v, ok := r.value("server-alias")
	if !ok {
		return
	}
	h := &r.opts.Host
	for _, alias := range splitList(v) {
		if pattern, ok := strings.CutPrefix(alias, "~"); ok {
			re, err := regex.Compile(pattern, regex.Options{IgnoreCase: true})
			if err != nil {
				r.bad("server-alias", err)
				return
			}
			h.AliasPatterns = append(h.AliasPatterns, re)
			continue
		}
		alias = strings.ToLower(strings.TrimSuffix(alias, "."))
		if !isHostName(strings.TrimPrefix(alias, "*.")) {
			r.bad("server-alias", errors.New("it is not a list of host names"))
			return
		}
		h.Aliases = append(h.Aliases, alias)
	}
}
