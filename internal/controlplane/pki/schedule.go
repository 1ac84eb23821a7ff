package pki

import (
	"context"
	"crypto/x509"
	"time"
)

const (
	// lookEvery is how often the clock is read. A timer for the renewal itself would
	// not see that the machine's clock is set, or that the machine slept.
	lookEvery = time.Minute
	// lookSoonest bounds how often a certificate that lives for seconds is looked at.
	lookSoonest = time.Second
	// A failed renewal is tried again after a minute, and then ever more rarely.
	lastRetry = time.Hour
)

// plan is when the certificates in use have to be renewed.
type plan struct {
	due  time.Time // the first of them; zero if there is none
	born time.Time // before it, one of them is not valid yet
}

func (p *plan) add(cert *x509.Certificate, share int64) {
	if at := renewal(cert, share); p.due.IsZero() || at.Before(p.due) {
		p.due = at
	}
	if cert.NotBefore.After(p.born) {
		p.born = cert.NotBefore
	}
}

// calls tells whether there is something to renew at the time now. A clock that
// was set back is one reason: what was issued later is not valid yet.
func (p plan) calls(now time.Time) bool {
	return p.due.IsZero() || now.After(p.due) || now.Before(p.born)
}

// pause is how long nothing has to be done as far as the clock tells now.
func (p plan) pause(now time.Time) time.Duration {
	return min(lookEvery, max(lookSoonest, p.due.Sub(now)))
}

// Run renews certificates while the process lives, and returns when ctx ends. It
// goes by the date: a clock that is set forwards or back is noticed within a
// minute. A failed renewal is reported with the time until the next one.
func (a *Authority) Run(ctx context.Context, report func(err error, retry time.Duration)) {
	retry, failed := lookEvery, false
	for pause := a.planned().pause(a.cfg.Now()); ; {
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		// A renewal that failed half-way has left a plan of the other half.
		if p := a.planned(); !failed && !p.calls(a.cfg.Now()) {
			pause = p.pause(a.cfg.Now())
			continue
		}
		if err := a.Renew(); err != nil {
			if report != nil {
				report(err, retry)
			}
			pause, retry, failed = retry, min(2*retry, lastRetry), true
			continue
		}
		pause, retry, failed = a.planned().pause(a.cfg.Now()), lookEvery, false
	}
}

// RenewIfDue is Renew if the clock says that something has to be renewed now. Run
// does the same within a minute.
func (a *Authority) RenewIfDue() error {
	if !a.planned().calls(a.cfg.Now()) {
		return nil
	}
	return a.Renew()
}

func (a *Authority) planned() plan {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.plan
}
