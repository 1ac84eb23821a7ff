package compat

import (
	"slices"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime"
)

const (
	// deepest is how many steps below the top a field is looked for that has another
	// default today: spec.strategy.rollingUpdate.maxSurge is one.
	deepest = 4
	// attempts is how many fields are looked at, since each costs a conversion.
	attempts = 100
)

// templates are fields that are the same in all versions, with the same defaults.
var templates = []string{"template", "jobTemplate", "volumeClaimTemplates"}

// private are fields that an API server writes to keep what today's version has
// no field for; nobody has to write them.
var private = []string{"templateGeneration", "deprecated.daemonset.template.generation"}

// formsOf says what an internal object that was written in an old version is like
// in today's: the fields that are others there, and those that might be left out in
// the old version and must not be today because the default is another.
func formsOf(r *resource, obj runtime.Object) []string {
	old, err := plainly(r.scheme(), obj, r.old)
	if err != nil {
		return nil // the API server could not have read it
	}
	today, err := plainly(r.scheme(), obj, r.today)
	if err != nil {
		return nil
	}
	var d difference
	d.compare(nil, old, today)
	d.defaults(r, old, today)
	var out []string
	for _, part := range []struct {
		what []string
		note string
	}{{d.changed, ""}, {d.explicit, " (the default is another today)"}, {d.gone, ""}} {
		if len(part.what) > 0 {
			out = append(out, join(part.what)+part.note)
		}
	}
	return out
}

// difference is what is found out about two forms of an object.
type difference struct {
	changed, explicit, gone []string
}

// compare notes what of today's form the old one has not.
func (d *difference) compare(way steps, old, today map[string]any) {
	for _, name := range names(today) {
		next := way.then(step{name: name})
		if len(way) == 0 && (name == "apiVersion" || name == "kind") || slices.Contains(private, name) {
			continue
		}
		d.compareField(next, old[name], today[name])
	}
	for _, name := range names(old) {
		if _, ok := today[name]; !ok && !slices.Contains(private, name) {
			d.gone = append(d.gone, "no "+way.then(step{name: name}).String())
		}
	}
}

func (d *difference) compareField(way steps, old, today any) {
	if equality.Semantic.DeepEqual(old, today) {
		return
	}
	switch today := today.(type) {
	case map[string]any:
		if was, ok := old.(map[string]any); ok {
			d.compare(way, was, today)
			return
		}
		if len(withoutPrivate(today)) == 0 {
			return
		}
	case []any:
		was, ok := old.([]any)
		if !ok || len(was) != len(today) {
			break
		}
		for i := range today {
			d.compareField(way.then(step{index: i}), was[i], today[i])
		}
		return
	}
	d.changed = append(d.changed, way.String()+": "+value(today))
}

func withoutPrivate(m map[string]any) []string {
	return slices.DeleteFunc(names(m), func(name string) bool { return slices.Contains(private, name) })
}

// defaults notes the fields that are equal in both forms and that the old version
// gives a value which today's does not.
func (d *difference) defaults(r *resource, old, today map[string]any) {
	left := attempts
	var look func(way steps, v any)
	look = func(way steps, v any) {
		if list, ok := v.([]any); ok {
			for i := range list {
				look(way.then(step{index: i}), list[i])
			}
		}
		if v, ok := v.(map[string]any); ok {
			for _, name := range names(v) {
				next := way.then(step{name: name})
				was, ok := next.at(old)
				if !ok || left == 0 || len(next) == 1 && name != "spec" && name != "webhooks" {
					continue
				}
				if len(next) > 1 && equality.Semantic.DeepEqual(was, v[name]) {
					left--
					if restored(r.scheme(), old, old, r.old.WithKind(r.kind), next) &&
						!restored(r.scheme(), today, today, r.today.WithKind(r.kind), next) {
						d.explicit = append(d.explicit, next.String()+": "+value(v[name]))
						continue
					}
				}
				if len(next) < deepest && !slices.Contains(templates, name) {
					look(next, v[name])
				}
			}
		}
	}
	look(nil, today)
}
