package table

import "slices"

// count has a backend be named once more, or once less; nil is none.
func (b *Builder) count(ref *BackendRef, by int) {
	if ref == nil {
		return
	}
	n := b.backends[*ref]
	if _, touched := b.backendsBefore[*ref]; !touched {
		b.backendsBefore[*ref] = n > 0
	}
	if n += by; n == 0 {
		delete(b.backends, *ref)
	} else {
		b.backends[*ref] = n
	}
}

// BackendChanges returns what was added to and removed from the backends that are named by rules, by defaultBackends, by
// default-backend annotations and by the settings since it was called last, sorted. It is for those who look up endpoints:
// what they have to do for an edit is then what the edit changes.
func (b *Builder) BackendChanges() (added, removed []BackendRef) {
	for ref, before := range b.backendsBefore {
		switch _, now := b.backends[ref]; {
		case now && !before:
			added = append(added, ref)
		case !now && before:
			removed = append(removed, ref)
		}
	}
	b.backendsBefore = map[BackendRef]bool{}
	slices.SortFunc(added, BackendRef.compare)
	slices.SortFunc(removed, BackendRef.compare)
	return added, removed
}
