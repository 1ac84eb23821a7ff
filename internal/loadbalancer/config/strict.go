package config

import (
	"fmt"
	"maps"
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
		m, ok := value.(map[any]any)
		if !ok {
			return wrong("a map with the keys " + strings.Join(slices.Sorted(maps.Keys(keys(t))), ", "))
		}
		return mismatchesOfKeys(path, m, keys(t))
	case reflect.Map:
		m, ok := value.(map[any]any)
		if !ok {
			return wrong("a map")
		}
		var all []mismatch
		for _, key := range sortedKeys(m) {
			all = append(all, mismatches(join(path, fmt.Sprint(key)), m[key], t.Elem())...)
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
		switch value.(type) {
		case int, int64: // uint64 is what doesn't fit in these
		default:
			return wrong("a whole number")
		}
	case reflect.String:
		switch value.(type) {
		case map[any]any, []any:
			return wrong("text")
		}
	}
	return nil
}

func mismatchesOfKeys(path string, m map[any]any, known map[string]reflect.Type) []mismatch {
	var all []mismatch
	for _, k := range sortedKeys(m) {
		key := fmt.Sprint(k)
		if t, ok := known[key]; ok {
			all = append(all, mismatches(join(path, key), m[k], t)...)
		} else {
			all = append(all, mismatch{join(path, key), fmt.Sprintf("key %q is not known here; known keys are %s",
				key, strings.Join(slices.Sorted(maps.Keys(known)), ", "))})
		}
	}
	return all
}

// sortedKeys returns the keys in the order of their texts.
func sortedKeys(m map[any]any) []any {
	return slices.SortedFunc(maps.Keys(m), func(a, b any) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
}

// keys returns the fields of a struct by their keys.
func keys(t reflect.Type) map[string]reflect.Type {
	all := map[string]reflect.Type{}
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("yaml"), ",")
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
