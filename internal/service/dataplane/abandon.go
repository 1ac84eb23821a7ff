package dataplane

import (
	"maps"
	"slices"
)

// takeBack deletes what a failed change wrote, if no frontend points at it yet, so that a Service that does not fit into a
// table leaves the room to others. It returns false if frontends may point at it, or if the deletion fails; then abandon
// keeps account of the entries.
func (c *change) takeBack() bool {
	if c.published || c.r.slots.remove(c.slots.keys) != nil || c.r.maglev.remove(c.maglev.keys) != nil {
		return false
	}
	var ids []uint32
	for _, key := range c.fresh {
		ids = append(ids, c.r.known[key].id)
	}
	if c.r.backends.remove(ids) != nil {
		return false
	}
	for _, s := range c.steps {
		for _, key := range s.addedBackends {
			known := c.r.known[key]
			known.refs--
			c.r.known[key] = known
		}
		s.added, s.addedBackends = picks{}, nil
	}
	for _, key := range c.fresh {
		delete(c.r.known, key)
	}
	return true
}

// abandon is called after a write failed: it records that any of the writes may have happened.
func (c *change) abandon() {
	c.takeBack()
	for key, s := range c.steps {
		kept := &service{
			desired: s.new.desired,
			ports:   s.old.ports,
			entries: s.old.entries.with(s.new.entries),
			ranges:  union(s.old.ranges, s.new.ranges),
			lost:    s.new.lost,
			dirty:   true,

			orphaned: append(slices.Clone(s.old.orphaned), s.addedBackends...),
		}
		kept.debris.add(s.old.debris)
		kept.debris.add(s.added)
		c.keepIDs(kept, s.new)
		c.r.setService(key, kept)
		if isPod(key) {
			c.r.evicted[key] = true
		}
	}
	for place, owner := range c.took {
		c.r.owners[place] = owner
		c.r.evicted[owner.key] = true
		c.r.service(owner.key).dirty = true // a Pod's state is never packed, so this changes what r keeps
	}
}

func union[K comparable, V any](a, b map[K]V) map[K]V {
	out := make(map[K]V, len(a)+len(b))
	maps.Copy(out, a)
	maps.Copy(out, b)
	return out
}

// keepIDs keeps the numbers of the ports that are new in an abandoned step, for the next attempt.
func (c *change) keepIDs(kept, attempted *service) {
	kept.ports = slices.Clone(kept.ports)
	for pk, p := range attempted.ports.all() {
		if _, known := kept.ports.get(pk); !known {
			kept.ports.set(pk, &servicePort{id: p.id, generation: p.generation})
		}
	}
}
