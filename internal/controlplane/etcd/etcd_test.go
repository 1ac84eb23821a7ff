package etcd

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// shortDir is a temporary directory whose path leaves room for a socket name.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "mt")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// start runs a member until the returned function is called.
func start(t *testing.T, dir string, ephemeral bool) (*clientv3.Client, func()) {
	t.Helper()
	s, err := New(Config{Dir: filepath.Join(dir, "data"), Socket: filepath.Join(dir, "s"), Ephemeral: ephemeral})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	begin := time.Now()
	go func() { done <- s.Run(ctx) }()
	select {
	case <-s.Ready():
		t.Logf("ready after %v", time.Since(begin))
	case err := <-done:
		t.Fatalf("Run returned %v before the member was ready", err)
	case <-time.After(20 * time.Second):
		t.Fatal("the member wasn't ready within 20 seconds")
	}
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{s.Endpoint()}, DialTimeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	return client, func() {
		_ = client.Close()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	}
}

func TestDataSurvivesRestart(t *testing.T) {
	for _, ephemeral := range []bool{false, true} {
		dir := shortDir(t)
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()

		client, stop := start(t, dir, ephemeral)
		for _, name := range []string{"s", "s" + httpSuffix} {
			if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("socket %s: %v, %v; want mode 0600", name, info.Mode(), err)
			}
		}
		if _, err := client.Put(ctx, "k", "v"); err != nil {
			t.Fatal(err)
		}
		stop()

		client, stop = start(t, dir, ephemeral)
		got, err := client.Get(ctx, "k")
		if err != nil {
			t.Fatal(err)
		}
		if len(got.Kvs) != 1 || string(got.Kvs[0].Value) != "v" {
			t.Errorf("ephemeral=%v: after a restart k is %v, want v", ephemeral, got.Kvs)
		}
		stop()
	}
}

// TestRestartsWithLongLog makes the member replay logs of many lengths, some
// long enough for etcd to compact them meanwhile.
func TestRestartsWithLongLog(t *testing.T) {
	dir := shortDir(t)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for _, writes := range []int{90, 150, 700, 6000, 10} {
		client, stop := start(t, dir, true)
		var g errgroup.Group
		g.SetLimit(64)
		for i := range writes {
			g.Go(func() error {
				_, err := client.Put(ctx, fmt.Sprint("key-", i%50), strings.Repeat("x", 200))
				return err
			})
		}
		if err := g.Wait(); err != nil {
			t.Fatal(err)
		}
		stop()
	}
	client, stop := start(t, dir, true)
	defer stop()
	if got, err := client.Get(ctx, "key-", clientv3.WithPrefix()); err != nil || got.Count != 50 {
		t.Errorf("after all restarts there are %v keys, %v; want 50", got.Count, err)
	}
}

func TestConfigErrors(t *testing.T) {
	for name, cfg := range map[string]Config{
		"Dir":     {Socket: "s"},
		"Socket":  {Dir: "d"},
		"shorter": {Dir: "d", Socket: "/" + strings.Repeat("x", 120)},
	} {
		if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("New(%+v) = %v, want an error that mentions %q", cfg, err, name)
		}
	}
}
