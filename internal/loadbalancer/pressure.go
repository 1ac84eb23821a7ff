package loadbalancer

import (
	"context"
	"sync"
	"time"
)

// Pressure says whether addresses of Services are being written. What only tells about them, as events and reports do,
// waits meanwhile, so that thousands of Services at once have their addresses first. All parts of a process share one; nil
// is one without pressure.
type Pressure struct {
	mu sync.Mutex
	// over is closed when the pressure ends; nil while there is none.
	over chan struct{}
}

// pressureAtMost is how long one request waits: nothing may be kept back for good.
const pressureAtMost = time.Second

// set notes whether there is pressure.
func (p *Pressure) set(on bool) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case on && p.over == nil:
		p.over = make(chan struct{})
	case !on && p.over != nil:
		close(p.over)
		p.over = nil
	}
}

// giveWay returns when there is no pressure, or when the caller has waited for long enough.
func (p *Pressure) giveWay(ctx context.Context) {
	if p == nil {
		return
	}
	p.mu.Lock()
	over := p.over
	p.mu.Unlock()
	if over == nil {
		return
	}
	timer := time.NewTimer(pressureAtMost)
	defer timer.Stop()
	select {
	case <-over:
	case <-timer.C:
	case <-ctx.Done():
	}
}
