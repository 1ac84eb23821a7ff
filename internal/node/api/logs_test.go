package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"golang.org/x/net/websocket"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apiserver/pkg/endpoints/handlers/responsewriters"
	genericrest "k8s.io/apiserver/pkg/registry/generic/rest"
	"k8s.io/client-go/kubernetes/scheme"
)

// bearer sends each request as the user of a token.
type bearer struct {
	token string
	next  http.RoundTripper
}

func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+b.token)
	return b.next.RoundTrip(r)
}

// TestLogsOverWebSocket reads logs the way a client of the API server does that
// asks for a WebSocket: through upstream's streamer and WebSocket reader.
func TestLogsOverWebSocket(t *testing.T) {
	b := newBench(t)
	apiServer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		location, err := url.Parse(b.url + "/containerLogs/default/web/main?" + r.URL.RawQuery)
		if err != nil {
			t.Error(err)
			return
		}
		streamer := &genericrest.LocationStreamer{Location: location, Transport: bearer{"admin", b.http().Transport}, ContentType: "text/plain"}
		responsewriters.StreamObject(http.StatusOK, v1.SchemeGroupVersion, scheme.Codecs, streamer, w, r)
	}))
	t.Cleanup(apiServer.Close)

	long := strings.Repeat("x", 3000)
	for _, want := range []string{"one\ntwo\n", "one\ntwo\n" + long + "\n", "one\ntwo\n" + long + "\n" + long + "\n"} {
		if n := strings.Count(want, long); n > 0 {
			b.append("2026-01-02T03:04:03Z stdout F " + long + "\n")
		}
		for range 20 { // what is lost depends on how the connection's reads fall
			if got, err := readWebSocket(t.Context(), apiServer.URL); err != nil || got != want {
				t.Fatalf("read %d bytes, %v; want %d bytes", len(got), err, len(want))
			}
		}
	}
}

func readWebSocket(ctx context.Context, address string) (string, error) {
	config, err := websocket.NewConfig(strings.Replace(address, "http", "ws", 1), address)
	if err != nil {
		return "", err
	}
	config.Protocol = []string{"binary.k8s.io"}
	conn, err := config.DialContext(ctx)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	var got strings.Builder
	for {
		var message []byte
		if err := websocket.Message.Receive(conn, &message); errors.Is(err, io.EOF) {
			return got.String(), nil
		} else if err != nil {
			return got.String(), err
		}
		got.Write(message)
	}
}

// TestPreviousLogs reads `kubectl logs --previous` in each state of a container
// that has ended twice or more. Run n prints "run n".
func TestPreviousLogs(t *testing.T) {
	ended := func(run int) v1.ContainerState {
		return v1.ContainerState{Terminated: &v1.ContainerStateTerminated{ContainerID: fmt.Sprintf("minato://c%d", run)}}
	}
	waiting := v1.ContainerState{Waiting: &v1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}}
	running := v1.ContainerState{Running: &v1.ContainerStateRunning{}}
	for _, c := range []struct {
		name              string
		runs              int
		lastRuns          bool
		state, last       v1.ContainerState
		current, previous string // empty: there are no such logs
	}{
		{"first run", 1, true, running, v1.ContainerState{}, "run 0", ""},
		{"first run ended for good", 1, false, ended(0), v1.ContainerState{}, "run 0", ""},
		{"waits after the first run", 1, false, waiting, ended(0), "run 0", "run 0"},
		{"second run", 2, true, running, ended(0), "run 1", "run 0"},
		{"second run ended for good", 2, false, ended(1), ended(0), "run 1", "run 0"},
		{"waits after the second run", 2, false, waiting, ended(1), "run 1", "run 1"},
		{"third run", 3, true, running, ended(1), "run 2", "run 1"},
		{"waits after the third run", 3, false, waiting, ended(2), "run 2", "run 2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t)
			for run := range c.runs {
				if run > 0 {
					b.startContainer(uint32(run))
				}
				b.writeLog(uint32(run), fmt.Sprintf("2026-01-02T03:04:01Z stdout F run %d\n", run))
				if run < c.runs-1 || !c.lastRuns {
					b.runtime.Exit("main", 1)
				}
			}
			b.pod.Status.ContainerStatuses[0].State, b.pod.Status.ContainerStatuses[0].LastTerminationState = c.state, c.last
			for query, want := range map[string]string{"": c.current, "?previous=true": c.previous} {
				status, body := b.request("GET", "/containerLogs/default/web/main"+query, "admin")
				if want == "" && status != http.StatusBadRequest || want != "" && body != want+"\n" {
					t.Errorf("main%s: %d %q, want %q", query, status, body, want)
				}
			}
		})
	}
}
