package certs

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"minato/internal/ingress/htpasswd"
)

// Form is how a Secret holds users.
type Form uint8

const (
	// AuthFile is a file under the key auth: a user and a hash in each line.
	AuthFile Form = iota
	// AuthMap is a hash under each user's name.
	AuthMap
)

const authKey = "auth"

// Users reads users and their hashes. With a realm they are for digest authentication: hashes are HA1, with the realm
// before them as htdigest writes them, and users of other realms are left out. Users whose hash can't be verified are
// left out as well; the problems name them, in the order of the file. The error is an *Error.
func Users(s *corev1.Secret, form Form, realm string) (users map[string]string, problems []string, err error) {
	users = map[string]string{}
	add := func(user, hash string) {
		hash, problem := usable(hash, realm)
		switch {
		case problem != "":
			problems = append(problems, fmt.Sprintf("the user %q can't log in: %s", user, problem))
		case users[user] == "": // the first line of a user counts, as in nginx
			users[user] = hash
		}
	}
	if form == AuthMap {
		for _, user := range slices.Sorted(maps.Keys(s.Data)) {
			add(user, strings.TrimSpace(string(s.Data[user])))
		}
	} else {
		file, err := data(s, authKey)
		if err != nil {
			return nil, nil, err
		}
		for line := range strings.Lines(string(file)) {
			line = strings.TrimSpace(line)
			if line == "" || line[0] == '#' {
				continue
			}
			user, hash, ok := strings.Cut(line, ":")
			if !ok || user == "" {
				problems = append(problems, "a line has no user and no hash with a colon between them; it is left out")
				continue
			}
			add(user, hash)
		}
	}
	if len(users) == 0 {
		problems = append(problems, "it has no user who can log in")
	}
	return users, problems, nil
}

// usable returns the hash as it is verified, or what is wrong with it.
func usable(hash, realm string) (string, string) {
	if realm != "" {
		ofRealm, ha1, ok := strings.Cut(hash, ":")
		if !ok {
			return "", "its line has no realm; make it anew with htdigest"
		}
		if ofRealm != realm {
			return "", fmt.Sprintf("its realm is %q and not %q; make auth-realm and the file the same", ofRealm, realm)
		}
		if !htpasswd.IsHA1(ha1) {
			return "", "its hash is not one of htdigest"
		}
		return strings.ToLower(ha1), ""
	}
	// htpasswd files may have a comment behind a further colon.
	hash, _, _ = strings.Cut(hash, ":")
	if _, err := htpasswd.Parse(hash); err != nil {
		return "", err.Error()
	}
	return hash, ""
}
