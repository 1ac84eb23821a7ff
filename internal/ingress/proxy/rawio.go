package proxy

import (
	"io"
	"syscall"

	"golang.org/x/sys/unix"
)

// These are for descriptors that do not block, within syscall.RawConn: they return EAGAIN where others would wait.

// rawRead reads once. It returns 0 and io.EOF at the end.
func rawRead(fd uintptr, p []byte) (int, error) {
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

// rawWrite writes once; it may write less than all.
func rawWrite(fd uintptr, p []byte) (int, error) {
	for {
		n, err := unix.Write(int(fd), p)
		switch {
		case err == syscall.EINTR:
			continue
		case err == syscall.EAGAIN:
			return 0, nil
		case err != nil:
			return 0, err
		}
		return n, nil
	}
}

// rawWritev is rawWrite of several pieces.
func rawWritev(fd uintptr, p [][]byte) (int, error) {
	for {
		n, err := unix.Writev(int(fd), p)
		switch {
		case err == syscall.EINTR:
			continue
		case err == syscall.EAGAIN:
			return 0, nil
		case err != nil:
			return 0, err
		}
		return n, nil
	}
}

// peekState is what a look at a connection without reading found.
type peekState uint8

const (
	peekNothing peekState = iota // it is open and has sent nothing
	peekBytes
	peekClosed
)

// peekRaw looks at what a connection has sent, without waiting.
func peekRaw(fd uintptr) peekState {
	var b [1]byte
	for {
		n, _, err := unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		switch {
		case err == syscall.EINTR:
			continue
		case err == syscall.EAGAIN:
			return peekNothing
		case err != nil || n == 0:
			return peekClosed
		}
		return peekBytes
	}
}
