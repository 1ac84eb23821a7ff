// Package clockjump tells when the machine's clock is set, or went on while the
// machine slept: dates then differ from what passed since as timers count it. Timers go
// by what passed, so who waits for a date has to look again.
//
// It must not set the clock, and imports the standard library alone.
package clockjump

import (
	"context"
	"time"
)

const (
	// lookEvery is how soon a jump is noticed.
	lookEvery = 15 * time.Second
	// smallest is the least jump that is told of. Clocks that are disciplined by NTP
	// run a little fast or slow instead, far from this.
	smallest = 5 * time.Second
)

// Config says whom to tell, and what the clocks are.
type Config struct {
	// Jumped is told by how much the date is further on than it should be; less than
	// nothing if the clock was set back. It must not block for long.
	Jumped func(by time.Duration)
	// Date is the clock that can be set; nil means time.Now.
	Date func() time.Time
}

// Run compares the clocks until ctx ends.
func Run(ctx context.Context, cfg Config) error {
	if cfg.Date == nil {
		cfg.Date = time.Now
	}
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	date, passed := cfg.Date().Round(0), time.Now() // Round takes the reading of timers off
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		nextDate, nextPassed := cfg.Date().Round(0), time.Now()
		by := nextDate.Sub(date) - nextPassed.Sub(passed)
		date, passed = nextDate, nextPassed
		if by >= smallest || by <= -smallest {
			cfg.Jumped(by)
		}
	}
}
