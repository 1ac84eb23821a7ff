package cluster

import (
	"context"
	"errors"
	"time"

	"minato/internal/host/logind"
)

// afterPods is kept of the time that a shutdown may be held back, for what the server does once the Pods have ended.
const afterPods = time.Second

// holdShutdowns has a shutdown of the machine wait until Pods have ended as `minato down` ends them. Without it,
// systemd ends their processes as it ends all others: no preStop hook runs.
func (s *Server) holdShutdowns(ctx context.Context) error {
	err := logind.Run(ctx, logind.Config{
		Who: "minato (cluster " + s.cfg.Name + ")", Why: "Pods end within their grace periods",
		Held: func(atMost time.Duration) {
			if want := s.cfg.shutdownTime(); want > atMost {
				s.log.Warn("systemd-logind lets a shutdown wait for less than the shutdownGracePeriod of a node's agent; set InhibitDelayMaxSec= in logind.conf", "InhibitDelayMaxSec", atMost, "shutdownGracePeriod", want)
			}
		},
		ShuttingDown: func(atMost time.Duration) {
			s.log.Info("The machine shuts down, and waits for Pods to end", "at most", atMost)
			s.down(max(atMost-afterPods, atMost/2))
		},
	})
	if errors.Is(err, logind.ErrNone) {
		s.log.Info("A shutdown of the machine does not wait for Pods to end; `minato down` before it does", "reason", err)
		<-ctx.Done() // another try would not change that
		return nil
	}
	return err
}

// shutdownTime is how long the agent of a node may take to end Pods by its settings, the longest of all nodes.
func (c Config) shutdownTime() (longest time.Duration) {
	for _, n := range c.NodeList {
		if v, err := c.kubelet(n).Values(); err == nil { // checked before the server started
			longest = max(longest, v.ShutdownTime())
		}
	}
	return longest
}
