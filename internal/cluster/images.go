package cluster

import (
	"context"
	"fmt"
	"time"

	"minato/internal/runtime/image"
)

// Image is one image of a cluster's content store.
type Image struct {
	ID      string    `json:"id"`
	Names   []string  `json:"names"`
	Size    int64     `json:"size"` // bytes on disk
	AddedAt time.Time `json:"addedAt"`
}

// LoadImages puts the images of a file into the store that all nodes of the
// cluster share, and returns their names. progress, which may be nil, is called
// with counts of bytes.
func LoadImages(ctx context.Context, name, file string, progress func(image string, done, total int64)) ([]string, error) {
	store, err := openImages(name)
	if err != nil {
		return nil, err
	}
	loaded, err := store.Load(ctx, file, func(p image.Progress) {
		if progress != nil {
			progress(p.Image, p.Done, p.Total)
		}
	})
	var names []string
	for _, l := range loaded {
		if len(l.Names) == 0 {
			names = append(names, l.ID)
		}
		names = append(names, l.Names...)
	}
	return names, err
}

// ListImages returns the images that every node of the cluster can run.
func ListImages(name string) ([]Image, error) {
	store, err := openImages(name)
	if err != nil {
		return nil, err
	}
	all, err := store.List()
	if err != nil {
		return nil, err
	}
	images := make([]Image, 0, len(all))
	for _, img := range all {
		images = append(images, Image{ID: img.ID, Names: img.Names, Size: img.Size, AddedAt: img.AddedAt})
	}
	return images, nil
}

func openImages(name string) (*image.Store, error) {
	if err := ValidateName(name); err != nil {
		return nil, err
	}
	if err := RequireRoot(); err != nil {
		return nil, err
	}
	if _, err := LoadConfig(name); err != nil {
		return nil, err
	}
	return image.Open(Paths{Name: name}.Store())
}

// RemoveImage removes a name from the store, and with its last name the image.
// It returns ErrNoImage for one that is not there.
func RemoveImage(name, ref string) error {
	store, err := openImages(name)
	if err != nil {
		return err
	}
	if _, err := store.Get(ref); err != nil {
		return fmt.Errorf("remove: %w; `minato image ls%s` lists those that there are", err, nameFlag(name))
	}
	return store.Remove(ref)
}
