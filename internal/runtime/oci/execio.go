package oci

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"slices"
	"sync"
	"time"

	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
)

// execStreams copies between a session and its command.
type execStreams struct {
	theirs []*os.File // the command's ends, closed here once it has started
	ours   []*os.File
	outs   []output
	copies sync.WaitGroup
	begin  []func() // run once the command has started; drain waits for them
	// console is where a terminal arrives from the OCI runtime, or nil.
	console *console
}

// output is one stream that is read to its end, or for as long as there is
// something to read after the command has ended.
type output struct {
	f  *os.File
	to io.Writer
}

// openPipes gives the command a pipe for each stream.
func (s session) openPipes(cmd *exec.Cmd) (*execStreams, error) {
	x := &execStreams{}
	if s.in != nil {
		r, w, err := os.Pipe()
		if err != nil {
			return x, err
		}
		cmd.Stdin = r
		x.theirs, x.ours = append(x.theirs, r), append(x.ours, w)
		x.begin = append(x.begin, func() { go copyInput(w, s.in) })
	}
	for _, stream := range []struct {
		to    io.Writer
		field *io.Writer
	}{{s.out, &cmd.Stdout}, {s.err, &cmd.Stderr}} {
		if stream.to == nil {
			continue
		}
		r, w, err := os.Pipe()
		if err != nil {
			return x, err
		}
		*stream.field = w
		x.theirs, x.ours = append(x.theirs, w), append(x.ours, r)
		x.outs = append(x.outs, output{r, stream.to})
	}
	return x, nil
}

// openTerminal gives the command a terminal.
func (s session) openTerminal(cmd *exec.Cmd, p program) (*execStreams, error) {
	if p.carriesTerminal() {
		return s.openOuterTerminal(cmd)
	}
	return s.openConsole(cmd, p)
}

// openOuterTerminal is for runc, which makes a terminal inside the container and
// copies input, output and size between it and the terminal that runc itself is
// started on. The outer one is in raw mode, so that only the inner one echoes.
func (s session) openOuterTerminal(cmd *exec.Cmd) (*execStreams, error) {
	x := &execStreams{}
	master, slave, err := openPTY()
	if err != nil {
		return x, err
	}
	x.theirs, x.ours = []*os.File{slave}, []*os.File{master}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr.Setsid, cmd.SysProcAttr.Setctty = true, true
	x.begin = append(x.begin, func() { s.feed(master) })
	x.outs = []output{{master, s.outOrDiscard()}}
	return x, nil
}

// openConsole is for crun, which hands over the inner terminal itself.
func (s session) openConsole(cmd *exec.Cmd, p program) (*execStreams, error) {
	x := &execStreams{}
	var err error
	if x.console, err = listenConsole(p.root); err != nil {
		return x, err
	}
	cmd.Args = slices.Insert(cmd.Args, len(cmd.Args)-1, "--console-socket", x.console.path)
	x.begin = append(x.begin, func() {
		master, err := x.console.accept()
		if err != nil {
			return // the command ended before it had a terminal
		}
		defer master.Close()
		s.feed(master)
		output{master, s.outOrDiscard()}.copy()
	})
	return x, nil
}

// feed passes input and sizes on to a terminal, in the background.
func (s session) feed(master *os.File) {
	if s.in != nil {
		go copyInput(keepOpen{master}, s.in)
	}
	if s.resize != nil {
		go followSize(master, s.resize)
	}
}

func (s session) outOrDiscard() io.Writer {
	if s.out == nil {
		return io.Discard
	}
	return s.out
}

// keepOpen hides Close: a terminal ends with its output, not with its input.
type keepOpen struct{ io.Writer }

func (keepOpen) Close() error { return nil }

// copyInput ends when the client closes its side, at the latest when the
// connection is torn down; the command's end need not wait for that.
func copyInput(to io.WriteCloser, from io.Reader) {
	io.Copy(to, from)
	to.Close()
}

func followSize(master *os.File, sizes <-chan remotecommand.TerminalSize) {
	for size := range sizes {
		if setSize(master, size) != nil {
			return
		}
	}
}

// started begins to copy.
func (x *execStreams) started() {
	for _, f := range x.theirs {
		f.Close()
	}
	for _, fn := range x.begin {
		x.copies.Go(fn)
	}
	for _, out := range x.outs {
		x.copies.Go(func() { out.copy() })
	}
}

// drainPause is how long an output may be silent after the command's end. What
// the command wrote is in the pipe already; who else holds the pipe (a process
// that it left in the background) is not waited for.
const drainPause = 50 * time.Millisecond

// drain takes what is left of the output, then closes everything.
func (x *execStreams) drain() {
	for _, out := range x.outs {
		out.f.SetReadDeadline(time.Now().Add(drainPause))
	}
	if x.console != nil {
		x.console.finish()
	}
	x.copies.Wait()
	x.closeAll()
}

func (x *execStreams) closeAll() {
	for _, f := range append(x.theirs, x.ours...) {
		f.Close()
	}
	if x.console != nil {
		x.console.close()
	}
}

func (o output) copy() {
	buf := make([]byte, 32<<10)
	broken := false
	for {
		n, err := o.f.Read(buf)
		if n > 0 && !broken {
			// A client that has gone must not block the command.
			_, werr := o.to.Write(buf[:n])
			broken = werr != nil
		}
		if errors.Is(err, os.ErrDeadlineExceeded) && o.moreToRead() {
			continue
		}
		if err != nil {
			return
		}
	}
}

// moreToRead tells, once the deadline has passed, whether the pipe still holds
// something, and if so allows another read.
func (o output) moreToRead() bool {
	raw, err := o.f.SyscallConn()
	if err != nil {
		return false
	}
	ready := false
	err = raw.Control(func(fd uintptr) { ready = readable(int(fd)) })
	return err == nil && ready && o.f.SetReadDeadline(time.Now().Add(drainPause)) == nil
}
