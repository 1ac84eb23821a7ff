package ingress

import (
	"cmp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/types"
)

// usage is who refers to what.
type usage struct {
	of map[Key][]Key            // what an object refers to, sorted
	by map[Key]map[Key]struct{} // who refers to an object
}

func newUsage() usage {
	return usage{of: map[Key][]Key{}, by: map[Key]map[Key]struct{}{}}
}

// set says what an object refers to from now on, and returns what nobody referred to before and what nobody does any more.
func (u usage) set(user Key, refs []Key) (first, last []Key) {
	slices.SortFunc(refs, compareKeys)
	refs = slices.Compact(refs)
	was := u.of[user]
	if slices.Equal(was, refs) {
		return nil, nil
	}
	for _, k := range refs {
		if u.by[k] == nil {
			u.by[k] = map[Key]struct{}{}
			first = append(first, k)
		}
		u.by[k][user] = struct{}{}
	}
	for _, k := range was {
		if _, still := slices.BinarySearchFunc(refs, k, compareKeys); still {
			continue
		}
		delete(u.by[k], user)
		if len(u.by[k]) == 0 {
			delete(u.by, k)
			last = append(last, k)
		}
	}
	if u.of[user] = refs; len(refs) == 0 {
		delete(u.of, user)
	}
	return first, last
}

func (u usage) users(k Key) []Key {
	out := make([]Key, 0, len(u.by[k]))
	for user := range u.by[k] {
		out = append(out, user)
	}
	slices.SortFunc(out, compareKeys)
	return out
}

func compareKeys(a, b Key) int {
	return cmp.Or(cmp.Compare(a.Kind, b.Kind), strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
}

func compareText(a, b string) int { return strings.Compare(a, b) }

// keysOf names objects of one kind.
func keysOf(k Kind, names []types.NamespacedName) []Key {
	out := make([]Key, 0, len(names))
	for _, n := range names {
		out = append(out, keyOf(k, n))
	}
	return out
}
