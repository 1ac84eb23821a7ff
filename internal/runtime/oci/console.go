package oci

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// carriesTerminal tells whether `exec` follows the size of the terminal that
// it is started on. runc does and gives no terminal away without --detach,
// which loses the exit code; crun is the other way round.
func (p program) carriesTerminal() bool {
	return strings.Contains(filepath.Base(p.path), "runc")
}

// console is a socket that the OCI runtime sends a terminal to.
type console struct {
	path     string
	listener *net.UnixListener

	mu     sync.Mutex
	master *os.File
	ended  bool
}

func listenConsole(dir string) (*console, error) {
	// Directly below dir: a socket's path must be short.
	path := filepath.Join(dir, "console-"+newID()[:12])
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("listen for a terminal: %w", err)
	}
	return &console{path: path, listener: l}, nil
}

func (c *console) accept() (*os.File, error) {
	conn, err := c.listener.AcceptUnix()
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	buf, oob := make([]byte, 512), make([]byte, unix.CmsgSpace(4*4))
	_, n, _, _, err := conn.ReadMsgUnix(buf, oob)
	if err != nil {
		return nil, err
	}
	msgs, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil {
		return nil, err
	}
	for _, msg := range msgs {
		fds, err := unix.ParseUnixRights(&msg)
		if err != nil || len(fds) == 0 {
			continue
		}
		for _, extra := range fds[1:] {
			unix.Close(extra)
		}
		return c.adopt(fds[0])
	}
	return nil, errors.New("the OCI runtime sent no terminal")
}

// adopt makes a file of the descriptor; in non-blocking mode, for deadlines.
func (c *console) adopt(fd int) (*os.File, error) {
	unix.CloseOnExec(fd)
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, err
	}
	master := os.NewFile(uintptr(fd), "ptmx")
	c.mu.Lock()
	defer c.mu.Unlock()
	c.master = master
	if c.ended {
		master.SetReadDeadline(time.Now().Add(drainPause))
	}
	return master, nil
}

// finish is called when the command has ended: a terminal that is still on its
// way is there at once, or never comes.
func (c *console) finish() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
	c.listener.SetDeadline(time.Now().Add(drainPause))
	if c.master != nil {
		c.master.SetReadDeadline(time.Now().Add(drainPause))
	}
}

func (c *console) close() {
	c.listener.Close() // removes the socket's file too
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.master != nil {
		c.master.Close()
	}
}
