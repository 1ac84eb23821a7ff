package standalone

import (
	"log/slog"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"
)

// patientTransport asks an API server that cannot be reached again and again
// until the request is given up. An informer that is told of the failure waits
// longer after each, for half a minute in the end, and what changes meanwhile
// would be known that much later.
type patientTransport struct {
	next http.RoundTripper
	log  *slog.Logger

	mu    sync.Mutex
	since time.Time // the API server has been out of reach; zero while it is not
}

const (
	// retryAfter keeps many that wait for the same API server from coming all at once.
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
		t.log.Warn("The API server can't be reached; questions are answered from what is known of the cluster", "error", err)
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
