package ingress

import (
	"testing"
	"time"
)

// aProcess is a Process in a state.
type aProcess struct {
	state   State
	unknown bool
}

func (p *aProcess) State() (State, bool)     { return p.state, !p.unknown }
func (p *aProcess) Changed() <-chan struct{} { return nil }

// TestRegistrationIsPatient: a proxy that is back soon is not taken from the Service, and one that stays away is.
func TestRegistrationIsPatient(t *testing.T) {
	p := &aProcess{unknown: true}
	r := &Registration{cfg: RegistrationConfig{Process: p}}
	start := time.Unix(1000, 0)
	ready, gone, unknown := aProcess{state: State{Ready: true}}, aProcess{}, aProcess{unknown: true}
	for i, s := range []struct {
		is   aProcess
		at   time.Duration
		want time.Duration
	}{
		{unknown, 0, 0},
		{gone, time.Second, 0}, // it never was ready: there is nothing to keep
		{ready, 2 * time.Second, 0},
		{gone, 10 * time.Second, patience},
		{gone, 11 * time.Second, patience - time.Second},
		{ready, 11500 * time.Millisecond, 0},
		{gone, 20 * time.Second, patience}, // anew
		{gone, 20*time.Second + patience, 0},
		{gone, 30 * time.Second, 0},
		{ready, 31 * time.Second, 0},
		{gone, 40 * time.Second, patience},
	} {
		*p = s.is
		if got := r.hold(start.Add(s.at)); got != s.want {
			t.Errorf("step %d: it waits %v, want %v", i, got, s.want)
		}
	}
}
