package nginx

import (
	"errors"
	"strings"

	"minato/internal/ingress/regex"
	"minato/internal/ingress/table"
)

func redirectAnnotations() []Annotation {
	const group = "Redirects"
	boolean := func(name, def, example, note string) Annotation {
		return Annotation{Name: name, Group: group, Scope: ScopeLocation, Support: Honoured, Bad: BadDefault, Values: "bool", Default: def, Example: example, Key: true, Note: note}
	}
	list := []Annotation{
		boolean("ssl-redirect", "true for class nginx, false for class minato", "false", "Plain HTTP is answered 308 with the https URL if the host has TLS."),
		boolean("force-ssl-redirect", "false", "true", "The same, whether the host has TLS or not."),
		boolean("preserve-trailing-slash", "false", "true", "The redirect to HTTPS keeps a slash at the end of the URL."),
		boolean("use-port-in-redirects", "false", "true", "The redirect to HTTPS shows the https port."),
		boolean("relative-redirects", "false", "true", "Redirects of the proxy's own keep a Location without scheme and host."),
		{
			Name: "permanent-redirect", Group: group, Scope: ScopeLocation, Support: Honoured, Bad: BadCloses,
			Values: "a URL or a path, without variables", Default: "none", Example: "https://example.com/new",
			Note: "All requests are answered with it; no path and no query is added.",
		},
		{
			Name: "permanent-redirect-code", Group: group, Scope: ScopeLocation, Support: Honoured, Bad: BadDefault,
			Values: "300 to 308", Default: "301", Example: "308", Note: "The status of permanent-redirect.", Needs: []string{"permanent-redirect"},
		},
		{
			Name: "temporal-redirect", Group: group, Scope: ScopeLocation, Support: Honoured, Bad: BadCloses,
			Values: "an http(s) URL, without variables", Default: "none", Example: "https://example.com/now",
			Note: "As permanent-redirect; if both are set this one is used.",
		},
		{
			Name: "temporal-redirect-code", Group: group, Scope: ScopeLocation, Support: Honoured, Bad: BadDefault,
			Values: "300 to 307", Default: "302", Example: "307", Note: "The status of temporal-redirect.", Needs: []string{"temporal-redirect"},
		},
		{
			Name: "from-to-www-redirect", Group: group, Scope: ScopeHost, Support: Honoured, Bad: BadDefault,
			Values: "bool", Default: "false", Example: "true",
			Note: "Requests for the host with www. in front, or without it, are answered 308 with the other one, unless both are hosts of Ingresses.",
		},
		{
			Name: "proxy-redirect-from", Group: group, Scope: ScopeLocation, Support: Honoured, Bad: BadDefault, Key: true,
			Values: "`off`, `default`, a prefix, or `~` and a pattern", Default: "off", Example: "http://internal/",
			Note: "What of the backend's Location and Refresh is replaced.",
		},
		{
			Name: "proxy-redirect-to", Group: group, Scope: ScopeLocation, Support: Honoured, Bad: BadDefault, Key: true,
			Values: "`default`, or a text with variables", Default: "off", Example: "https://example.com/",
			Note: "What it is replaced by.", Needs: []string{"proxy-redirect-from"},
		},
	}
	return list
}

func readRedirects(r *reader) {
	l := &r.opts.Location
	into(r, "ssl-redirect", &l.SSLRedirect, parseBool)
	into(r, "force-ssl-redirect", &l.ForceSSLRedirect, parseBool)
	into(r, "preserve-trailing-slash", &l.PreserveTrailingSlash, parseBool)
	into(r, "use-port-in-redirects", &l.UsePortInRedirects, parseBool)
	into(r, "relative-redirects", &l.RelativeRedirects, parseBool)
	into(r, "from-to-www-redirect", &r.opts.Host.FromToWWW, parseBool)
	r.redirect("permanent-redirect", 301, 308, isPathOrURL)
	r.redirect("temporal-redirect", 302, 307, isURL)
	r.proxyRedirect()
}

// redirect reads one of the two redirects; the one that is read last is used.
func (r *reader) redirect(name string, code, last int, check func(string) error) {
	into(r, name+"-code", &code, func(s string) (int, error) {
		codes, err := parseCodes(s, 300, last)
		if err != nil || len(codes) != 1 {
			return 0, errors.New("it is not a status of a redirect")
		}
		return codes[0], nil
	})
	var target table.Text
	if into(r, name, &target, func(s string) (table.Text, error) {
		if strings.Contains(s, "$") {
			return table.Text{}, errors.New("it has a $: variables are not allowed here")
		}
		return literal(s), check(s)
	}) {
		r.opts.Location.Redirect = &table.Redirect{Target: target, Code: code}
	}
}

func (r *reader) proxyRedirect() {
	from, ok := r.value("proxy-redirect-from")
	if !ok {
		return
	}
	to, hasTo := r.value("proxy-redirect-to")
	rep, wrong, err := replacement(from, to, hasTo)
	if err != nil {
		r.bad(wrong, err)
		return
	}
	r.opts.Location.ProxyRedirect = rep
}

// replacement makes what replaces a part of Location, as proxy_redirect of nginx does. With an error it returns the name
// of the annotation that is wrong.
func replacement(from, to string, hasTo bool) (*table.Replacement, string, error) {
	const nameFrom, nameTo = "proxy-redirect-from", "proxy-redirect-to"
	switch {
	case from == "off":
		return &table.Replacement{Off: true}, "", nil
	case from == "default" || to == "default":
		return &table.Replacement{Default: true}, "", nil
	case !hasTo || to == "off":
		return nil, nameFrom, errors.New("proxy-redirect-to has no text to replace it by; set that too")
	}
	rep, allowed, err := replaceFrom(from)
	if err != nil {
		return nil, nameFrom, err
	}
	if err := replaceBy(rep, to, allowed); err != nil {
		return nil, nameTo, err
	}
	return rep, "", nil
}

// replaceFrom makes a Replacement without what it is replaced by. From is a prefix, or a pattern behind "~" or "~*"
// (regardless of case), whose captures may then be used.
func replaceFrom(from string) (*table.Replacement, Vars, error) {
	rep := &table.Replacement{From: from}
	if controlCharacter(from) >= 0 {
		return nil, 0, errors.New("it has a control character")
	}
	pattern, ok := strings.CutPrefix(from, "~")
	if !ok {
		return rep, 0, nil
	}
	pattern, fold := strings.CutPrefix(pattern, "*")
	re, err := regex.Compile(pattern, regex.Options{IgnoreCase: fold})
	if err != nil {
		return nil, 0, err
	}
	rep.Pattern = re
	return rep, CaptureVars, nil
}

// replaceBy says what a Replacement puts in the place.
func replaceBy(rep *table.Replacement, to string, allowed Vars) error {
	t, err := ParseText(to, allowed)
	if err != nil {
		return err
	}
	rep.To = to
	if len(t.Parts) > 1 || len(t.Parts) == 1 && t.Parts[0].Var != table.VarNone {
		rep.Expand = &t
	}
	return nil
}
