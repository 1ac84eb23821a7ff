package lab

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"

	"golang.org/x/sys/unix"

	"minato/internal/host"
)

// A benchmark starts itself again for what has to run inside of a world; a
// variable of the environment says as what.
const roleVariable = "MINATO_BENCH_ROLE"

// role is what a process of the benchmark is there for.
type role struct {
	// Serve at an address with this number; otherwise carry out orders.
	Serve netip.AddrPort
	ID    byte
	// CPU is the processor to keep to, -1 for any.
	CPU int
}

// Main is to be called first thing. It does not return in a process that this
// package started.
func Main() {
	text := os.Getenv(roleVariable)
	if text == "" {
		return
	}
	if err := play(text); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func play(text string) error {
	var r role
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		return err
	}
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(256 << 20) // in case of very many orders
	runtime.LockOSThread()
	if r.CPU >= 0 {
		var set unix.CPUSet
		set.Set(r.CPU)
		if err := unix.SchedSetaffinity(0, &set); err != nil {
			return fmt.Errorf("keep to processor %d: %w", r.CPU, err)
		}
	}
	if r.Serve.IsValid() {
		return serve(r.Serve, r.ID, func() error { return reply(struct{}{}) })
	}
	return obey(os.Stdin)
}

func obey(in io.Reader) error {
	for orders := json.NewDecoder(in); ; {
		var o Order
		if err := orders.Decode(&o); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		r, err := perform(o)
		if err != nil {
			r.Err = err.Error()
		}
		if err := reply(r); err != nil {
			return err
		}
	}
}

func reply(v any) error {
	data, err := json.Marshal(v)
	if err == nil {
		_, err = os.Stdout.Write(append(data, '\n'))
	}
	return err
}

// Client is a load generator.
type Client struct {
	process *Process
	in      io.WriteCloser
	out     *bufio.Reader
}

// InsideClient makes load in the client Pod, OutsideClient outside of the cluster. Both
// keep to one processor, -1 for any.
func (w *World) InsideClient(cpu int) (*Client, error) {
	return w.client("client", w.Client, w.Inside, role{CPU: cpu})
}

// OutsideClient is like InsideClient.
func (w *World) OutsideClient(cpu int) (*Client, error) {
	return w.client("outside client", w.Outside, w.Beyond, role{CPU: cpu})
}

// Serve starts a server in a Pod that answers at the address with the number.
func (w *World) Serve(ns host.Netns, at netip.AddrPort, id byte, cpu int) error {
	c, err := w.client("server", ns, w.Inside, role{Serve: at, ID: id, CPU: cpu})
	if err != nil {
		return err
	}
	_, err = c.line()
	return err
}

// again is this program in a role.
func again(r role) (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self)
	// The scheduler's signals would interrupt system calls that it does not know of.
	cmd.Env = append(os.Environ(), roleVariable+"="+string(text), "GODEBUG=asyncpreemptoff=1")
	return cmd, nil
}

func (w *World) client(name string, ns host.Netns, cgroup host.Cgroup, r role) (*Client, error) {
	cmd, err := again(r)
	if err != nil {
		return nil, err
	}
	c := &Client{}
	if c.in, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, in, err := os.Pipe() // not StdoutPipe: waiting for the process would close it
	if err != nil {
		return nil, err
	}
	defer in.Close()
	cmd.Stdout, c.out = in, bufio.NewReaderSize(out, 1<<20)
	c.process, err = w.start(w.Name+": "+name, ns, cgroup, cmd)
	if err != nil {
		out.Close()
		return nil, err
	}
	return c, nil
}

func (c *Client) line() ([]byte, error) {
	data, err := c.out.ReadBytes('\n')
	if err != nil {
		<-c.process.done
		return nil, errors.Join(c.process.ended(), err)
	}
	return data, nil
}

// Do makes one load and returns when it is done.
func (c *Client) Do(ctx context.Context, o Order) (Result, error) {
	var r Result
	if err := ctx.Err(); err != nil {
		return r, err
	}
	if err := json.NewEncoder(c.in).Encode(o); err != nil {
		return r, errors.Join(c.process.ended(), err)
	}
	data, err := c.line()
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(data, &r); err != nil {
		return r, err
	}
	if r.Err != "" {
		return r, fmt.Errorf("%s: %s to %s: %s", c.process.Name, o.Kind, addresses(o.To), r.Err)
	}
	return r, nil
}

// addresses names the first of many.
func addresses(all []netip.AddrPort) string {
	const few = 3
	if len(all) <= few {
		return fmt.Sprint(all)
	}
	return fmt.Sprintf("%v and %d more", all[:few], len(all)-few)
}
