package nodesocket

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"

	"minato/internal/host"
)

const socket = "/run/test/node.sock"

// start runs a server in a root directory.
func start(t *testing.T, dir string, failed chan error) *host.InRoot {
	t.Helper()
	root, err := host.OpenInRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	s, err := New(Config{Root: root, Path: socket, Register: func(grpc.ServiceRegistrar) {}, Failed: func(err error) { failed <- err }})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return root
}

// dial connects to the socket, once that is there.
func dial(t *testing.T, root *host.InRoot) net.Conn {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		conn, err := root.DialUnix(t.Context(), socket)
		if err == nil {
			t.Cleanup(func() { conn.Close() })
			return conn
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// spoken tells whether a connection is served: a server of HTTP/2 speaks first.
func spoken(c net.Conn, within time.Duration) bool {
	c.SetReadDeadline(time.Now().Add(within))
	_, err := c.Read(make([]byte, 1))
	return err == nil
}

// Whoever reaches the socket has few of the process's files.
func TestManyConnections(t *testing.T) {
	root := start(t, t.TempDir(), make(chan error, 10))
	var all []net.Conn
	for range maxConnections + 1 {
		all = append(all, dial(t, root))
	}
	for i, c := range all[:maxConnections] {
		if !spoken(c, 20*time.Second) {
			t.Fatalf("connection %d is not served", i)
		}
	}
	if spoken(all[maxConnections], 100*time.Millisecond) {
		t.Error("more connections are served than there may be")
	}
	all[0].Close()
	if !spoken(all[maxConnections], 20*time.Second) {
		t.Error("another one has ended, and it is not served")
	}
}

// A socket of an earlier run is replaced. Only root and its group may use the new one.
func TestSocketThatIsThere(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(socket)), 0o750); err != nil {
		t.Fatal(err)
	}
	old, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: filepath.Join(dir, socket)})
	if err != nil {
		t.Fatal(err)
	}
	old.SetUnlinkOnClose(false)
	old.Close()
	if !spoken(dial(t, start(t, dir, make(chan error, 10))), 20*time.Second) {
		t.Error("nobody answers at the socket")
	}
	if info, err := os.Stat(filepath.Join(dir, socket)); err != nil || info.Mode() != os.ModeSocket|0o660 {
		t.Errorf("the socket has the mode %v, %v", info.Mode(), err)
	}
}

// A file in the socket's place stays, and is told of.
func TestFileInTheWay(t *testing.T) {
	dir, failed := t.TempDir(), make(chan error, 10)
	path := filepath.Join(dir, socket)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o750), os.WriteFile(path, []byte("mine"), 0o600)); err != nil {
		t.Fatal(err)
	}
	start(t, dir, failed)
	select {
	case err := <-failed:
		if !strings.Contains(err.Error(), filepath.Base(socket)) {
			t.Errorf("told %v, which does not name the socket", err)
		}
	case <-time.After(20 * time.Second):
		t.Error("nothing is told")
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "mine" {
		t.Errorf("the file is %q, %v", text, err)
	}
}

// brokenRoot can make no directory, and then no socket.
type brokenRoot struct {
	Root
	errs []error
}

func (r *brokenRoot) MkdirAll(string, os.FileMode) error {
	err := r.errs[0]
	r.errs = r.errs[min(1, len(r.errs)-1):]
	return err
}

// What fails is tried again for as long as the server runs, and told when the reason is
// another.
func TestTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		full, gone := errors.New("the disk is full"), errors.New("the disk is gone")
		var told []error
		root := &brokenRoot{errs: []error{full, full, gone}}
		s, err := New(Config{Root: root, Path: socket, Register: func(grpc.ServiceRegistrar) {}, Failed: func(err error) { told = append(told, err) }})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*retryPause)
		defer cancel()
		if err := s.Run(ctx); err != nil {
			t.Error(err)
		}
		if len(told) != 2 || told[0] != full || told[1] != gone {
			t.Errorf("told %v, want each reason once", told)
		}
	})
}
