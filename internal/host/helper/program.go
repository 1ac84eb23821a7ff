package helper

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"

	"minato/internal/host"
)

// Program is a program that listens on a socket which it gets as its descriptor 3.
type Program struct {
	host.Confined
	// Socket is the path of the socket, in a directory that only this user can enter.
	Socket string
}

// Find connects to the process that an earlier one has started; nil if there is none.
func (p Program) Find() *net.UnixConn {
	c, err := net.DialUnix("unix", nil, p.address())
	if err != nil {
		return nil
	}
	return c
}

func (p Program) address() *net.UnixAddr { return &net.UnixAddr{Name: p.Socket, Net: "unix"} }

// Start starts the program and connects to it. Whoever is at the socket already is not found any more.
func (p Program) Start() (*net.UnixConn, *Child, error) {
	if err := os.Remove(p.Socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, nil, err
	}
	listener, err := net.ListenUnix("unix", p.address())
	if err != nil {
		return nil, nil, fmt.Errorf("listen for a process: %w", err)
	}
	listener.SetUnlinkOnClose(false) // it is the new process's then
	defer listener.Close()
	if err := os.Chmod(p.Socket, 0o600); err != nil {
		return nil, nil, err
	}
	file, err := listener.File()
	if err != nil {
		return nil, nil, err
	}
	defer file.Close()
	cmd, err := p.Confined.Start(file)
	if err != nil {
		return nil, nil, err
	}
	child := &Child{cmd: cmd, exited: make(chan struct{})}
	go child.wait()
	c, err := net.DialUnix("unix", nil, p.address())
	if err != nil {
		child.Kill()
		return nil, nil, err
	}
	return c, child, nil
}

// Child is a process that this one has started and reaps, for as long as both live.
type Child struct {
	cmd    *exec.Cmd
	exited chan struct{}
}

func (c *Child) wait() {
	defer close(c.exited)
	_ = c.cmd.Wait() // State tells how it ended
}

// Exited is closed when the process has ended.
func (c *Child) Exited() <-chan struct{} { return c.exited }

// Kill ends the process, and waits for that.
func (c *Child) Kill() {
	_ = c.cmd.Process.Kill() // it fails only if the process has ended
	<-c.exited
}

// Guard closes a connection to the process when that ends before release is called: nobody else would, if the process has
// not taken the connection yet.
func (c *Child) Guard(conn net.Conn) (release func()) {
	released := make(chan struct{})
	go func() {
		select {
		case <-c.exited:
			conn.Close()
		case <-released:
		}
	}()
	return func() { close(released) }
}

// Why returns how the process has ended, or err if it has not.
func (c *Child) Why(err error) error {
	select {
	case <-c.exited:
		return fmt.Errorf("it has ended: %v", c.cmd.ProcessState)
	default:
		return err
	}
}

// Listener is the one that Start has given to the program that it started.
func Listener() (net.Listener, error) {
	f := os.NewFile(3, "listener")
	if f == nil {
		return nil, errors.New("descriptor 3 is missing: this program is started by Minato itself")
	}
	defer f.Close()
	l, err := net.FileListener(f)
	if err != nil {
		return nil, fmt.Errorf("descriptor 3 is no listener, since this program is started by Minato itself: %w", err)
	}
	return l, nil
}
