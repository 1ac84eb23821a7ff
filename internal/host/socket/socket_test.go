package socket

import (
	"bytes"
	"io"
	"net"
	"syscall"
	"testing"
	"time"
)

// pair returns both ends of a TCP connection over loopback; the first has opened it.
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
	t.Cleanup(func() { c.Close(); s.Close() })
	return c.(*net.TCPConn), s.(*net.TCPConn)
}

// on calls f with the descriptor.
func on(t *testing.T, c *net.TCPConn, f func(fd uintptr)) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Control(f); err != nil {
		t.Fatal(err)
	}
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal(what)
		}
	}
}

func TestReadWritePeek(t *testing.T) {
	c, s := pair(t)
	peek := func() (state State) {
		on(t, s, func(fd uintptr) { state = Peek(fd) })
		return state
	}
	on(t, s, func(fd uintptr) {
		if n, err := Read(fd, make([]byte, 10)); err != syscall.EAGAIN {
			t.Errorf("nothing to read: %d %v", n, err)
		}
	})
	if got := peek(); got != Silent {
		t.Errorf("state %d", got)
	}
	on(t, c, func(fd uintptr) {
		if n, err := Write(fd, []byte("ab")); n != 2 || err != nil {
			t.Errorf("%d %v", n, err)
		}
		if n, err := Writev(fd, [][]byte{[]byte("cd"), []byte("e")}); n != 3 || err != nil {
			t.Errorf("%d %v", n, err)
		}
	})
	got := make([]byte, 5)
	eventually(t, "bytes come", func() bool { return peek() == Waiting })
	if _, err := io.ReadFull(s, got); err != nil || string(got) != "abcde" {
		t.Errorf("%q %v", got, err)
	}
	c.Close()
	eventually(t, "the end comes", func() bool { return peek() == Closed })
	on(t, s, func(fd uintptr) {
		if _, err := Read(fd, got); err != io.EOF {
			t.Errorf("at the end: %v", err)
		}
	})
	c, _ = pair(t)
	on(t, c, func(fd uintptr) {
		for range 1000 {
			n, err := Write(fd, make([]byte, 1<<20))
			if err != nil {
				t.Fatal(err)
			}
			if n == 0 {
				return
			}
		}
		t.Error("a socket that nobody reads from takes all")
	})
}

// TestAcked: bytes that came after the other end had closed the connection were not taken.
func TestAcked(t *testing.T) {
	c, s := pair(t)
	acked := func() (n uint64, over bool) {
		on(t, c, func(fd uintptr) {
			var err error
			if n, over, err = Acked(fd); err != nil {
				t.Fatal(err)
			}
		})
		return n, over
	}
	_, _ = c.Write(make([]byte, 100))
	if _, err := io.ReadFull(s, make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "100 bytes are taken", func() bool { n, over := acked(); return n == 100 && !over })
	s.Close()
	eventually(t, "the end comes", func() (closed bool) {
		on(t, c, func(fd uintptr) { closed = Peek(fd) == Closed })
		return closed
	})
	_, _ = c.Write(make([]byte, 50))
	eventually(t, "the connection is over", func() bool { _, over := acked(); return over })
	if n, _ := acked(); n != 100 {
		t.Errorf("%d bytes were taken", n)
	}
}

func TestPipe(t *testing.T) {
	c, s := pair(t)
	c2, s2 := pair(t)
	p, err := NewPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	text := bytes.Repeat([]byte("x"), 100<<10)
	go func() { _, _ = c.Write(text); _ = c.CloseWrite() }()
	done := make(chan []byte, 1)
	go func() { b, _ := io.ReadAll(s2); done <- b }()
	raw, err := s.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	for {
		n := 0
		if err := raw.Read(func(fd uintptr) bool {
			n, err = p.Fill(fd, PipeSize)
			return err != syscall.EAGAIN
		}); err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			break
		}
		on(t, c2, func(fd uintptr) {
			for n > 0 {
				m, err := p.Drain(fd, n)
				if err != nil && err != syscall.EAGAIN {
					t.Fatal(err)
				}
				n -= m
			}
		})
	}
	c2.Close()
	if got := <-done; !bytes.Equal(got, text) {
		t.Errorf("%d bytes", len(got))
	}
}

func TestUnnamedFile(t *testing.T) {
	f, err := UnnamedFile(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString("text"); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 4)
	if _, err := f.ReadAt(got, 0); err != nil || string(got) != "text" {
		t.Errorf("%q %v", got, err)
	}
	if _, err := UnnamedFile("/nowhere"); err == nil {
		t.Error("a directory that is not there")
	}
}
