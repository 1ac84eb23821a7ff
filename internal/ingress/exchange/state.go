package exchange

import "sync/atomic"

// State is what a filter keeps for a set of endpoints: a value that is made once and read by many. It ends with the set.
type State struct{ p atomic.Pointer[any] }

// Load returns the value, nil if none was stored.
func (s *State) Load() any {
	if v := s.p.Load(); v != nil {
		return *v
	}
	return nil
}

// Store replaces the value.
func (s *State) Store(v any) { s.p.Store(&v) }
