package oci

import (
	"context"
	"sync"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Event says that something happened to a container.
type Event struct {
	Type                   runtimeapi.ContainerEventType
	ContainerID, SandboxID string
	At                     time.Time
}

// eventBuffer is how far a reader may fall behind before it loses events. A
// reader should list everything now and then anyway.
const eventBuffer = 1024

// Broadcaster hands events to every reader without ever waiting for one. The zero value has none.
type Broadcaster struct {
	mu   sync.Mutex
	subs map[chan Event]struct{}
}

// Events returns a channel of what happens from now on. It is closed when ctx
// ends.
func (r *Runtime) Events(ctx context.Context) <-chan Event {
	return r.events.Subscribe(ctx)
}

// Subscribe returns a channel of what is sent from now on. It is closed when ctx ends.
func (b *Broadcaster) Subscribe(ctx context.Context) <-chan Event {
	ch := make(chan Event, eventBuffer)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.subs == nil {
		b.subs = map[chan Event]struct{}{}
	}
	b.subs[ch] = struct{}{}
	context.AfterFunc(ctx, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.subs, ch)
		close(ch)
	})
	return ch
}

// Send hands an event to all readers, and tells whether one was too far behind to get it.
func (b *Broadcaster) Send(e Event) (lost bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for ch := range b.subs {
		select {
		case ch <- e:
		default:
			lost = true
		}
	}
	return lost
}

func (r *Runtime) emit(c *container, typ runtimeapi.ContainerEventType) {
	e := Event{Type: typ, ContainerID: c.state.ID, SandboxID: c.state.SandboxID, At: time.Now()}
	if r.events.Send(e) {
		r.log.Warn("a reader of container events is too slow and has lost one", "container", e.ContainerID)
	}
}

// GetContainerEvents implements CRI; it returns when ctx ends. The callback is
// called with a nil stream, since there is none in process.
func (r *Runtime) GetContainerEvents(ctx context.Context, out chan *runtimeapi.ContainerEventResponse, connected func(runtimeapi.RuntimeService_GetContainerEventsClient)) error {
	events := r.Events(ctx)
	if connected != nil {
		connected(nil)
	}
	for e := range events {
		resp := &runtimeapi.ContainerEventResponse{
			ContainerId:        e.ContainerID,
			ContainerEventType: e.Type,
			CreatedAt:          e.At.UnixNano(),
		}
		if status, err := r.PodSandboxStatus(ctx, e.SandboxID, false); err == nil {
			resp.PodSandboxStatus = status.GetStatus()
			resp.ContainersStatuses = status.GetContainersStatuses()
		}
		select {
		case out <- resp:
		case <-ctx.Done():
		}
	}
	return ctx.Err()
}
