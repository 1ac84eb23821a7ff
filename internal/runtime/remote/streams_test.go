package remote

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"
)

// A streaming server that takes a connection and says nothing keeps nobody who has
// gone away.
func TestStreamThatNeverOpens(t *testing.T) {
	_, endpoint := serve(t)
	r := open(t, endpoint, "node-1")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() // the kernel takes connections all the same
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := r.openPorts(ctx, "http://"+l.Addr().String()+"/portforward/token")
		ended <- err
	}()
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	cancel()
	select {
	case err := <-ended:
		if err == nil {
			t.Error("a stream was opened")
		}
	case <-time.After(30 * time.Second):
		t.Fatal("the stream is waited for after the client's end")
	}
	if _, err := r.openPorts(t.Context(), "https://127.0.0.1:1/x"); err == nil || !strings.Contains(err.Error(), "enable_tls_streaming = false") {
		t.Errorf("https: %v", err)
	}
}
