package foreign

import (
	"context"
	"errors"
	"fmt"

	"k8s.io/client-go/tools/cache"
)

// ErrChanged ends a process, so that the kubelet or the service manager starts it again. What it pinned works on in the
// meantime.
var ErrChanged = errors.New("the node has changed, and the process has to be started again")

// Follow calls compare whenever an object of one of the informers has changed, until ctx ends or compare returns an error.
func Follow(ctx context.Context, compare func() error, informed ...cache.SharedIndexInformer) error {
	wake := make(chan struct{}, 1)
	changed := func(any) {
		select {
		case wake <- struct{}{}:
		default:
		}
	}
	waits := make([]cache.DoneChecker, 0, len(informed))
	for _, i := range informed {
		r, err := i.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc: changed, UpdateFunc: func(_, o any) { changed(o) }, DeleteFunc: changed,
		})
		if err != nil {
			return fmt.Errorf("follow the node: %w", err)
		}
		defer i.RemoveEventHandler(r)
		waits = append(waits, r.HasSyncedChecker())
	}
	if !cache.WaitFor(ctx, "", waits...) {
		return nil
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-wake:
		}
		if err := compare(); err != nil {
			return err
		}
	}
}
