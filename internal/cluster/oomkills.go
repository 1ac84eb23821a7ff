package cluster

import (
	"context"
	"path/filepath"

	"minato/internal/host/oomkill"
)

// followOOMKills tells nodes when the kernel has ended a process because a node or
// the machine has run out of memory. Containers that reach limits of their own are
// told of in the statuses of their Pods.
func (s *Server) followOOMKills(ctx context.Context) error {
	err := oomkill.Run(ctx, func(k oomkill.Kill) {
		for _, n := range s.running() {
			if m := n.current.Load(); m != nil && outOfMemory(k, filepath.Join("minato", s.cfg.Name), n.name) {
				m.OutOfMemory(k.Process, k.PID)
			}
		}
	})
	if err != nil {
		s.log.Info("The kernel's log cannot be read, so Nodes have no SystemOOM events", "reason", err)
		<-ctx.Done() // another try would not change that
	}
	return nil
}

// outOfMemory tells whether a kill means that a node has run out of memory: its
// own, which `--node-memory` limits, or the machine's, which all nodes of all
// clusters share. In the second case the node is told whose process it was, and
// every node if it was nobody's of a cluster.
func outOfMemory(k oomkill.Kill, cluster, node string) bool {
	group := filepath.Join(cluster, node)
	if k.Limit == "" {
		return oomkill.Below(k.Cgroup, group) || !oomkill.Below(k.Cgroup, "minato")
	}
	// Groups below the node's are those of Pods and of their containers.
	return oomkill.Below(k.Limit, group) && filepath.Base(k.Limit) == node
}
