package image

import (
	"fmt"
	"maps"
	"slices"
)

// Pruned is an image that was removed.
type Pruned struct {
	ID    string
	Names []string
}

// Prune removes the images that no container uses: those that pulls have brought
// and those without a name, and if loaded is true those that were loaded from
// files as well. It returns them, and the disk space of the layers that only they
// had, in bytes. If dry is true, nothing is removed.
func (s *Store) Prune(loaded, dry bool) (pruned []Pruned, freed int64, err error) {
	change := func(idx *index) error {
		before := maps.Clone(idx.Layers)
		for _, id := range slices.Sorted(maps.Keys(idx.Images)) {
			img := idx.Images[id]
			if len(img.Loaded) > 0 && !loaded {
				continue
			}
			owner, err := s.pinOwner(id)
			if err != nil {
				return err
			}
			if owner != "" {
				continue
			}
			pruned = append(pruned, Pruned{ID: id, Names: img.Names})
			idx.drop(id)
		}
		for name, l := range before {
			if _, kept := idx.Layers[name]; !kept {
				freed += l.Size
			}
		}
		return nil
	}
	if dry {
		err = s.locked(func(idx *index) error { return change(idx.clone()) })
	} else if err = s.update(change); err == nil {
		err = s.sweep()
	}
	if err != nil {
		return nil, 0, fmt.Errorf("prune images: %w", err)
	}
	return pruned, freed, nil
}
