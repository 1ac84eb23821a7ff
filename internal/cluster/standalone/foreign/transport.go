package foreign

import (
	"log/slog"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"
)

// patientTransport sends a GET request to an API server that cannot be reached
// again and again until the caller gives it up. An informer that sees the error
// backs off, up to half a minute, and learns of changes that much later.
type patientTransport struct {
	next http.RoundTripper
	log  *slog.Logger

	mu    sync.Mutex
	since time.Time // when the API server could not be reached any more; zero while it can
}

// Patient wraps a client's transport so that it does that.
func Patient(log *slog.Logger) func(http.RoundTripper) http.RoundTripper {
	return func(next http.RoundTripper) http.RoundTripper { return &patientTransport{next: next, log: log} }
}

const (
	// The spread keeps clients that wait for the same API server from coming
	// all at once.
	retryAfter  = 200 * time.Millisecond
	retrySpread = 200 * time.Millisecond
)

// RoundTrip implements http.RoundTripper.
func (t *patientTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	for {
		resp, err := t.next.RoundTrip(req)
		if err == nil {
			t.reached()
			return resp, nil
		}
		if req.Method != http.MethodGet || req.Context().Err() != nil {
			return nil, err
		}
		t.missed(err)
		timer := time.NewTimer(retryAfter + rand.N(retrySpread))
		select {
		case <-timer.C:
		case <-req.Context().Done():
			timer.Stop()
			return nil, err
		}
	}
}

func (t *patientTransport) missed(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.since.IsZero() {
		t.since = time.Now()
		t.log.Warn("The API server can't be reached; what is known of the cluster is served on", "error", err)
	}
}

func (t *patientTransport) reached() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.since.IsZero() {
		t.log.Info("The API server is reached again", "after", time.Since(t.since).Round(time.Millisecond))
		t.since = time.Time{}
	}
}
