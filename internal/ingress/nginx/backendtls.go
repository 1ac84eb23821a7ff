package nginx

import (
	"errors"
	"strings"

	"minato/internal/ingress/certs"
	"minato/internal/ingress/table"
)

func backendTLSAnnotations() []Annotation {
	const group = "TLS to backends"
	const scope = "Holds for the Ingress's paths; in ingress-nginx for the whole host unless the key proxy-ssl-location-only is set."
	row := func(name, values, def, example, note, difference string) Annotation {
		if difference != "" {
			difference += " "
		}
		return Annotation{Name: name, Group: group, Scope: ScopeLocation, Support: Differs, Bad: BadCloses, Values: values, Default: def, Example: example, Note: note, Difference: difference + scope}
	}
	const alone = "Acts without proxy-ssl-secret too."
	return []Annotation{
		row("proxy-ssl-secret", "[namespace/]name of a Secret with tls.crt and tls.key, ca.crt, or both", "none", "backend-tls", "The certificate that backends are shown, and the authorities that theirs are verified with.", ""),
		row("proxy-ssl-verify", "`on` or `off`", "off", "on", "Whether the backend's certificate is verified.", "Without proxy-ssl-secret it closes the paths; ingress-nginx doesn't verify then."),
		row("proxy-ssl-verify-depth", "a whole number", "1", "2", "How many authorities there may be between a certificate and the root.", ""),
		row("proxy-ssl-name", "a text with variables", "the Host header's", "internal.example.com", "The name that is verified, and sent with SNI.", alone),
		row("proxy-ssl-server-name", "`on` or `off`", "off", "on", "Whether SNI is sent.", alone),
		row("proxy-ssl-protocols", "a list of `TLSv1`, `TLSv1.1`, `TLSv1.2`, `TLSv1.3`", "TLSv1.2 TLSv1.3", "TLSv1.2", "The versions of TLS; those between the lowest and the highest are spoken.", "The default there is TLSv1.2 alone. "+alone),
		row("proxy-ssl-ciphers", "OpenSSL names, with `:` between them", "DEFAULT", "ECDHE-RSA-AES128-GCM-SHA256", "The cipher suites of TLS 1.2.", "Suites that Go's TLS library lacks are left out. "+alone),
	}
}

func readBackendTLS(r *reader) {
	t := &table.BackendTLS{Depth: 1}
	asked := false
	for name := range r.values {
		asked = asked || strings.HasPrefix(name, "proxy-ssl-")
	}
	if !asked {
		return
	}
	r.opts.Location.BackendTLS = t
	into(r, "proxy-ssl-verify", &t.Verify, parseOnOff)
	into(r, "proxy-ssl-verify-depth", &t.Depth, parseInt)
	into(r, "proxy-ssl-server-name", &t.ServerName, parseOnOff)
	t.Name = r.text("proxy-ssl-name", 0, noSpace)
	if v, ok := r.value("proxy-ssl-protocols"); ok {
		var err error
		if t.MinVersion, t.MaxVersion, err = parseProtocols(v); err != nil {
			r.bad("proxy-ssl-protocols", err)
		}
	}
	r.backendCiphers(t)
	r.backendSecret(t)
}

func (r *reader) backendCiphers(t *table.BackendTLS) {
	v, ok := r.value("proxy-ssl-ciphers")
	if !ok || v == "DEFAULT" {
		return
	}
	ids, unknown := parseCiphers(v)
	if len(ids) == 0 {
		r.bad("proxy-ssl-ciphers", errors.New("the TLS library has none of these cipher suites"))
		return
	}
	t.Ciphers = ids
	for _, name := range unknown {
		r.find("proxy-ssl-ciphers", ReasonDiffers, true, "the TLS library doesn't have "+name+"; the others are used.")
	}
}

func (r *reader) backendSecret(t *table.BackendTLS) {
	v, ok := r.value("proxy-ssl-secret")
	if !ok {
		if t.Verify {
			r.bad("proxy-ssl-verify", errors.New("there is no proxy-ssl-secret with the authorities to verify with"))
		}
		return
	}
	n, err := r.object(v)
	if err != nil {
		r.bad("proxy-ssl-secret", err)
		return
	}
	t.Secret = n
	s, err := r.secret(n)
	if err != nil {
		r.bad("proxy-ssl-secret", err)
		return
	}
	c, err := certs.Client(s)
	if err != nil {
		r.bad("proxy-ssl-secret", err)
		return
	}
	t.Certificate, t.Key, t.CAs = c.Certificate, c.Key, c.CAs
	if t.Verify && t.CAs == nil {
		r.bad("proxy-ssl-secret", errors.New("proxy-ssl-verify is on and the Secret has no ca.crt"))
	}
}
