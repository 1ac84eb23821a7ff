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
		return nil // no agent was started, so no Pod is known; their containers are killed with the node's cgroup
	}
	ctx, cancel := context.WithTimeout(ctx, limit+endMargin)
	defer cancel()
	return a.EndPods(ctx, limit)
}

// endMargin is the time for the work before and after the Pods' grace periods.
const endMargin = 5 * time.Second
