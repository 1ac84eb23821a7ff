package nginx

import (
	"errors"
	"fmt"

	"minato/internal/ingress/certs"
	"minato/internal/ingress/table"
)

// defaultRealm is what a challenge names without auth-realm.
const defaultRealm = "Authentication Required"

func basicAnnotations() []Annotation {
	const group = "Names and passwords"
	row := func(name, values, def, example, note string) Annotation {
		return Annotation{Name: name, Group: group, Scope: ScopeLocation, Support: Honoured, Bad: BadCloses, Values: values, Default: def, Example: example, Note: note}
	}
	secret := row("auth-secret", "[namespace/]name of a Secret", "none", "users", "Who may pass. With auth-file it has an htpasswd (or htdigest) file under the key `auth`, with auth-map a hash under each user's name.")
	secret.Difference = "Hashes of DES crypt, bcrypt above cost 12 and SHA-crypt above 100,000 rounds are refused with a finding; such a user can't log in. `{PLAIN}`, `{SHA}`, `{SSHA}`, MD5, bcrypt and SHA-crypt are verified."
	kind := row("auth-secret-type", "`auth-file` or `auth-map`", "auth-file", "auth-map", "The form of the Secret.")
	realm := row("auth-realm", "a text", "Authentication Required", "the shop", "The realm of the challenge.")
	realm.Bad, realm.Difference = BadDefault, "The value `off` is a realm of this name; nginx asks nobody for credentials then. The default there is empty."
	secret.Needs, kind.Needs, realm.Needs = []string{"auth-type"}, []string{"auth-type"}, []string{"auth-type"}
	return []Annotation{
		row("auth-type", "`basic` or `digest`", "none", "basic", "Clients are asked for a name and a password: 401 without. Authorization isn't passed to the backend."),
		secret, kind, realm,
	}
}

func readBasic(r *reader) {
	b := &table.BasicAuth{Realm: defaultRealm}
	if !into(r, "auth-type", &b.Digest, oneOf([]string{"basic", "digest"}, false, true)) {
		return
	}
	// Whatever follows, the paths are not open.
	r.opts.Location.Basic = b
	into(r, "auth-realm", &b.Realm, func(s string) (string, error) {
		if controlCharacter(s) >= 0 {
			return "", errors.New("it has a control character")
		}
		return s, nil
	})
	if b.Realm == "off" {
		r.differs("auth-realm")
	}
	form := certs.AuthFile
	into(r, "auth-secret-type", &form, oneOf([]string{"auth-file", "auth-map"}, certs.AuthFile, certs.AuthMap))
	v, ok := r.value("auth-secret")
	if !ok {
		r.fault("auth-type", "there is no auth-secret, so nobody could log in")
		return
	}
	n, err := r.object(v)
	if err != nil {
		r.bad("auth-secret", err)
		return
	}
	b.Secret = n
	s, err := r.secret(n)
	if err != nil {
		r.bad("auth-secret", err)
		return
	}
	digestRealm := ""
	if b.Digest {
		digestRealm = b.Realm
	}
	users, problems, err := certs.Users(s, form, digestRealm)
	if err != nil {
		r.bad("auth-secret", err)
		return
	}
	b.Users = users
	for _, p := range problems {
		r.find("auth-secret", ReasonDiffers, true, fmt.Sprintf("Secret %s: %s", n, p))
	}
}
