package ingress

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// wires are the two ends of a connection.
func wires(t testing.TB) (a, b *wire) {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "s"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.DialUnix("unix", nil, l.Addr().(*net.UnixAddr))
	if err != nil {
		t.Fatal(err)
	}
	d, err := l.AcceptUnix()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(); d.Close() })
	return newWire(c), newWire(d)
}

// Frames come as they were sent, whatever their size, and sockets with the frame that names them.
func TestWire(t *testing.T) {
	a, b := wires(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f, err := l.(*net.TCPListener).File()
	l.Close()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	large := bytes.Repeat([]byte("x"), 3<<20)
	k := Key{Kind: KindSecret, Namespace: "default", Name: "large"}
	list := socketList{Sockets: []Socket{{Name: "http", Network: "tcp", Address: netip.MustParseAddrPort("127.0.0.1:80")}}}
	sent := make(chan error, 1)
	go func() {
		sent <- errors.Join(a.send(appendGone(appendObject(nil, k, large), Key{Kind: KindClass, Name: "minato"})), a.sendSockets(list, []*os.File{f}), a.sendJSON(frameState, State{Ready: true}))
	}()
	got, err := b.receive()
	if err != nil || got.kind != frameObject {
		t.Fatalf("%v, %v", got.kind, err)
	}
	if key, rest, err := cutKey(got.content); err != nil || key != k || !bytes.Equal(rest, large) {
		t.Errorf("key %v, %d bytes, %v", key, len(rest), err)
	}
	if got, err = b.receive(); err != nil || got.kind != frameGone {
		t.Fatalf("%v, %v", got.kind, err)
	}
	if got, err = b.receive(); err != nil || got.kind != frameSockets {
		t.Fatalf("%v, %v", got.kind, err)
	}
	named, files, err := b.takeSockets(got)
	if err != nil || len(files) != 1 || named.Sockets[0] != list.Sockets[0] {
		t.Fatalf("%v, %v, %v", named, files, err)
	}
	same, err := net.FileListener(files[0])
	files[0].Close()
	if err != nil || same.Addr().String() != l.Addr().String() {
		t.Errorf("the socket is at %v, want %v, %v", same.Addr(), l.Addr(), err)
	}
	same.Close()
	if got, err = b.receive(); err != nil || got.kind != frameState {
		t.Errorf("%v, %v", got.kind, err)
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
}

func TestWireRefuses(t *testing.T) {
	for name, bytes := range map[string][]byte{
		"an empty frame":      {0, 0, 0, 0},
		"a frame too large":   binary.BigEndian.AppendUint32(nil, maxFrame+1),
		"something else":      []byte("GET / HTTP/1.1\r\n\r\n"),
		"half a frame's name": appendFrame(nil, frameObject, []byte{byte(KindSecret), 5, 'a'}),
		"a kind too high":     appendFrame(nil, frameObject, []byte{99, 0, 0}),
	} {
		a, b := wires(t)
		if err := a.send(bytes); err != nil {
			t.Fatal(err)
		}
		a.close()
		_ = b.conn.SetReadDeadline(time.Now().Add(5 * time.Second))
		f, err := b.receive()
		if err == nil {
			_, _, err = cutKey(f.content)
		}
		if !errors.Is(err, errFrame) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzCutKey(f *testing.F) {
	f.Add(appendKey(nil, Key{Kind: KindIngress, Namespace: "a", Name: "b"}))
	f.Fuzz(func(t *testing.T, b []byte) {
		k, rest, err := cutKey(b)
		if err != nil {
			return
		}
		if again := append(appendKey(nil, k), rest...); len(again) > len(b) {
			t.Errorf("%q has become %q", b, again)
		}
	})
}
