package bgp

// changes is a channel that tells of changes and never blocks who makes them.
type changes chan struct{}

func newChanges() changes { return make(changes, 1) }

func (c changes) notify() {
	select {
	case c <- struct{}{}:
	default:
	}
}
