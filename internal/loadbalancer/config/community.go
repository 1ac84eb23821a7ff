package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"minato/internal/loadbalancer/config/metallb"
)

// ParseCommunity reads a BGP community: 64500:100, or large:64500:1:2.
func ParseCommunity(s string) (Community, error) {
	parts := strings.Split(s, ":")
	c := Community{Large: len(parts) == 4 && parts[0] == "large"}
	bits := 16
	if c.Large {
		parts, bits = parts[1:], 32
	} else if len(parts) != 2 {
		return Community{}, fmt.Errorf("%q is no community; write one as 64500:100 or as large:64500:1:2", s)
	}
	for i, part := range parts {
		n, err := strconv.ParseUint(part, 10, bits)
		if err != nil {
			return Community{}, fmt.Errorf("%q of community %q is not a number from 0 to %d", part, s, uint64(1)<<bits-1)
		}
		c.Parts[i] = uint32(n)
	}
	return c, nil
}

// String returns the community in the form that ParseCommunity reads.
func (c Community) String() string {
	if c.Large {
		return fmt.Sprintf("large:%d:%d:%d", c.Parts[0], c.Parts[1], c.Parts[2])
	}
	return fmt.Sprintf("%d:%d", c.Parts[0], c.Parts[1])
}

// CheckCommunity returns what keeps a Community from being used: a name without a value, a bad value, or a name to which
// it or one of the others gives another value. Of the others it ignores the object itself and those of other namespaces.
func CheckCommunity(object metallb.Community, others []metallb.Community) field.ErrorList {
	known := aliases{}
	for _, o := range others {
		if o.Namespace == Namespace && o.Name != object.Name {
			known.add(o)
		}
	}
	return known.add(object)
}

// aliases are the names that objects give to communities.
type aliases map[string]Community

// add takes the aliases of an object, if it has no error.
func (a aliases) add(object metallb.Community) field.ErrorList {
	path := field.NewPath("spec", "communities")
	errs := checkMeta(&object)
	own := aliases{}
	for i, alias := range object.Spec.Communities {
		c, err := ParseCommunity(alias.Value)
		switch {
		case alias.Name == "":
			errs = append(errs, field.Required(path.Index(i).Child("name"), "has no name; give it one"))
		case err != nil:
			errs = append(errs, field.Invalid(path.Index(i).Child("value"), alias.Value, err.Error()))
		case !agrees(a, alias.Name, c) || !agrees(own, alias.Name, c):
			errs = append(errs, field.Invalid(path.Index(i).Child("name"), alias.Name, fmt.Sprintf(
				"community %q has another value elsewhere; use another name", alias.Name)))
		default:
			own[alias.Name] = c
		}
	}
	if len(errs) == 0 {
		for name, c := range own {
			a[name] = c
		}
	}
	return errs
}

func agrees(a aliases, name string, c Community) bool {
	old, ok := a[name]
	return !ok || old == c
}

// resolve returns the communities of names and numbers, sorted and each once; errors of those that are neither; and
// errors of those that look like names and have no value yet.
func (a aliases) resolve(path *field.Path, all []string) (found []Community, bad, unknown field.ErrorList) {
	for i, s := range all {
		c, ok := a[s]
		if !ok {
			var err error
			if c, err = ParseCommunity(s); err != nil {
				if n := strings.Count(s, ":"); s == "" || n == 1 || n == 3 {
					bad = append(bad, field.Invalid(path.Index(i), s, err.Error()))
				} else {
					unknown = append(unknown, unknownCommunity(path.Index(i), s))
				}
				continue
			}
		}
		found = append(found, c)
	}
	slices.SortFunc(found, func(c, o Community) int {
		if c.Large != o.Large {
			return strings.Compare(c.String(), o.String()) // "6…" before "large:…"
		}
		return slices.Compare(c.Parts[:], o.Parts[:])
	})
	return slices.Compact(found), bad, unknown
}

func unknownCommunity(path *field.Path, name string) *field.Error {
	err := field.NotFound(path, name)
	err.Detail = fmt.Sprintf("no Community has the name %q; create one that does. Without it nothing is announced, "+
		"since a community may be what keeps routes from spreading", name)
	return err
}
