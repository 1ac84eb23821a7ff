package nginx

import (
	"cmp"
	"errors"
	"fmt"
	"strings"

	"minato/internal/ingress/certs"
	"minato/internal/ingress/regex"
	"minato/internal/ingress/table"
)

func clientTLSAnnotations() []Annotation {
	const group = "Client certificates"
	row := func(name, values, def, example, note string, bad Bad) Annotation {
		return Annotation{Name: name, Group: group, Scope: ScopeHost, Support: Honoured, Bad: bad, Values: values, Default: def, Example: example, Note: note, Needs: []string{"auth-tls-secret"}}
	}
	secret := row("auth-tls-secret", "[namespace/]name of a Secret with ca.crt, and ca.crl if certificates are revoked", "none", "clients-ca", "Clients must have a certificate of these authorities: 400 without. Requests over plain HTTP are not checked.", BadClosesHost)
	secret.Needs = nil
	verify := row("auth-tls-verify-client", "`on`, `off`, `optional` or `optional_no_ca`", "on", "optional", "Whether a certificate is asked for, and whether it must be valid.", BadDefault)
	verify.Difference = "Any other value is taken as `on`, with a finding."
	return []Annotation{
		secret, verify,
		row("auth-tls-verify-depth", "a whole number", "1", "2", "How many authorities there may be between a certificate and the root.", BadDefault),
		row("auth-tls-error-page", "a URL with variables", "none", "https://example.com/no-certificate", "Answers 302 with it in place of 400.", BadDefault),
		row("auth-tls-match-cn", "`CN=` and a pattern", "all", "CN=client-[0-9]+", "A certificate whose subject doesn't match is answered 403.", BadClosesHost),
		row("auth-tls-pass-certificate-to-upstream", "bool", "false", "true", "The backend gets the certificate in ssl-client-cert.", BadDefault),
	}
}

func readClientTLS(r *reader) {
	v, ok := r.value("auth-tls-secret")
	if !ok {
		return
	}
	c := &table.ClientTLS{Depth: 1}
	r.opts.Host.ClientTLS = c
	if err := r.clientCAs(c, v); err != nil {
		r.breakHost(c, "auth-tls-secret", err)
	}
	into(r, "auth-tls-verify-client", &c.Verify, oneOf([]string{"on", "off", "optional", "optional_no_ca"},
		table.VerifyOn, table.VerifyOff, table.VerifyOptional, table.VerifyOptionalNoCA))
	into(r, "auth-tls-verify-depth", &c.Depth, parseInt)
	c.ErrorPage = r.text("auth-tls-error-page", 0, isPathOrURL)
	into(r, "auth-tls-pass-certificate-to-upstream", &c.PassUpstream, parseBool)
	if v, ok := r.value("auth-tls-match-cn"); ok {
		re, err := subjectPattern(v)
		if err != nil {
			r.breakHost(c, "auth-tls-match-cn", err)
		}
		c.MatchCN = re
	}
}

func (r *reader) clientCAs(c *table.ClientTLS, v string) error {
	n, err := r.object(v)
	if err != nil {
		return err
	}
	c.Secret = n
	s, err := r.secret(n)
	if err != nil {
		return err
	}
	ca, err := certs.CAs(s)
	if err != nil {
		return err
	}
	c.CAs, c.CAList, c.CRL = ca.Pool, ca.Subjects, ca.CRL
	return nil
}

// breakHost closes the host, for the value of an annotation that concerns all of it.
func (r *reader) breakHost(c *table.ClientTLS, name string, err error) {
	why := fmt.Sprintf("the value %s can't be used: %v", quoted(r.values[name]), err)
	if r.unseen(name, err) {
		c.Broken = cmp.Or(c.Broken, why)
		return
	}
	if c.Broken == "" {
		c.Broken = r.prefix + "/" + name + ": " + why
	}
	r.find(name, ReasonInvalid, true, why+". The hosts of this Ingress answer 403 until it is corrected.")
}

// subjectPattern compiles what the subject's name must match anywhere.
func subjectPattern(s string) (*regex.Regexp, error) {
	if !strings.HasPrefix(s, "CN=") {
		return nil, errors.New("it doesn't begin with CN=")
	}
	if controlCharacter(s) >= 0 {
		return nil, errors.New("it has a control character")
	}
	return regex.Compile(s, regex.Options{})
}
