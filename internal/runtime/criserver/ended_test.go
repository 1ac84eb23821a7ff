package criserver

import (
	"context"
	"log/slog"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"minato/internal/host"
)

// TestRunLeavesNoGoroutine has servers end, as those of nodes that are removed do.
func TestRunLeavesNoGoroutine(t *testing.T) {
	for range 5 {
		s, err := New(Config{
			Path: filepath.Join(t.TempDir(), "cri.sock"), Runtime: fakeRuntime{}, Images: fakeImages{}, Streams: fakeStreams{},
			Netns: host.Netns{}, Logger: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := s.Run(ctx); err != nil {
			t.Fatal(err)
		}
	}
	left := 0
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		stacks := make([]byte, 1<<20)
		stacks = stacks[:runtime.Stack(stacks, true)]
		if left = strings.Count(string(stacks), "created by minato/internal/runtime/criserver.(*Server).Run "); left == 0 {
			return
		}
	}
	t.Errorf("%d goroutines of servers that have ended are left", left)
}
