package cluster

import (
	"context"
	"time"

	"minato/internal/host/clockjump"
)

// followClock tells everybody when the machine's clock is set.
func (s *Server) followClock(ctx context.Context) error {
	return clockjump.Run(ctx, clockjump.Config{Jumped: func(by time.Duration) {
		s.log.Warn("The machine's clock was set, or went on while the machine slept; what goes by dates is looked at again", "by", by.Round(time.Millisecond))
		if err := s.control.PKI().RenewIfDue(); err != nil {
			s.log.Warn("Certificates could not be renewed and will be again", "error", err)
		}
		for _, n := range s.running() {
			if m := n.current.Load(); m != nil {
				m.ClockWasSet()
			}
		}
	}})
}
