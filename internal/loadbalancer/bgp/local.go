package bgp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// LocalConfig is what a Local needs.
type LocalConfig struct {
	Logger *slog.Logger
}

// Local speaks BGP in this process, in the network namespace that the process is in. A process has one at a time: the
// library has settings that are the process's.
type Local struct {
	log *slog.Logger
	// keep has peers with graceful restart keep the routes when Run ends.
	keep   atomic.Bool
	desire *desire
	board  *board
	ran    atomic.Bool

	mu     sync.Mutex // guards router
	router *router    // nil without peers
	// began says that there has been a router in this process.
	began bool
}

var _ Speaker = (*Local)(nil)

// retryAfter is when a peer is tried again that the library did not take, or whose interface had no router.
const retryAfter = time.Second

// NewLocal returns a speaker that Run starts.
func NewLocal(c LocalConfig) (*Local, error) {
	if c.Logger == nil {
		return nil, errors.New("BGP speaker: a logger is missing")
	}
	l := &Local{log: c.Logger, desire: newDesire(), board: newBoard()}
	l.keep.Store(true)
	return l, nil
}

// Run is part of Speaker. When ctx ends, the sessions end, and peers with graceful restart keep the routes for two minutes:
// another process may follow this one.
func (l *Local) Run(ctx context.Context) error {
	if l.ran.Swap(true) {
		return errors.New("BGP speaker: Run was called twice")
	}
	// The library's watch of sessions has to last until they have ended.
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer l.stop()
	retry := time.NewTimer(0)
	retry.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-l.desire.wake:
		case <-retry.C:
		}
		state, number := l.desire.get()
		if number == 0 {
			continue
		}
		again, err := l.reach(running, state)
		if err != nil {
			return err
		}
		l.desire.take(number)
		retry.Stop()
		if again {
			retry.Reset(retryAfter)
		}
	}
}

// Apply is part of Speaker.
func (l *Local) Apply(ctx context.Context, s State) error {
	if err := s.Validate(); err != nil {
		return fmt.Errorf("BGP: %w", err)
	}
	return l.desire.set(ctx, s.clone())
}

// Changed is part of Speaker.
func (l *Local) Changed() <-chan struct{} { return l.board.changed }

// Sessions is part of Speaker.
func (l *Local) Sessions() []Session {
	list, addresses := l.board.sessions()
	l.mu.Lock()
	r := l.router
	l.mu.Unlock()
	if r != nil {
		r.count(list, addresses)
	}
	return list
}

// stop ends the router, if there is one.
func (l *Local) stop() {
	l.mu.Lock()
	r := l.router
	l.router = nil
	l.mu.Unlock()
	if r != nil {
		r.stop(l.keep.Load())
	}
}

// reach makes the sessions and routes those of a State. It tells whether something is to be tried again; an error is of
// the whole router.
func (l *Local) reach(ctx context.Context, s State) (again bool, err error) {
	r := l.router
	if r != nil && (len(s.Peers) == 0 || r.id != s.RouterID) {
		// Everybody is told: there is nothing left to announce, or it comes again from another router ID.
		l.mu.Lock()
		l.router = nil
		l.mu.Unlock()
		r.stop(false)
		r = nil
	}
	if len(s.Peers) == 0 {
		return false, nil
	}
	if r == nil {
		if r, err = newRouter(s.RouterID, l.board, l.log, !l.began); err != nil {
			return false, err
		}
		if err := r.start(ctx); err != nil {
			r.stop(false)
			return false, err
		}
		l.mu.Lock()
		l.router = r
		l.mu.Unlock()
	}
	again = l.reachPeers(ctx, r, s.Peers)
	// A peer that joins later has no routes of an earlier process to keep.
	l.began, r.restarted = true, false
	return again, nil
}

func (l *Local) reachPeers(ctx context.Context, r *router, peers []Peer) (again bool) {
	wanted, interfaces := make(map[string]bool, len(peers)), map[string]bool{}
	for i := range peers {
		wanted[peers[i].Name] = true
		if peers[i].Interface != "" {
			interfaces[peers[i].Interface] = true
		}
	}
	r.adverts.set(interfaces)
	list, _ := l.board.sessions()
	for _, s := range list {
		if !wanted[s.Peer] {
			again = l.failed(r.remove(ctx, s.Peer)) || again
		}
	}
	// Ends come before beginnings: an address may have moved to a peer of another name.
	for i := range peers {
		if m := r.members[peers[i].Name]; m != nil && l.outdated(m, &peers[i]) {
			again = l.failed(r.remove(ctx, peers[i].Name)) || again
		}
	}
	for i := range peers {
		p := &peers[i]
		m := r.members[p.Name]
		switch {
		case m == nil:
			again = l.failed(r.add(ctx, *p)) || again
		case sameSession(&m.peer, p):
			again = l.failed(r.update(m, p.Routes)) || again
		}
		// The router on an interface may be replaced by another one.
		again = again || p.Interface != "" && !l.board.established(p.Name)
	}
	return again
}

// outdated tells whether a session has to end since the peer has changed.
func (l *Local) outdated(m *member, p *Peer) bool {
	if !sameSession(&m.peer, p) {
		return true
	}
	if p.Interface == "" || l.board.established(p.Name) {
		return false
	}
	address, err := resolve(p)
	return err == nil && address != m.address
}

func (l *Local) failed(err error) bool {
	if err != nil {
		l.log.Debug("A BGP peer is tried again", "error", err)
	}
	return err != nil
}
