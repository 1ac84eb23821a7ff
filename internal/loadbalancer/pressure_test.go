package loadbalancer

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// What gives way goes on when the pressure ends, and is not kept back for good where it doesn't.
func TestPressure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &Pressure{}
		waited := func() time.Duration {
			began := time.Now()
			p.giveWay(t.Context())
			return time.Since(began)
		}
		if got := waited(); got != 0 {
			t.Errorf("without pressure a request waits %v", got)
		}
		p.set(true)
		p.set(true)
		if got := waited(); got != pressureAtMost {
			t.Errorf("under pressure that lasts a request waits %v, want %v", got, pressureAtMost)
		}
		const after = 300 * time.Millisecond
		time.AfterFunc(after, func() { p.set(false) })
		if got := waited(); got != after {
			t.Errorf("under pressure that ends after %v a request waits %v", after, got)
		}
		p.set(true)
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		began := time.Now()
		if p.giveWay(ended); time.Since(began) != 0 {
			t.Errorf("a process that ends waits %v", time.Since(began))
		}
	})
}

// No pressure is left behind when all addresses are written, nor when the Controller ends.
func TestPressureEnds(t *testing.T) {
	p := &Pressure{}
	w := newWorld(t)
	w.cfg.Pressure = p
	w.start()
	w.api.create(loadBalancer("web"))
	w.wantAddress("web", "172.30.200.1")
	calm := func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.over == nil
	}
	w.eventually("the end of the pressure", calm, func() any { return w.Snapshot() })
	w.stop()
	if !calm() {
		t.Error("a Controller that has ended keeps others waiting")
	}
}
