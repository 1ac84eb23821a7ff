package cluster

import (
	"encoding/json"
	"io"
	"sync"
	"time"
)

// Event is one step of a start, as the server tells it to `up`: a line of JSON.
type Event struct {
	// Stage is what was reached, such as "etcd" or "node-1".
	Stage string `json:"stage,omitempty"`
	// At is the time since the server's start, Took the stage's own part.
	At   time.Duration `json:"at"`
	Took time.Duration `json:"took,omitempty"`
	// Ready says that the cluster is complete: the last event of a good start.
	Ready bool `json:"ready,omitempty"`
	// Error says why there will be no cluster: the last event of a bad start.
	Error string `json:"error,omitempty"`
}

// progress writes events to whoever started the server, and keeps them.
type progress struct {
	start time.Time

	mu     sync.Mutex
	out    io.WriteCloser // nil once nobody listens any more
	events []Event
}

func newProgress(start time.Time, out io.WriteCloser) *progress {
	return &progress{start: start, out: out}
}

// stage reports that the work begun at began is done.
func (p *progress) stage(name string, began time.Time) {
	p.report(Event{Stage: name, Took: time.Since(began)})
}

func (p *progress) report(e Event) {
	e.At = time.Since(p.start)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.events = append(p.events, e)
	if p.out == nil {
		return
	}
	line, err := json.Marshal(e)
	if err == nil {
		_, err = p.out.Write(append(line, '\n'))
	}
	// An `up` that was ended no longer reads; the cluster comes up all the same.
	if err != nil || e.Ready || e.Error != "" {
		p.out.Close()
		p.out = nil
	}
}

// followed tells whether somebody waits for the end of the start.
func (p *progress) followed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out != nil
}

// all returns the events so far.
func (p *progress) all() []Event {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]Event(nil), p.events...)
}
