package cni

import (
	"context"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"minato/internal/podnet"
)

// attached is a Pod network that only remembers what it was told to take away.
type attached struct {
	mu       sync.Mutex
	owners   []string
	detached []string
}

func (a *attached) Attach(context.Context, string, string) ([]netip.Addr, error) { return nil, nil }
func (a *attached) Check(string, string) error                                   { return nil }
func (a *attached) Attachment(string) (podnet.Attachment, bool)                  { return podnet.Attachment{}, false }
func (a *attached) Owners() []string                                             { return a.owners }

func (a *attached) Detach(_ context.Context, id string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.detached = append(a.detached, id)
	return nil
}

// Several runtimes and clusters of a machine have one network configuration. What one
// of them asks for or lacks is nothing to the others.
func TestClustersOfAMachine(t *testing.T) {
	dir := t.TempDir()
	dead, live := filepath.Join(dir, "a", "cni", "node-1.sock"), filepath.Join(dir, "b", "cni", "node-1.sock")
	for _, path := range []string{dead, live} {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: dead})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close() // as after SIGKILL
	config := map[string]any{"cniVersion": "1.1.0", "name": "minato-pods", "type": "minato-cni", "clusters": dir}
	if status, answer := plugin(t, vars("STATUS", "", ""), config); status == 0 || answer["code"] != float64(codeUnavailable) {
		t.Errorf("STATUS while nobody answers: %d, %v", status, answer)
	}
	network := &attached{owners: []string{"cni/minato-pods/of-another-runtime/eth0"}}
	s, err := NewServer(ServerConfig{Path: live, Network: network})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	for end := time.Now().Add(30 * time.Second); ; {
		status, answer := plugin(t, vars("STATUS", "", ""), config)
		if status == 0 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("STATUS while one answers: %v", answer)
		}
	}
	if status, answer := plugin(t, vars("GC", "", ""), with(config, map[string]any{"cni.dev/valid-attachments": []attachment{}})); status != 0 || len(network.detached) != 0 {
		t.Errorf("GC: %d, %v; it took away %q", status, answer, network.detached)
	}
	// What names no Pod was refused, and so there is nothing to take away.
	if status, answer := plugin(t, vars("ADD", "one", "/proc/self/ns/net"), config); status == 0 || answer["code"] != float64(codeEnvironment) {
		t.Errorf("ADD: %d, %v", status, answer)
	}
	if status, answer := plugin(t, vars("DEL", "one", ""), config); status != 0 {
		t.Errorf("DEL: %v", answer)
	}
}
