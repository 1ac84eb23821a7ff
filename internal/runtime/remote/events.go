package remote

import (
	"context"

	"minato/internal/runtime/oci"
)

// Event says that something happened to a container or a sandbox.
type Event = oci.Event

// Events returns a channel of what happens from now on. It is closed when ctx
// ends.
func (r *Runtime) Events(ctx context.Context) <-chan Event { return r.events.Subscribe(ctx) }
