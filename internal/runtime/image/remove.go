package image

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
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
// is an ID, the image and every layer no other image has. An image that is not
// there is no error.
func (s *Store) Remove(ref string) error {
	err := s.update(func(idx *index) error {
		img := idx.find(ref)
		if img == nil {
			return nil
		}
		if name, err := Normalize(ref); err == nil && len(img.Names) > 1 && slices.Contains(img.Names, name) && !isID(img, ref) {
			idx.Images[img.ID] = img.without([]string{name})
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

func isID(img *Image, ref string) bool {
	return ref == img.ID || "sha256:"+ref == img.ID
}
