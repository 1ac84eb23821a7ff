package etcd

import (
	"context"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

const descriptorsChild = "MINATO_TEST_DESCRIPTORS"

// TestOutOfDescriptors has a process with a member in it run out of
// descriptors and find some again. It is a process of its own because the
// limit is a process's, and because etcd might end it.
func TestOutOfDescriptors(t *testing.T) {
	if os.Getenv(descriptorsChild) != "" {
		outOfDescriptors(t)
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestOutOfDescriptors$", "-test.v")
	cmd.Env = append(os.Environ(), descriptorsChild+"=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("the process with the member: %v\n%s", err, out)
	}
}

func outOfDescriptors(t *testing.T) {
	dir := shortDir(t)
	failed := &counter{word: "could not be deleted"}
	s, err := New(Config{Dir: filepath.Join(dir, "data"), Socket: filepath.Join(dir, "s"), Ephemeral: true, Logger: slog.New(failed)})
	if err != nil {
		t.Fatal(err)
	}
	if c := s.embedConfig(); c.MaxWalFiles != 0 || c.MaxSnapFiles != 0 {
		t.Error("etcd purges by itself, and ends the process when it cannot")
	}
	s.purge.interval, s.purge.retry = 20*time.Millisecond, 20*time.Millisecond
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	<-s.Ready()
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{s.Endpoint()}, DialTimeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	put := func(value string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
		defer cancel()
		if _, err := client.Put(ctx, "k", value); err != nil {
			t.Fatal(err)
		}
	}
	put("before")

	var taken []*os.File
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	limit.Cur = 200
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	for {
		f, err := os.Open("/dev/null")
		if err != nil {
			break
		}
		taken = append(taken, f)
	}
	for end := time.Now().Add(20 * time.Second); failed.n.Load() < 9; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("only %d looks failed without descriptors", failed.n.Load())
		}
	}
	put("without descriptors")
	for _, f := range taken {
		_ = f.Close()
	}
	for last := int64(-1); last != failed.n.Load(); time.Sleep(200 * time.Millisecond) { // until none fails any more
		last = failed.n.Load()
	}
	put("after")
	_ = client.Close()
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run: %v", err)
	}
}

// counter counts log lines with a word.
type counter struct {
	word string
	n    atomic.Int64
}

func (c *counter) Enabled(context.Context, slog.Level) bool { return true }
func (c *counter) Handle(_ context.Context, r slog.Record) error {
	if strings.Contains(r.Message, c.word) {
		c.n.Add(1)
	}
	return nil
}
func (c *counter) WithAttrs([]slog.Attr) slog.Handler { return c }
func (c *counter) WithGroup(string) slog.Handler      { return c }
