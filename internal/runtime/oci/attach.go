package oci

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
)

// conmon's attach socket carries packets. Those from conmon begin with a byte
// that says which stream they belong to; those to conmon are input.
const (
	attachStderr = 3        // standard output is 2
	attachPacket = 32 << 10 // larger than any that conmon sends
	inputPacket  = 8 << 10  // what conmon reads at a time
)

// Attach connects to the streams of the container's own process until it ends
// or ctx does.
func (s streams) Attach(ctx context.Context, id string, in io.Reader, out, errOut io.WriteCloser, tty bool, resize <-chan remotecommand.TerminalSize) error {
	c, err := s.r.container(id)
	if err != nil {
		return err
	}
	if !c.unfinished() {
		return fmt.Errorf("attach to container %s: %w", id, ErrNotRunning)
	}
	conn, err := c.dialAttach(ctx)
	if err != nil {
		return fmt.Errorf("attach to container %s: %w", id, err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	if resize != nil {
		go c.followResize(resize)
	}
	if in != nil {
		go sendInput(conn, in)
	}
	err = receiveOutput(conn, writerOrNil(out), writerOrNil(errOut))
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("attach to container %s: %w", id, err)
	}
	return nil
}

// dialAttach connects to conmon's socket. Its path is longer than an address
// may be, so it is named by way of an open directory.
func (c *container) dialAttach(ctx context.Context) (*net.UnixConn, error) {
	dir, err := os.Open(c.runDir)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unixpacket", filepath.Join(fmt.Sprintf("/proc/self/fd/%d", dir.Fd()), "attach"))
	if err != nil {
		return nil, err
	}
	return conn.(*net.UnixConn), nil
}

func (c *container) followResize(sizes <-chan remotecommand.TerminalSize) {
	for size := range sizes {
		if c.control(ctlResize, int(size.Height), int(size.Width)) != nil {
			return
		}
	}
}

// sendInput sends input to conmon, and at its end shuts the connection down for
// writing: conmon then closes the container's input if that was to be open for
// one session only (stdinOnce).
func sendInput(conn *net.UnixConn, in io.Reader) {
	// Without ReadFrom, which would send packets larger than conmon reads.
	io.CopyBuffer(struct{ io.Writer }{conn}, struct{ io.Reader }{in}, make([]byte, inputPacket))
	conn.CloseWrite()
}

func receiveOutput(conn *net.UnixConn, out, errOut io.Writer) error {
	buf := make([]byte, attachPacket+1)
	for {
		n, err := conn.Read(buf)
		if errors.Is(err, io.EOF) || errors.Is(err, unix.ECONNRESET) || errors.Is(err, net.ErrClosed) || n == 0 && err == nil {
			return nil // conmon has gone, and with it the container
		}
		if err != nil {
			return err
		}
		to := out
		if buf[0] == attachStderr {
			to = errOut
		}
		if to == nil {
			continue
		}
		if _, err := to.Write(buf[1:n]); err != nil {
			return err
		}
	}
}
