package config

import (
	"fmt"
	"strings"
	"unicode"

	"k8s.io/apimachinery/pkg/util/validation/field"
)

// origin is where an object was read from: an object of the API, or a part of the ConfigMap.
type origin struct {
	object Object
	// part is the path within the ConfigMap, as in address-pools[0]; empty for an object of the API.
	part string
	// scalar says that the part has no keys below it.
	scalar bool
	// what names the part for people, as in pool "default".
	what string
}

// entry is an object with its origin.
type entry[T any] struct {
	object T
	origin origin
}

// problem makes one of an error of a field. left says that the object, or the part of the ConfigMap, is left out.
func (o origin) problem(err *field.Error, left bool) Problem {
	p := Problem{Object: o.object, Field: err.Field, Message: err.Detail, Unused: left}
	if p.Message == "" {
		p.Message = err.ErrorBody()
	}
	if o.part != "" {
		p.Field = o.part
		if !o.scalar {
			p.Field += keysOf(err.Field)
		}
		p.Unused = false // the rest of the ConfigMap is used
		if left {
			p.Message += fmt.Sprintf("; %s of the ConfigMap is left out", o.what)
		}
	}
	return p
}

// irregular are fields of objects whose keys in the ConfigMap are not made by the rule.
var irregular = map[string]string{"localPref": "localpref", "ebgpMultiHop": "ebgp-multihop"}

// keysOf turns the path of a field of an object, as in spec.avoidBuggyIPs, into that below a part of the ConfigMap, as
// in .avoid-buggy-ips.
func keysOf(path string) string {
	_, path, ok := strings.Cut(path, ".") // spec or metadata
	if !ok {
		return ""
	}
	var b strings.Builder
	for _, name := range strings.Split(path, ".") {
		b.WriteByte('.')
		name, index, indexed := strings.Cut(name, "[")
		if key, ok := irregular[name]; ok {
			name = key
		}
		lower := false
		for _, c := range name {
			if lower && unicode.IsUpper(c) {
				b.WriteByte('-')
			}
			lower = unicode.IsLower(c)
			b.WriteRune(unicode.ToLower(c))
		}
		if indexed {
			b.WriteString("[" + index)
		}
	}
	return b.String()
}
