package api

import (
	"bytes"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestPanicOfOneRequest(t *testing.T) {
	var log bytes.Buffer
	s := &Server{log: slog.New(slog.NewTextHandler(&log, nil))}
	server := httptest.NewServer(s.survive(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/pods" {
			panic("a fault")
		}
	})))
	if r, err := http.Get(server.URL + "/pods"); err == nil {
		r.Body.Close()
		t.Errorf("a request that panicked was answered: %s", r.Status)
	}
	r, err := http.Get(server.URL + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	r.Body.Close()
	server.Close() // when nobody writes the log any more
	if r.StatusCode != http.StatusOK {
		t.Errorf("the next request: %s", r.Status)
	}
	for _, want := range []string{"level=ERROR", "path=/pods", "a fault", "panic_test.go"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log lacks %q: %s", want, log.String())
		}
	}
	if n := strings.Count(log.String(), "level="); n != 1 {
		t.Errorf("%d log lines: %s", n, log.String())
	}
}
