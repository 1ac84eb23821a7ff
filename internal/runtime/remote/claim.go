package remote

import "context"

// claim has what is made for a Pod beside the runtime to the caller alone, until
// release: the runtime does not list a sandbox before it is made, so nobody else
// can tell that what is there for the Pod is in use.
func (r *Runtime) claim(ctx context.Context, uid string) error {
	for {
		held := r.tryClaim(uid)
		if held == nil {
			return nil
		}
		select {
		case <-held:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// tryClaim is claim without a wait: it returns what is closed when another one
// releases the Pod, and nil if the Pod is the caller's.
func (r *Runtime) tryClaim(uid string) <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if held := r.claimed[uid]; held != nil {
		return held
	}
	r.claimed[uid] = make(chan struct{})
	return nil
}

func (r *Runtime) release(uid string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	close(r.claimed[uid])
	delete(r.claimed, uid)
}

// busy tells whether sandboxes are being made or cleared away.
func (r *Runtime) busy() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.claimed) > 0
}
