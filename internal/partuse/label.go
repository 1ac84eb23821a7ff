package partuse

import (
	"context"
	"runtime/pprof"
)

// Key names a part of a node, or of the control plane where Node is empty.
type Key struct{ Node, Part string }

// What goroutines bear. The names are those that a profile shows.
const (
	labelNode = "node"
	labelPart = "part"
)

// Do runs f so that its goroutine, and all that this one begins, count to the part.
func Do(ctx context.Context, k Key, f func(context.Context)) {
	pprof.Do(ctx, pprof.Labels(labelNode, k.Node, labelPart, k.Part), f)
}

// Run is Do for what may fail.
func Run(ctx context.Context, k Key, f func(context.Context) error) (err error) {
	Do(ctx, k, func(ctx context.Context) { err = f(ctx) })
	return err
}

// Leave has the calling goroutine count to no part any more: it was begun by one that
// asks for something, and works for the one that is asked.
func Leave() { pprof.SetGoroutineLabels(context.Background()) }
