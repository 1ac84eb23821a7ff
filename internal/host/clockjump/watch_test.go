package clockjump

import (
	"context"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var off atomic.Int64
		var told []time.Duration
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() {
			done <- Run(ctx, Config{
				Date:   func() time.Time { return time.Now().Add(time.Duration(off.Load())) },
				Jumped: func(by time.Duration) { told = append(told, by) },
			})
		}()
		set := func(by time.Duration) {
			pass(10 * lookEvery)
			off.Add(int64(by))
		}
		synctest.Wait() // the clocks were read for the first time
		set(48 * time.Hour)
		set(-24 * time.Hour)
		set(time.Second) // as NTP does
		set(-time.Second)
		set(smallest)
		pass(2 * lookEvery)
		synctest.Wait()
		if want := []time.Duration{48 * time.Hour, -24 * time.Hour, smallest}; !slices.Equal(told, want) {
			t.Errorf("it told of %v, want %v", told, want)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// pass has time pass that is not the machine's: that of a bubble of synctest.
func pass(d time.Duration) { <-time.After(d) }
