package usage

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"k8s.io/utils/clock"
)

const (
	// fresh is how old the last sample of a node may be for an answer.
	fresh = 5 * time.Second
	// settle is the least time between two samples of a node.
	settle = time.Second
	// keep is how long samples are kept that nobody asks for.
	keep = time.Minute
	// failPause is how long a node is let alone that didn't answer.
	failPause = 10 * time.Second
	// attempts is how many samples one request may cause. The second is for a
	// rate, the third for that of a container that began since the first.
	attempts = 3
)

// ask takes a sample of a node.
type ask func(ctx context.Context, node string) (sample, error)

// sampler keeps the samples of nodes while somebody asks for them.
type sampler struct {
	ask   ask
	clock clock.WithDelayedExecution
	log   *slog.Logger

	mu     sync.Mutex
	nodes  map[string]*node
	forget clock.Timer
}

// node is what is known of one node, by the one who holds its place in busy.
type node struct {
	busy    chan struct{}
	history history
	failed  time.Time
	told    bool // that it doesn't answer
}

func newSampler(a ask, c clock.WithDelayedExecution, log *slog.Logger) *sampler {
	return &sampler{ask: a, clock: c, log: log, nodes: map[string]*node{}}
}

// node returns what is known of a node, which is forgotten when nobody has asked
// for any node for a while.
func (s *sampler) node(name string) *node {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.forget == nil {
		s.forget = s.clock.AfterFunc(keep, s.clear)
	} else {
		s.forget.Reset(keep)
	}
	n := s.nodes[name]
	if n == nil {
		n = &node{busy: make(chan struct{}, 1)}
		s.nodes[name] = n
	}
	return n
}

func (s *sampler) clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.nodes = map[string]*node{}
}

// history returns the samples of a node, of which the last is fresh. It takes
// samples until there are two and complete agrees, but not more than attempts.
// It returns nothing for a node that doesn't answer.
func (s *sampler) history(ctx context.Context, name string, complete func(history) bool) (history, error) {
	n := s.node(name)
	select {
	case n.busy <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	defer func() { <-n.busy }()
	if s.clock.Since(n.failed) < failPause {
		return nil, nil
	}
	n.history = n.history.since(s.clock.Now().Add(-keep))
	for range attempts {
		if last := len(n.history) - 1; last >= 0 {
			age := s.clock.Since(n.history[last].at)
			if age < fresh && last > 0 && complete(n.history) {
				break
			}
			if err := s.sleep(ctx, settle-age); err != nil {
				return nil, err
			}
		}
		taken, err := s.ask(ctx, name)
		switch {
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case err != nil:
			n.failed, n.history = s.clock.Now(), nil
			if !n.told {
				s.log.Warn("a node does not tell what its Pods use", "node", name, "error", err)
			}
			n.told = true
			return nil, nil
		}
		n.told = false
		n.history = n.history.add(taken)
	}
	return n.history, nil
}

// sleep returns after d, or with an error when ctx has ended.
func (s *sampler) sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	t := s.clock.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C():
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
