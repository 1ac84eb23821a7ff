package table

import (
	"slices"
	"strings"
)

// paths holds the routes of a host of plain paths, by their text without a slash at its end. Finding one takes as many
// look-ups as the request's path has elements, and no more than the deepest route, however many routes there are.
type paths struct {
	places pmap[pathPlace]
	depth  int // the elements of the deepest route
}

// The four kinds of path that share a text without the slash at its end.
const (
	plainExact = iota
	plainExactSlash
	plainPrefix
	plainPrefixSlash
	plainKinds
)

// pathPlace has the routes of one text. It is immutable.
type pathPlace struct {
	routes [plainKinds]*Route
	rivals *[plainKinds][]Rival
}

// kindOf returns the text under which a path is kept, and its kind.
func (k pathKey) kindOf() (text string, kind int) {
	text, slash := strings.CutSuffix(k.path, "/")
	if !k.exact {
		kind = plainPrefix
	}
	if slash {
		kind++
	}
	return text, kind
}

// find returns the route of a path: the exact one, else that of the longest prefix of whole elements; nil if there is
// none. Prefix /foo/ has /foo too, where nothing else has it.
func (p *paths) find(path string) *Route {
	text, slash := strings.CutSuffix(path, "/")
	from := cut(text, p.depth)
	if from == len(text) {
		if r := p.at(text, slash); r != nil || text == "" {
			return r
		}
		from = strings.LastIndexByte(text, '/')
	}
	for text = text[:from]; text != ""; text = text[:strings.LastIndexByte(text, '/')] {
		if x := p.places.get(text); x != nil {
			if r := x.below(); r != nil {
				return r
			}
		}
	}
	if x := p.places.get(""); x != nil {
		return x.below()
	}
	return nil
}

// at returns the route of a path itself, given without the slash at its end.
func (p *paths) at(text string, slash bool) *Route {
	x := p.places.get(text)
	if x == nil {
		return nil
	}
	order := [3]int{plainExact, plainPrefix, plainPrefixSlash}
	if slash {
		order = [3]int{plainExactSlash, plainPrefixSlash, plainPrefix}
	}
	for _, kind := range order {
		if r := x.routes[kind]; r != nil {
			return r
		}
	}
	return nil
}

// below returns the route that has the paths below.
func (x *pathPlace) below() *Route {
	if r := x.routes[plainPrefixSlash]; r != nil {
		return r
	}
	return x.routes[plainPrefix]
}

// cut returns the length of a path's first elements, as many as depth.
func cut(path string, depth int) int {
	for i := range len(path) {
		if path[i] == '/' {
			if depth == 0 {
				return i
			}
			depth--
		}
	}
	return len(path)
}

// set returns the paths with another route of a key, nil for none.
func (p paths) set(gen uint64, key pathKey, r *Route, rivals []Rival) paths {
	text, kind := key.kindOf()
	n := &pathPlace{}
	if old := p.places.get(text); old != nil {
		*n = *old
	}
	n.routes[kind] = r
	if len(rivals) > 0 || n.rivals != nil && len(n.rivals[kind]) > 0 {
		all := &[plainKinds][]Rival{}
		if n.rivals != nil {
			*all = *n.rivals
		}
		all[kind] = rivals
		n.rivals = all
	}
	if n.routes == [plainKinds]*Route{} {
		p.places = p.places.del(gen, text)
	} else {
		p.places = p.places.set(gen, text, n)
	}
	return p
}

// depthOf returns the number of elements of a path.
func (k pathKey) depthOf() int {
	text, _ := k.kindOf()
	return strings.Count(text, "/")
}

// candidates returns what there is, by text, Exact first.
func (p *paths) candidates() []candidate {
	var all []candidate
	p.places.all(func(_ string, x *pathPlace) {
		for kind, r := range x.routes {
			if r != nil {
				c := candidate{route: r}
				if x.rivals != nil {
					c.rivals = x.rivals[kind]
				}
				all = append(all, c)
			}
		}
	})
	slices.SortFunc(all, func(a, b candidate) int {
		if c := strings.Compare(a.route.Path, b.route.Path); c != 0 {
			return c
		}
		return strings.Compare(string(a.route.PathType), string(b.route.PathType))
	})
	return all
}
