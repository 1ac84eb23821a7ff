package oci

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/cri-streaming/pkg/streaming"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
)

var _ streaming.Runtime = streams{}

// Streams returns the implementation of exec, attach and port-forward. CRI's
// methods of the same names, which return URLs of a streaming server, are not
// supported.
func (r *Runtime) Streams() streaming.Runtime { return streams{r} }

type streams struct{ r *Runtime }

var errNoServer = fmt.Errorf("streams are served in process, see Runtime.Streams: %w", ErrUnsupported)

// Exec implements CRI; see Streams.
func (r *Runtime) Exec(context.Context, *runtimeapi.ExecRequest) (*runtimeapi.ExecResponse, error) {
	return nil, errNoServer
}

// Attach implements CRI; see Streams.
func (r *Runtime) Attach(context.Context, *runtimeapi.AttachRequest) (*runtimeapi.AttachResponse, error) {
	return nil, errNoServer
}

// PortForward implements CRI; see Streams.
func (r *Runtime) PortForward(context.Context, *runtimeapi.PortForwardRequest) (*runtimeapi.PortForwardResponse, error) {
	return nil, errNoServer
}

// Exec runs a command until it ends or ctx does. A command that fails gives an
// error of type utilexec.CodeExitError.
func (s streams) Exec(ctx context.Context, id string, cmd []string, in io.Reader, out, err io.WriteCloser, tty bool, resize <-chan remotecommand.TerminalSize) error {
	c, cerr := s.r.container(id)
	if cerr != nil {
		return cerr
	}
	return s.r.exec(ctx, session{c: c, cmd: cmd, in: in, out: writerOrNil(out), err: writerOrNil(err), tty: tty, resize: resize})
}

func writerOrNil(w io.WriteCloser) io.Writer {
	if w == nil {
		return nil
	}
	return w
}

// PortForward connects the stream to a port of the pod's loopback interface.
func (s streams) PortForward(ctx context.Context, sandboxID string, port int32, stream io.ReadWriteCloser) error {
	defer stream.Close()
	sb, err := s.r.sandbox(sandboxID)
	if err != nil {
		return err
	}
	if !sb.ready() {
		return fmt.Errorf("forward to pod sandbox %s: it was stopped", sandboxID)
	}
	conn, err := dialLoopback(ctx, sb, port)
	if err != nil {
		return fmt.Errorf("forward to port %d of pod sandbox %s: %w", port, sandboxID, err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	sent := make(chan error, 1)
	go func() {
		_, err := io.Copy(conn, stream)
		conn.(*net.TCPConn).CloseWrite()
		sent <- err
	}()
	// The session ends with the answer: a client that only receives may never
	// close its side.
	if _, err := io.Copy(stream, conn); err != nil {
		return fmt.Errorf("forward from port %d of pod sandbox %s: %w", port, sandboxID, err)
	}
	select {
	case err := <-sent:
		if err != nil && !errors.Is(err, net.ErrClosed) {
			return fmt.Errorf("forward to port %d of pod sandbox %s: %w", port, sandboxID, err)
		}
	default:
	}
	return nil
}

func dialLoopback(ctx context.Context, sb *sandbox, port int32) (net.Conn, error) {
	conn, err := sb.netns().DialContext(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(int(port))))
	if err == nil {
		return conn, nil
	}
	if conn, err6 := sb.netns().DialContext(ctx, "tcp", net.JoinHostPort("::1", strconv.Itoa(int(port)))); err6 == nil {
		return conn, nil
	}
	return nil, err
}
