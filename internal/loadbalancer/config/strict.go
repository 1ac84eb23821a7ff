package config

import (
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strings"
)

// mismatch is a value that doesn't fit a type, or a key that the type doesn't have.
type mismatch struct{ path, message string }

// mismatches compares a decoded YAML value with the type that it is for, so that all that doesn't fit can be told at
// once, with its place. A value that is null fits everything, and a scalar fits a string.
func mismatches(path string, value any, t reflect.Type) []mismatch {
	if value == nil {
		return nil
	}
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	wrong := func(want string) []mismatch {
		return []mismatch{{path, "must be " + want}}
	}
	switch t.Kind() {
	case reflect.Struct:
		m, ok := value.(map[string]any)
		if !ok {
			return wrong("a map with the keys " + strings.Join(slices.Sorted(maps.Keys(keys(t))), ", "))
		}
		return mismatchesOfKeys(path, m, keys(t))
	case reflect.Map:
		m, ok := value.(map[string]any)
		if !ok {
			return wrong("a map")
		}
		var all []mismatch
		for _, key := range slices.Sorted(maps.Keys(m)) {
			all = append(all, mismatches(join(path, key), m[key], t.Elem())...)
		}
		return all
	case reflect.Slice:
		list, ok := value.([]any)
		if !ok {
			return wrong("a list")
		}
		var all []mismatch
		for i, v := range list {
			all = append(all, mismatches(fmt.Sprintf("%s[%d]", path, i), v, t.Elem())...)
		}
		return all
	}
	return mismatchOfScalar(value, t, wrong)
}

func mismatchOfScalar(value any, t reflect.Type, wrong func(string) []mismatch) []mismatch {
	switch t.Kind() {
	case reflect.Bool:
		if _, ok := value.(bool); !ok {
			return wrong("true or false")
		}
	case reflect.Int64:
		if n, ok := value.(float64); !ok || n != math.Trunc(n) || math.Abs(n) > 1<<53 {
			return wrong("a whole number")
		}
	case reflect.String:
		switch value.(type) {
		case map[string]any, []any:
			return wrong("text")
		}
	default:
		panic("no rule for values of type " + t.String())
	}
	return nil
}

func mismatchesOfKeys(path string, m map[string]any, known map[string]reflect.Type) []mismatch {
	var all []mismatch
	for _, key := range slices.Sorted(maps.Keys(m)) {
		if t, ok := known[key]; ok {
			all = append(all, mismatches(join(path, key), m[key], t)...)
		} else {
			all = append(all, mismatch{join(path, key), fmt.Sprintf("key %q is not known here; known keys are %s",
				key, strings.Join(slices.Sorted(maps.Keys(known)), ", "))})
		}
	}
	return all
}

// keys returns the fields of a struct by their JSON names.
func keys(t reflect.Type) map[string]reflect.Type {
	all := map[string]reflect.Type{}
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		all[name] = t.Field(i).Type
	}
	return all
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}
