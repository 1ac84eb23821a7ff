package oci

import (
	"context"
	"runtime"

	"golang.org/x/sync/semaphore"
)

// Gate bounds how many containers are created or started at the same time, in
// the order in which they came. Each keeps a processor busy, so that more of
// them at a time end no sooner, but leave nothing for who watches them: probes
// fail, and the API is not answered. The runtimes of one machine share one. A
// nil Gate is always open.
type Gate struct {
	places *semaphore.Weighted
}

// startsPerProcessor is how many keep a processor busy: each waits for others
// now and then.
const startsPerProcessor = 2

// NewGate returns a gate for this machine.
func NewGate() *Gate { return newGate(startsPerProcessor * runtime.GOMAXPROCS(0)) }

func newGate(places int) *Gate { return &Gate{semaphore.NewWeighted(int64(places))} }

// enter waits for a place, which leave gives back. The error is that of ctx.
func (g *Gate) enter(ctx context.Context) (leave func(), err error) {
	if g == nil {
		return func() {}, nil
	}
	if err := g.places.Acquire(ctx, 1); err != nil {
		return nil, err
	}
	return func() { g.places.Release(1) }, nil
}
