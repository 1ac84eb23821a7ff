package image

import (
	"errors"
	"fmt"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
)

// Normalize completes an image name the way Docker does: "nginx" is
// "docker.io/library/nginx:latest". A name with a digest loses its tag.
func Normalize(s string) (string, error) {
	ref, err := parseReference(s)
	if err != nil {
		return "", err
	}
	return canonical(ref), nil
}

func parseReference(s string) (name.Reference, error) {
	// A name written with its default registry's canonical host is the same
	// image; go-containerregistry only adds "library/" to its own spelling.
	if rest, ok := strings.CutPrefix(s, "docker.io/"); ok {
		s = name.DefaultRegistry + "/" + rest
	}
	ref, err := name.ParseReference(s, name.WeakValidation)
	if err == nil {
		err = checkParts(ref.Context().Name())
	}
	if err != nil {
		return nil, fmt.Errorf("image name %q: %w", s, err)
	}
	return ref, nil
}

// checkParts refuses a name that is another one where a server or a file system
// takes it for a path: logins for team-a/ must not go with team-a/../team-b.
func checkParts(name string) error {
	for part := range strings.SplitSeq(name, "/") {
		switch part {
		case "":
			return errors.New("it begins or ends with a slash, or has two in a row")
		case ".", "..":
			return fmt.Errorf("it has the part %q", part)
		}
	}
	return nil
}

func canonical(ref name.Reference) string {
	full := ref.Name()
	if rest, ok := strings.CutPrefix(full, name.DefaultRegistry+"/"); ok {
		return "docker.io/" + rest
	}
	return full
}

// repository cuts tag and digest off a normalised name.
func repository(normalized string) string {
	repo, _, _ := strings.Cut(normalized, "@")
	if i := strings.LastIndexByte(repo, ':'); i > strings.LastIndexByte(repo, '/') {
		repo = repo[:i]
	}
	return repo
}

func isHexDigest(s string) bool {
	if len(s) != 64 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// RepositoryOf cuts tag and digest off a name that [Normalize] has completed.
func RepositoryOf(normalized string) string { return repository(normalized) }
