package image

import (
	"maps"
	"slices"
	"strings"
)

// clone copies the maps; images are replaced, never changed.
func (x *index) clone() *index {
	return &index{Images: maps.Clone(x.Images), Layers: maps.Clone(x.Layers)}
}

// find looks an image up the way [Store.Get] describes.
func (x *index) find(ref string) *Image {
	if img := x.Images[ref]; img != nil {
		return img
	}
	if isHexDigest(ref) {
		return x.Images["sha256:"+ref]
	}
	name, err := Normalize(ref)
	if err != nil {
		return nil
	}
	if repo, digest, ok := strings.Cut(name, "@"); ok {
		return x.findDigest(repo, digest)
	}
	for _, img := range x.Images {
		if slices.Contains(img.Names, name) {
			return img
		}
	}
	return nil
}

// findDigest takes the digest of a manifest or, since images from
// docker-archives have no manifest, the image's ID under one of its names.
func (x *index) findDigest(repo, digest string) *Image {
	for _, img := range x.Images {
		if slices.Contains(img.Digests, repo+"@"+digest) {
			return img
		}
		if img.ID == digest && slices.ContainsFunc(img.Names, func(n string) bool { return repository(n) == repo }) {
			return img
		}
	}
	return nil
}

// put adds img, or adds to the names that it has already, and to those who may
// use it. Names that other images had are taken from them.
func (x *index) put(img *Image, names, digests []string, loaded bool) {
	merged := *img
	if have := x.Images[img.ID]; have != nil {
		merged = *have
		merged.Access = maps.Clone(have.Access)
		for repo, access := range img.Access {
			if merged.Access == nil {
				merged.Access = map[string]Access{}
			}
			merged.Access[repo] = merged.Access[repo].with(access)
		}
	}
	merged.Names = sortedUnion(merged.Names, names)
	merged.Digests = union(digests, merged.Digests)
	if loaded {
		merged.Loaded = sortedUnion(merged.Loaded, names)
	}
	for id, other := range x.Images {
		if id == img.ID || !slices.ContainsFunc(other.Names, func(n string) bool { return slices.Contains(names, n) }) {
			continue
		}
		x.Images[id] = other.without(names)
	}
	x.Images[img.ID] = &merged
}

// without returns the image without some of its names.
func (img *Image) without(names []string) *Image {
	among := func(n string) bool { return slices.Contains(names, n) }
	less := *img
	less.Names = slices.DeleteFunc(slices.Clone(img.Names), among)
	less.Loaded = slices.DeleteFunc(slices.Clone(img.Loaded), among)
	return &less
}

// drop removes an image, and the layers that no other image has.
func (x *index) drop(id string) {
	img := x.Images[id]
	delete(x.Images, id)
	for _, layer := range img.Layers {
		used := false
		for _, other := range x.Images {
			used = used || slices.Contains(other.Layers, layer)
		}
		if !used {
			delete(x.Layers, layer)
		}
	}
}

func sortedUnion(a, b []string) []string {
	union := append(slices.Clone(a), b...)
	slices.Sort(union)
	return slices.Compact(union)
}

// union has what is in a or b, in that order.
func union(a, b []string) []string {
	var out []string
	for _, s := range slices.Concat(a, b) {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}
