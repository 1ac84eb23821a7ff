package nodesocket

import (
	"context"
	"errors"
	"io"
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

// listeners are a root directory that hands out the sockets that are made in it.
type listeners struct {
	*host.InRoot
	made chan *net.UnixListener
}

func (l listeners) ListenUnix(path string, mode os.FileMode) (*net.UnixListener, error) {
	listener, err := l.InRoot.ListenUnix(path, mode)
	if err == nil {
		l.made <- listener
	}
	return listener, err
}

// Where a socket fails, connections to it end too, also of a client that says nothing, and
// the next one is made. Neither does such a client hold up the end.
func TestSocketThatFails(t *testing.T) {
	root, err := host.OpenInRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	made, failed := make(chan *net.UnixListener, 10), make(chan error, 10)
	s, err := New(Config{Root: listeners{root, made}, Path: socket, Register: func(grpc.ServiceRegistrar) {}, Failed: func(err error) { failed <- err }})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	late := time.After(60 * time.Second)
	for _, last := range []bool{false, true} {
		var listener *net.UnixListener
		select {
		case listener = <-made:
		case <-late:
			t.Fatal("no other socket is made")
		}
		conn := dial(t, root)
		if !spoken(conn, 20*time.Second) {
			t.Fatal("nobody answers at the socket")
		}
		if last {
			cancel()
			break
		}
		listener.Close()
		conn.SetReadDeadline(time.Now().Add(20 * time.Second))
		if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error("a connection to the socket that has failed is served still")
		}
	}
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-late:
		t.Fatal("a client that says nothing holds up the end")
	}
	if err := <-failed; !errors.Is(err, net.ErrClosed) {
		t.Errorf("told %v", err)
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
