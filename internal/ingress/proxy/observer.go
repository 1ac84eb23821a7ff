package proxy

import (
	"time"

	"minato/internal/ingress/exchange"
)

// Record is what is told of a request that has ended.
type Record struct {
	*exchange.Exchange
	// Duration is from the head's arrival to the last byte of the answer.
	Duration time.Duration
}

// Observer is told of requests. Observe is called once for each, on the goroutine that has served it: it must be quick, and
// must not keep the Record or texts of its Exchange, which are used again.
type Observer interface{ Observe(*Record) }

// Observers tells several.
type Observers []Observer

// Observe implements Observer.
func (o Observers) Observe(r *Record) {
	for _, one := range o {
		one.Observe(r)
	}
}
