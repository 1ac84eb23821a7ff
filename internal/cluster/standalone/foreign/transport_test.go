package foreign

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// unreachable fails a number of times, then answers.
type unreachable struct {
	failures, asked int
	failed          func()
}

func (u *unreachable) RoundTrip(*http.Request) (*http.Response, error) {
	u.asked++
	if u.asked <= u.failures {
		if u.failed != nil {
			u.failed()
		}
		return nil, errors.New("connection refused")
	}
	return &http.Response{StatusCode: http.StatusServiceUnavailable, Body: http.NoBody}, nil
}

func TestPatientTransport(t *testing.T) {
	var out bytes.Buffer
	next := &unreachable{failures: 3}
	p := &patientTransport{next: next, log: slog.New(slog.NewTextHandler(&out, nil))}
	// An answer with an error status is not tried again.
	resp, err := p.RoundTrip(httptest.NewRequest(http.MethodGet, "/api", nil))
	if err != nil || resp.StatusCode != http.StatusServiceUnavailable || next.asked != 4 {
		t.Errorf("asked %d times: %v, %v", next.asked, resp, err)
	}
	if said := out.String(); strings.Count(said, "can't be reached") != 1 || strings.Count(said, "reached again") != 1 {
		t.Errorf("the log has not one line for the beginning and one for the end:\n%s", said)
	}
}

func TestPatientTransportGivesUp(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	next := &unreachable{failures: 1000, failed: cancel}
	p := &patientTransport{next: next, log: slog.New(slog.DiscardHandler)}
	if _, err := p.RoundTrip(httptest.NewRequest(http.MethodGet, "/api", nil).WithContext(ctx)); err == nil || next.asked != 1 {
		t.Errorf("a request that was given up: asked %d times, %v", next.asked, err)
	}
	// A request that changes something is not tried again: it may have been
	// done although no answer came.
	next = &unreachable{failures: 1}
	p.next = next
	if _, err := p.RoundTrip(httptest.NewRequest(http.MethodPost, "/api", nil)); err == nil || next.asked != 1 {
		t.Errorf("a POST: asked %d times, %v", next.asked, err)
	}
}
