package registry

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// A pull ends when the registry stops sending, and when its Pod ends.
func TestRegistryThatStalls(t *testing.T) {
	for _, tc := range []struct {
		name   string
		header bool // it sends a header before it stops
	}{{"before the answer", false}, {"in the answer", true}} {
		t.Run(tc.name, func(t *testing.T) {
			release := make(chan struct{})
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
				if tc.header {
					w.Write([]byte("{"))
					w.(http.Flusher).Flush()
				}
				<-release
			}))
			defer server.Close()
			defer close(release)
			tr := newBoundedTransport(http.DefaultTransport)
			tr.stall = 20 * time.Millisecond
			resp, err := (&http.Client{Transport: tr}).Get(server.URL)
			if err == nil {
				_, err = io.ReadAll(resp.Body)
				resp.Body.Close()
			}
			if !errors.Is(err, errStalled) || !IsUnreachable(err) {
				t.Errorf("error = %v, want %v", err, errStalled)
			}
		})
	}
}
