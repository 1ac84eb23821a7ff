package socket

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// PipeSize is what a Pipe holds at most, in bytes.
const PipeSize = 256 << 10

// Pipe is what bytes go through from one socket to another without being copied. It must be empty to be used for other
// sockets.
type Pipe struct{ r, w int }

// NewPipe makes a pipe that does not block.
func NewPipe() (Pipe, error) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return Pipe{}, err
	}
	_, _ = unix.FcntlInt(uintptr(fds[0]), unix.F_SETPIPE_SZ, PipeSize) // the usual size does as well
	return Pipe{fds[0], fds[1]}, nil
}

// Close closes both ends.
func (p Pipe) Close() {
	_ = unix.Close(p.r)
	_ = unix.Close(p.w)
}

// Fill moves up to most bytes from a socket into the pipe. It returns 0 at the end of the stream.
func (p Pipe) Fill(fd uintptr, most int) (int, error) { return splice(int(fd), p.w, most) }

// Drain moves up to most bytes from the pipe into a socket.
func (p Pipe) Drain(fd uintptr, most int) (int, error) { return splice(p.r, int(fd), most) }

func splice(from, to, most int) (int, error) {
	for {
		n, err := unix.Splice(from, nil, to, nil, most, unix.SPLICE_F_MOVE|unix.SPLICE_F_NONBLOCK)
		switch {
		case err == syscall.EINTR:
			continue
		case err != nil:
			return 0, err
		}
		return int(n), nil
	}
}
