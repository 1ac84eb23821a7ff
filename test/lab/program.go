package lab

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"

	"minato/internal/host"
)

// Program is a running command of Minato.
type Program struct {
	Cmd *exec.Cmd
	// Done is closed when it has ended.
	Done chan struct{}
	log  string
}

// Start starts a command of the binary that MINATO names in a namespace, with its output in a file. It ends with the test
// process at the latest.
func Start(t *testing.T, ns host.Netns, log string, args ...string) *Program {
	t.Helper()
	return StartAs(t, ns, log, Process{}, args...)
}

// Process is what a program's process has that is not as this one's.
type Process struct {
	// User, if not 0, is the user and the group that it runs as, without any capability.
	User uint32
	Env  []string
}

// StartAs is Start for a process of another kind.
func StartAs(t *testing.T, ns host.Netns, log string, as Process, args ...string) *Program {
	t.Helper()
	p := &Program{log: log, Done: make(chan struct{})}
	out, err := os.Create(log)
	if err != nil {
		t.Fatal(err)
	}
	p.Cmd = exec.Command(os.Getenv("MINATO"), args...)
	p.Cmd.Stdout, p.Cmd.Stderr = out, out
	p.Cmd.Env = append(os.Environ(), as.Env...)
	p.Cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if as.User != 0 {
		p.Cmd.SysProcAttr.Credential = &syscall.Credential{Uid: as.User, Gid: as.User}
		// The user need not be able to reach the program's file.
		program, err := os.Open(os.Getenv("MINATO"))
		if err != nil {
			t.Fatal(err)
		}
		defer program.Close()
		p.Cmd.ExtraFiles, p.Cmd.Path = []*os.File{program}, "/proc/self/fd/3"
	}
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // the program would end with the thread that started it
		defer runtime.UnlockOSThread()
		defer out.Close()
		err := ns.Do(p.Cmd.Start)
		started <- err
		if err == nil {
			p.Cmd.Wait()
			close(p.Done)
		}
	}()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	return p
}

// End sends a signal and returns when the program is gone.
func (p *Program) End(s syscall.Signal) {
	p.Cmd.Process.Signal(s)
	<-p.Done
}

// Text is what the program has printed.
func (p *Program) Text() string {
	data, _ := os.ReadFile(p.log)
	return string(data)
}

// Once runs a command of Minato in a namespace and returns its exit status and output.
func Once(t *testing.T, ns host.Netns, args ...string) (int, string) {
	t.Helper()
	cmd := exec.Command(os.Getenv("MINATO"), args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := ns.Do(cmd.Start); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	return cmd.ProcessState.ExitCode(), out.String()
}

// Command runs a program of the machine in a namespace and returns its output.
func Command(t *testing.T, ns host.Netns, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := ns.Do(cmd.Start); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%s %v: %v: %s", name, args, err, out.String())
	}
	return out.String()
}

// Get asks an HTTP server from a namespace. The status is 0 without an answer.
func Get(from host.Netns, url string) (int, string) {
	client := http.Client{Timeout: AskTimeout, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			return from.DialContext(ctx, network, addr)
		},
	}}
	r, err := client.Get(url)
	if err != nil {
		return 0, err.Error()
	}
	defer r.Body.Close()
	body, _ := io.ReadAll(r.Body)
	return r.StatusCode, string(body)
}
