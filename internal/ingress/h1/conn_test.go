package h1

import (
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"
)

// pair returns both ends of a TCP connection over loopback.
func pair(t *testing.T) (client, server *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	client, server = c.(*net.TCPConn), s.(*net.TCPConn)
	for _, c := range []*net.TCPConn{client, server} {
		t.Cleanup(func() { c.Close() })
		if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	return client, server
}

// An idle connection waits for its first byte without a buffer: the system call that
// reads it is made when the connection is readable.
func TestWaitWithoutBuffer(t *testing.T) {
	client, server := pair(t)
	raw, err := server.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var pool Buffers
	rd := NewReader(server, &pool)
	waited := make(chan struct{})
	var readErr error
	wait := func(fd uintptr) bool {
		n, err := syscall.Read(int(fd), rd.Space())
		if err == syscall.EAGAIN {
			rd.Release()
			if rd.cur != nil {
				t.Error("a buffer is held while the connection waits")
			}
			close(waited)
			return false
		}
		readErr = err
		rd.Filled(max(n, 0))
		return true
	}
	go func() {
		<-waited
		_, _ = io.WriteString(client, smallRequest)
	}()
	if err := raw.Read(wait); err != nil || readErr != nil || rd.Buffered() == 0 {
		t.Fatal(err, readErr, rd.Buffered())
	}
	var q Request
	lim := defaultRequestLimits()
	if err := rd.ReadRequest(&q, &lim); err != nil || string(q.Host) != "127.0.0.1:8080" {
		t.Errorf("%q, %v", q.Host, err)
	}
}

// A body is moved from connection to connection by the kernel, and the next request is
// found behind it.
func TestSpliceOverTCP(t *testing.T) {
	client, server := pair(t)
	up, backend := pair(t)
	const size = 4 << 20
	body := strings.Repeat("0123456789abcdef", size/16)
	go func() {
		_, _ = io.WriteString(client, "PUT /1 HTTP/1.1\r\nHost: h\r\nContent-Length: 4194304\r\n\r\n"+body+"GET /2 HTTP/1.1\r\nHost: h\r\n\r\n")
	}()
	got := make(chan string, 1)
	go func() {
		all, _ := io.ReadAll(backend)
		got <- string(all)
	}()
	var pool Buffers
	var q Request
	lim := defaultRequestLimits()
	rd := NewReader(server, &pool)
	if err := rd.ReadRequest(&q, &lim); err != nil {
		t.Fatal(err)
	}
	if _, err := up.Write(q.Body.Buffered()); err != nil {
		t.Fatal(err)
	}
	n, err := io.CopyN(up, server, q.Body.Remaining())
	q.Body.Moved(n)
	if err != nil || !q.Body.Done() {
		t.Fatal(n, err)
	}
	if err := up.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if all := <-got; all != body {
		t.Errorf("the backend got %d bytes", len(all))
	}
	if err := rd.ReadRequest(&q, &lim); err != nil || string(q.Path) != "/2" {
		t.Errorf("%q, %v", q.Path, err)
	}
}
