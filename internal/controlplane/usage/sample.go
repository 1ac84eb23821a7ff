package usage

import "time"

// reading is one look at the counters of a node or a container.
type reading struct {
	at      time.Time
	started time.Time // of a container; zero where the node doesn't tell
	cpu     float64   // seconds since the start
	memory  float64   // the working set, in bytes
}

// rate is what was used between two readings.
type rate struct {
	at     time.Time
	window time.Duration
	cores  float64
	memory float64 // at the end
}

// between is the rate between two readings of the same thing; false if the
// later one is not of the same run, or not later.
func between(a, b reading) (rate, bool) {
	window := b.at.Sub(a.at)
	if window <= 0 || !a.started.Equal(b.started) || b.cpu < a.cpu {
		return rate{}, false
	}
	return rate{at: b.at, window: window, cores: (b.cpu - a.cpu) / window.Seconds(), memory: b.memory}, true
}

// podKey names a Pod.
type podKey struct{ namespace, name string }

// sample is one look at a node: at the node itself, if it tells of that, and at
// the containers that run, by Pod and name.
type sample struct {
	at   time.Time // by the clock of the one who asks
	node *reading
	pods map[podKey]map[string]reading
}

// window is the least time between two samples for a rate, where there are
// samples to choose from: as long as that between two samples of metrics-server.
const window = 15 * time.Second

// history is the samples of one node, oldest first.
type history []sample

// add returns a history with one more sample. It forgets those that no rate is
// made of any more, and keeps a bounded number of others.
func (h history) add(s sample) history {
	next := append(append(make(history, 0, len(h)+1), h...), s)
	for len(next) > maxSamples || len(next) > 2 && s.at.Sub(next[1].at) >= window {
		next = next[1:]
	}
	return next
}

// maxSamples is enough for one a second while the window lasts.
const maxSamples = 16

// since returns the history without what is older.
func (h history) since(t time.Time) history {
	for len(h) > 0 && h[0].at.Before(t) {
		h = h[1:]
	}
	return h
}

// rate of what pick finds in a sample, up to the last one. It is that of the
// shortest time that is as long as the window, or of the longest that there is.
func (h history) rate(pick func(sample) (reading, bool)) (rate, bool) {
	if len(h) < 2 {
		return rate{}, false
	}
	last, ok := pick(h[len(h)-1])
	if !ok {
		return rate{}, false
	}
	var best rate
	found := false
	for i := len(h) - 2; i >= 0; i-- {
		earlier, ok := pick(h[i])
		if !ok {
			break
		}
		r, ok := between(earlier, last)
		if !ok {
			continue // a node may answer twice with the same look
		}
		if best, found = r, true; r.window >= window {
			break
		}
	}
	return best, found
}

// nodeRate is the rate of the node itself.
func (h history) nodeRate() (rate, bool) {
	return h.rate(func(s sample) (reading, bool) {
		if s.node == nil {
			return reading{}, false
		}
		return *s.node, true
	})
}

// podRates are those of the containers of a Pod that run; false unless there is
// one for each of them.
func (h history) podRates(key podKey) (map[string]rate, bool) {
	if len(h) == 0 || len(h[len(h)-1].pods[key]) == 0 {
		return nil, false
	}
	out := map[string]rate{}
	for name := range h[len(h)-1].pods[key] {
		r, ok := h.rate(func(s sample) (reading, bool) {
			c, ok := s.pods[key][name]
			return c, ok
		})
		if !ok {
			return nil, false
		}
		out[name] = r
	}
	return out, true
}
