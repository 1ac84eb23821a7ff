package socket

import (
	"io"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// Read reads once. At the end of the stream it returns 0 and io.EOF.
func Read(fd uintptr, p []byte) (int, error) {
	for {
		n, err := unix.Read(int(fd), p)
		switch {
		case err == syscall.EINTR:
			continue
		case err != nil:
			return 0, err
		case n == 0:
			return 0, io.EOF
		}
		return n, nil
	}
}

// Write writes once; it may write less than all. It returns 0 where it would wait.
func Write(fd uintptr, p []byte) (int, error) {
	for {
		n, err := unix.Write(int(fd), p)
		if err != syscall.EINTR {
			return wrote(n, err)
		}
	}
}

// Writev is Write of several pieces.
func Writev(fd uintptr, p [][]byte) (int, error) {
	for {
		n, err := unix.Writev(int(fd), p)
		if err != syscall.EINTR {
			return wrote(n, err)
		}
	}
}

func wrote(n int, err error) (int, error) {
	switch err {
	case nil:
		return n, nil
	case syscall.EAGAIN:
		return 0, nil
	default:
		return 0, err
	}
}

// State is what a look at a connection without reading found.
type State uint8

// The states.
const (
	Silent  State = iota // it is open, and nothing has come that was not read
	Waiting              // something has come
	Closed               // the other end has closed or reset it
)

// Peek looks at what has come, without waiting and without reading it.
func Peek(fd uintptr) State {
	var b [1]byte
	for {
		n, _, err := unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		switch {
		case err == syscall.EINTR:
			continue
		case err == syscall.EAGAIN:
			return Silent
		case err != nil || n == 0:
			return Closed
		}
		return Waiting
	}
}

// tcpClose is TCP_CLOSE of the kernel's states.
const tcpClose = 7

// Acked returns how many bytes of what was written to a TCP connection that this end has opened the other end's kernel
// has taken, and whether the connection is reset or closed on both sides.
func Acked(fd uintptr) (bytes uint64, over bool, err error) {
	info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		return 0, false, err
	}
	if info.Bytes_acked > 0 {
		bytes = info.Bytes_acked - 1 // the kernel counts the SYN, too
	}
	return bytes, info.State == tcpClose, nil
}

// UnnamedFile makes a file in a directory that has no name and vanishes when it is closed.
func UnnamedFile(dir string) (*os.File, error) {
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, &os.PathError{Op: "open a file without a name in", Path: dir, Err: err}
	}
	return os.NewFile(uintptr(fd), "file without a name in "+dir), nil
}
