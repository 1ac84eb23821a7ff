package dataplane

import "iter"

// few is a map of a handful of entries, kept in a slice: every Service has some, and that takes a fraction of a map's memory.
type few[K comparable, V any] []pair[K, V]

type pair[K comparable, V any] struct {
	key   K
	value V
}

func (f few[K, V]) get(k K) (v V, ok bool) {
	for i := range f {
		if f[i].key == k {
			return f[i].value, true
		}
	}
	return v, false
}

func (f *few[K, V]) set(k K, v V) {
	for i := range *f {
		if (*f)[i].key == k {
			(*f)[i].value = v
			return
		}
	}
	*f = append(*f, pair[K, V]{k, v})
}

// all goes through the entries in the order in which their keys were set first.
func (f few[K, V]) all() iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		for i := range f {
			if !yield(f[i].key, f[i].value) {
				return
			}
		}
	}
}

// with returns the entries of both; where both have one, o's.
func (f few[K, V]) with(o few[K, V]) few[K, V] {
	out := make(few[K, V], len(f), len(f)+len(o))
	copy(out, f)
	for k, v := range o.all() {
		out.set(k, v)
	}
	return out
}
