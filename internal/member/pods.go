package member

import (
	"context"
	"time"
)

// EndPods stops the containers of the node's Pods, as when a machine is shut
// down: all side by side, preStop hooks first, each Pod with its own grace period
// but with limit at most. It is called while Run runs, and no container is
// started afterwards.
func (m *Member) EndPods(ctx context.Context, limit time.Duration) error {
	a := m.agent.Load()
	if a == nil {
		return nil // none was started, so no Pod is known; what runs is killed with the node
	}
	ctx, cancel := context.WithTimeout(ctx, limit+endMargin)
	defer cancel()
	return a.EndPods(ctx, limit)
}

// endMargin is for what comes before and after the containers' own time.
const endMargin = 5 * time.Second
