package oci

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
)

// buffer is a client's side of an output stream.
type buffer struct {
	mu     sync.Mutex
	b      bytes.Buffer
	closed bool
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	return nil
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func (b *buffer) await(t *testing.T, text string) {
	t.Helper()
	eventually(t, "output "+text+" in "+b.String(), func() bool { return strings.Contains(b.String(), text) })
}

func TestExec(t *testing.T) {
	n := newNode(t)
	sb := n.pod(sandboxConfig("exec"))
	id := n.run(sb, containerConfig("sleep", "1h"))
	t.Run("stdin to both outputs", func(t *testing.T) {
		var out, errOut buffer
		err := n.Streams().Exec(t.Context(), id, []string{"/tool", "lines"}, strings.NewReader("a\nb\n"), &out, &errOut, false, nil)
		if err != nil || out.String() != "ready\ngot a\ngot b\neof\n" || errOut.String() != "err a\nerr b\n" {
			t.Errorf("exec = %v, %q, %q", err, out.String(), errOut.String())
		}
	})
	t.Run("large output", func(t *testing.T) {
		var out buffer
		in := strings.Repeat("0123456789abcdef", 1<<16)
		err := n.Streams().Exec(t.Context(), id, []string{"/tool", "cat"}, strings.NewReader(in), &out, nil, false, nil)
		if err != nil || out.String() != in {
			t.Errorf("exec = %v, %d bytes of %d", err, len(out.String()), len(in))
		}
	})
	t.Run("exit code", func(t *testing.T) {
		var out, errOut buffer
		err := n.Streams().Exec(t.Context(), id, []string{"/tool", "exit", "41"}, nil, &out, &errOut, false, nil)
		if exitCode(err) != 41 {
			t.Errorf("exec = %v", err)
		}
	})
	t.Run("no such command", func(t *testing.T) {
		_, _, err := n.ExecSync(t.Context(), id, []string{"/nope"}, 0)
		if err == nil || exitCode(err) != -1 || !strings.Contains(err.Error(), "/nope") {
			t.Errorf("exec = %v, want an error that is no exit code and names the command", err)
		}
	})
	t.Run("timeout", func(t *testing.T) {
		start := time.Now()
		_, _, err := n.ExecSync(t.Context(), id, []string{"/tool", "stubborn"}, 200*time.Millisecond)
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) > 5*time.Second {
			t.Errorf("exec = %v after %v", err, time.Since(start))
		}
		eventually(t, "the command to be killed", func() bool {
			out, _, err := n.ExecSync(t.Context(), id, []string{"/tool", "procs"}, 0)
			return err == nil && !strings.Contains(string(out), "stubborn")
		})
	})
	t.Run("terminal", func(t *testing.T) {
		var out buffer
		sizes := make(chan remotecommand.TerminalSize, 4)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		in, typed := io.Pipe()
		done := make(chan error, 1)
		go func() {
			done <- n.Streams().Exec(ctx, id, []string{"/tool", "size"}, in, &out, nil, true, sizes)
		}()
		sizes <- remotecommand.TerminalSize{Width: 132, Height: 43}
		out.await(t, "132x43\r\n")
		sizes <- remotecommand.TerminalSize{Width: 90, Height: 20}
		out.await(t, "90x20\r\n")
		typed.Write([]byte("x"))
		out.await(t, "\nx")
		typed.Write([]byte{3}) // ^C
		if err := <-done; exitCode(err) != 2 && exitCode(err) != 130 {
			t.Errorf("exec = %v", err)
		}
		if strings.Count(out.String(), "\nx^C") != 1 {
			t.Errorf("output %q, want the typed text echoed once", out.String())
		}
	})
	t.Run("terminal input and code", func(t *testing.T) {
		var out buffer
		in, typed := io.Pipe()
		done := make(chan error, 1)
		go func() {
			done <- n.Streams().Exec(t.Context(), id, []string{"/tool", "lines"}, in, &out, nil, true, nil)
		}()
		out.await(t, "ready")
		typed.Write([]byte("one\n"))
		out.await(t, "got one\r\n")
		typed.Write([]byte{4}) // ^D
		if err := <-done; err != nil {
			t.Error(err)
		}
		out.await(t, "eof")
	})
	t.Run("client goes", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var out buffer
		done := make(chan error, 1)
		go func() { done <- n.Streams().Exec(ctx, id, []string{"/tool", "ticks"}, nil, &out, nil, false, nil) }()
		out.await(t, "tick 3")
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("exec = %v", err)
		}
	})
	t.Run("runs in the container's cgroup", func(t *testing.T) {
		out, _, err := n.ExecSync(t.Context(), id, []string{"/tool", "cat", "/proc/self/cgroup"}, 0)
		if err != nil || !strings.Contains(string(out), id) && !n.layout.Unified {
			t.Errorf("exec = %v:\n%s", err, out)
		}
		for line := range strings.Lines(string(out)) {
			if strings.HasPrefix(line, "0::") && !n.layout.Unified && !strings.Contains(line, n.cfg.Cgroup.Path+"/poduid-exec/"+id) {
				t.Errorf("cgroup2 is %s", line)
			}
		}
	})
}

