package balancer

import (
	"context"
	"sync"
	"time"
)

// flowsPeriod is how often it is looked whether another table of flows has come, with a `minato proxy` that started later.
const flowsPeriod = 10 * time.Second

// announce announces addresses until ctx ends. It begins anew, with what is in the kernel, when the Service data plane on
// this node has another table of flows.
func (b *balancer) announce(ctx context.Context) error {
	for ctx.Err() == nil {
		running, stop := context.WithCancel(ctx)
		var watching sync.WaitGroup
		watching.Go(func() { b.watchFlows(running, stop) })
		err := b.node.Run(running)
		again := running.Err() != nil
		stop()
		watching.Wait()
		if !again || ctx.Err() != nil {
			return err
		}
	}
	return nil
}

// watchFlows calls changed once if there is another table of flows.
func (b *balancer) watchFlows(ctx context.Context, changed func()) {
	ticker := time.NewTicker(flowsPeriod)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if b.flows.Changed() {
			b.log.Info("The Service data plane of this node has another table of flows, which is used from now on")
			changed()
			return
		}
	}
}
