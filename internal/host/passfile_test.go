package host

import (
	"net"
	"os"
	"path/filepath"
	"testing"
)

func TestFilesPassThroughSockets(t *testing.T) {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: filepath.Join(t.TempDir(), "s")})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, with := range []bool{true, false} {
		client, err := net.DialUnix("unix", nil, l.Addr().(*net.UnixAddr))
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		server, err := l.AcceptUnix()
		if err != nil {
			t.Fatal(err)
		}
		defer server.Close()
		if uid, err := PeerUser(server); err != nil || uid != uint32(os.Getuid()) {
			t.Errorf("the peer is user %d, %v", uid, err)
		}
		var sent *os.File
		if with {
			if sent, err = os.Open(file); err != nil {
				t.Fatal(err)
			}
			defer sent.Close()
		}
		if err := SendWithFile(client, []byte("hello"), sent); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 16)
		n, got, err := ReceiveWithFile(server, buf)
		if err != nil || string(buf[:n]) != "hello" || (got != nil) != with {
			t.Fatalf("received %q, %v, %v", buf[:n], got, err)
		}
		if !with {
			continue
		}
		defer got.Close()
		if n, err := got.Read(buf); err != nil || string(buf[:n]) != "content" {
			t.Errorf("the file has %q, %v", buf[:n], err)
		}
	}
}
