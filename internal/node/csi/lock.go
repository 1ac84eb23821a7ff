package csi

import "context"

// volumeLock lets one caller at a time change a volume.
type volumeLock struct {
	free chan struct{} // has one element while nobody holds the lock
	want int
}

// lock waits until nobody else changes the volume, and returns what ends that.
func (m *Manager) lock(ctx context.Context, id volumeID) (unlock func(), err error) {
	m.mu.Lock()
	l := m.locks[id]
	if l == nil {
		l = &volumeLock{free: make(chan struct{}, 1)}
		l.free <- struct{}{}
		m.locks[id] = l
	}
	l.want++
	m.mu.Unlock()
	leave := func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		if l.want--; l.want == 0 {
			delete(m.locks, id)
		}
	}
	select {
	case <-l.free:
		return func() { l.free <- struct{}{}; leave() }, nil
	case <-ctx.Done():
		leave()
		return nil, ctx.Err()
	}
}
