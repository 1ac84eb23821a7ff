package slack

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// slacks are those of the threads of this process.
func slacks(t *testing.T) map[string]int {
	t.Helper()
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]int{}
	for _, thread := range threads {
		data, err := os.ReadFile("/proc/" + thread.Name() + "/timerslack_ns")
		if err == nil {
			out[strings.TrimSpace(string(data))]++
		}
	}
	return out
}

// All threads follow, those included that begin later.
func TestKeeper(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("threads' slack is root's to set")
	}
	k := New(slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- k.Run(ctx) }()
	only := func(what string, slack time.Duration) {
		t.Helper()
		want := fmt.Sprint(slack.Nanoseconds())
		var got map[string]int
		for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
			if got = slacks(t); len(got) == 1 && got[want] > 0 {
				return
			}
		}
		t.Fatalf("%s: threads have the slacks %v, want %s", what, got, want)
	}
	only("nobody works", idleSlack)
	k.Work()
	if got := slacks(t); got[fmt.Sprint(exactSlack.Nanoseconds())] == 0 {
		t.Errorf("somebody works, and threads have the slacks %v", got)
	}
	only("nobody works any more", idleSlack)
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	only("the end", exactSlack)
}

// A thread that has ended is no error, and what can't be written is told once.
func TestThreads(t *testing.T) {
	dir := t.TempDir()
	for _, thread := range []string{"1", "2"} {
		if err := os.MkdirAll(filepath.Join(dir, "self/task", thread), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "2"), 0o755); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "2/timerslack_ns")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	k := &Keeper{log: slog.New(slog.NewTextHandler(&said, nil)), dir: dir}
	k.set(true)
	if got, err := os.ReadFile(file); string(got) != "50000000" || err != nil || said.Len() > 0 {
		t.Errorf("a thread has the slack %q, %v; said %q", got, err, said.String())
	}
	if err := os.RemoveAll(filepath.Join(dir, "self")); err != nil {
		t.Fatal(err)
	}
	k.set(false)
	k.set(true)
	if n := strings.Count(said.String(), "timers can't be put together"); n != 1 {
		t.Errorf("said %d times: %s", n, said.String())
	}
}