func TestAttach(t *testing.T) {
	n := newNode(t)
	sb := n.pod(sandboxConfig("attach"))
	t.Run("stdin once", func(t *testing.T) {
		cfg := containerConfig("lines")
		cfg.Stdin, cfg.StdinOnce = true, true
		id := n.run(sb, cfg)
		var out, errOut buffer
		if err := n.Streams().Attach(t.Context(), id, strings.NewReader("a\nb\n"), &out, &errOut, false, nil); err != nil {
			t.Fatal(err)
		}
		// What came before the client did is in the log only.
		if got := strings.TrimPrefix(out.String(), "ready\n"); got != "got a\ngot b\neof\n" {
			t.Errorf("stdout = %q", out.String())
		}
		if errOut.String() != "err a\nerr b\n" {
			t.Errorf("stderr = %q", errOut.String())
		}
		if st := n.awaitExit(id); st.GetExitCode() != 0 {
			t.Errorf("status = %v", st)
		}
	})
	t.Run("before start", func(t *testing.T) {
		cfg := containerConfig("echo", "first words")
		id, err := n.CreateContainer(t.Context(), sb, cfg, nil)
		if err != nil {
			t.Fatal(err)
		}
		var out buffer
		done := make(chan error, 1)
		go func() { done <- n.Streams().Attach(t.Context(), id, nil, &out, nil, false, nil) }()
		if err := n.StartContainer(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil && !strings.Contains(err.Error(), "not running") {
			t.Error(err)
		}
	})
	t.Run("detach and attach again", func(t *testing.T) {
		cfg := containerConfig("lines")
		cfg.Stdin = true
		id := n.run(sb, cfg)
		for _, word := range []string{"one", "two"} {
			ctx, cancel := context.WithCancel(t.Context())
			var out buffer
			in, typed := io.Pipe()
			done := make(chan error, 1)
			go func() { done <- n.Streams().Attach(ctx, id, in, &out, nil, false, nil) }()
			typed.Write([]byte(word + "\n"))
			out.await(t, "got "+word)
			typed.Close()
			cancel()
			<-done
		}
		if n.status(id).GetState() != runtimeapi.ContainerState_CONTAINER_RUNNING {
			t.Error("the container ended with its first client")
		}
	})
	t.Run("terminal", func(t *testing.T) {
		cfg := containerConfig("size")
		cfg.Stdin, cfg.Tty = true, true
		id := n.run(sb, cfg)
		sizes := make(chan remotecommand.TerminalSize, 1)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var out buffer
		done := make(chan error, 1)
		go func() { done <- n.Streams().Attach(ctx, id, nil, &out, nil, true, sizes) }()
		n.awaitLog(id, "stdout: 0x0\r")
		sizes <- remotecommand.TerminalSize{Width: 101, Height: 33}
		out.await(t, "101x33")
		cancel()
		<-done
	})
}

func TestPortForward(t *testing.T) {
	n := newNode(t)
	sb := n.pod(sandboxConfig("forward"))
	id := n.run(sb, containerConfig("listen", "127.0.0.1:8080"))
	n.awaitLog(id, "stdout: ready")
	client, server := net.Pipe()
	done := make(chan error, 1)
	go func() { done <- n.Streams().PortForward(t.Context(), sb, 8080, server) }()
	client.SetDeadline(time.Now().Add(deadline))
	go client.Write([]byte("ping"))
	got := make([]byte, 4)
	if _, err := io.ReadFull(client, got); err != nil || string(got) != "ping" {
		t.Errorf("read %q, %v", got, err)
	}
	client.Close()
	<-done
	_, server = net.Pipe()
	if err := n.Streams().PortForward(t.Context(), sb, 9, server); err == nil || !strings.Contains(err.Error(), "port 9") {
		t.Errorf("closed port: %v", err)
	}
}
