package cluster

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// Who deleted the Pod of etcd or of the API server gets his answer before it ends.
func TestRestartOfWhatTheAPINeedsWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		s := &Server{restarting: make(chan func(), 2)}
		ended := make(chan error, 1)
		go func() { ended <- s.restartParts(ctx) }()
		restarts := 0
		for range 2 {
			s.restartSoon(func() { restarts++ })
		}
		<-time.After(restartAfter - time.Millisecond)
		synctest.Wait()
		if restarts != 0 {
			t.Fatalf("%d restarts before %s are over", restarts, restartAfter)
		}
		<-time.After(2 * restartAfter)
		synctest.Wait()
		if restarts != 2 {
			t.Errorf("%d restarts, want 2", restarts)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
