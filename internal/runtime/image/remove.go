package image

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Pin keeps the image that ref finds from being removed while owner, a
// container's ID, uses it, and returns the image. An owner may pin several.
func (s *Store) Pin(owner, ref string) (*Image, error) {
	var img *Image
	err := s.locked(func(idx *index) error {
		if img = idx.find(ref); img == nil {
			return fmt.Errorf("image %q: %w", ref, ErrNotFound)
		}
		if err := os.MkdirAll(s.pinDir(owner), 0o700); err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(s.pinDir(owner), img.ID), nil, 0o600)
	})
	if err != nil {
		return nil, err
	}
	return img, nil
}

// Unpin ends every pin of owner; it is no error if there is none.
func (s *Store) Unpin(owner string) error {
	if err := os.RemoveAll(s.pinDir(owner)); err != nil {
		return fmt.Errorf("release images of %s: %w", owner, err)
	}
	return nil
}

func (s *Store) pinDir(owner string) string {
	return filepath.Join(s.dir, "pins", filepath.Base(owner))
}

// pinOwner returns an owner that has pinned the image, or "".
func (s *Store) pinOwner(id string) (string, error) {
	owners, err := os.ReadDir(filepath.Join(s.dir, "pins"))
	if err != nil {
		return "", err
	}
	for _, owner := range owners {
		if _, err := os.Stat(filepath.Join(s.pinDir(owner.Name()), id)); err == nil {
			return owner.Name(), nil
		}
	}
	return "", nil
}

// Remove removes a name from its image, and with its last name, or where ref
// is an ID, the image and every layer no other image has. A name with a digest
// stands for all of the image's names in that repository. An image that is not
// there is no error.
func (s *Store) Remove(ref string) error {
	err := s.update(func(idx *index) error {
		img := idx.find(ref)
		if img == nil {
			return nil
		}
		if less := img.less(ref); len(less.Names) > 0 {
			idx.Images[img.ID] = less
			return nil
		}
		owner, err := s.pinOwner(img.ID)
		if err != nil {
			return err
		}
		if owner != "" {
			return fmt.Errorf("container %s uses it: %w", owner, ErrInUse)
		}
		idx.drop(img.ID)
		return nil
	})
	if err == nil {
		err = s.sweep()
	}
	if err != nil {
		return fmt.Errorf("remove image %s: %w", ref, err)
	}
	return nil
}

// less is the image without what ref names.
func (img *Image) less(ref string) *Image {
	name, err := Normalize(ref)
	if err != nil || isID(img, ref) {
		return &Image{}
	}
	repo := repository(name)
	if !strings.Contains(name[len(repo):], "@") {
		return img.without([]string{name})
	}
	ours := func(n string) bool { return repository(n) == repo }
	less := img.without(slices.DeleteFunc(slices.Clone(img.Names), func(n string) bool { return !ours(n) }))
	less.Digests = slices.DeleteFunc(slices.Clone(img.Digests), ours)
	return less
}

func isID(img *Image, ref string) bool {
	return ref == img.ID || "sha256:"+ref == img.ID
}
