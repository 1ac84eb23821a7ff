package remote

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	clientexec "k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/transport/spdy"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/cri-streaming/pkg/streaming"
	"k8s.io/cri-streaming/pkg/streaming/portforward"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	"k8s.io/streaming/pkg/httpstream"
	streamspdy "k8s.io/streaming/pkg/httpstream/spdy"

	"minato/internal/host"
)

var _ streaming.Runtime = streams{}

// Streams returns exec, attach and port-forward, which the runtime serves at URLs.
func (r *Runtime) Streams() streaming.Runtime { return streams{r} }

type streams struct{ r *Runtime }

// Exec implements CRI: it returns the URL of a stream.
func (r *Runtime) Exec(ctx context.Context, req *runtimeapi.ExecRequest) (*runtimeapi.ExecResponse, error) {
	return invoke(ctx, r.conn, patience, r.conn.runtime.Exec, req)
}

// Attach implements CRI: it returns the URL of a stream.
func (r *Runtime) Attach(ctx context.Context, req *runtimeapi.AttachRequest) (*runtimeapi.AttachResponse, error) {
	return invoke(ctx, r.conn, patience, r.conn.runtime.Attach, req)
}

// PortForward implements CRI: it returns the URL of a stream.
func (r *Runtime) PortForward(ctx context.Context, req *runtimeapi.PortForwardRequest) (*runtimeapi.PortForwardResponse, error) {
	return invoke(ctx, r.conn, patience, r.conn.runtime.PortForward, req)
}

// Exec runs a command until it ends or ctx does. A command that fails gives an
// error that has its exit status (utilexec.ExitError).
func (s streams) Exec(ctx context.Context, id string, cmd []string, in io.Reader, out, errw io.WriteCloser, tty bool, resize <-chan remotecommand.TerminalSize) error {
	resp, err := s.r.Exec(ctx, &runtimeapi.ExecRequest{ContainerId: id, Cmd: cmd, Tty: tty, Stdin: in != nil, Stdout: out != nil, Stderr: errw != nil && !tty})
	if err != nil {
		return err
	}
	return s.stream(ctx, resp.GetUrl(), in, out, errw, tty, resize)
}

// Attach connects streams to a container until it ends or ctx does.
func (s streams) Attach(ctx context.Context, id string, in io.Reader, out, errw io.WriteCloser, tty bool, resize <-chan remotecommand.TerminalSize) error {
	resp, err := s.r.Attach(ctx, &runtimeapi.AttachRequest{ContainerId: id, Tty: tty, Stdin: in != nil, Stdout: out != nil, Stderr: errw != nil && !tty})
	if err != nil {
		return err
	}
	return s.stream(ctx, resp.GetUrl(), in, out, errw, tty, resize)
}

func (s streams) stream(ctx context.Context, text string, in io.Reader, out, errw io.WriteCloser, tty bool, resize <-chan remotecommand.TerminalSize) error {
	target, err := url.Parse(text)
	if err != nil {
		return fmt.Errorf("the container runtime's URL of a stream: %w", err)
	}
	up := &upgrade{r: s.r}
	executor, err := clientexec.NewSPDYExecutorForTransports(up, spdy.NewUpgraderForStreaming(up), http.MethodPost, target)
	if err != nil {
		return err
	}
	o := clientexec.StreamOptions{Stdin: in, Tty: tty}
	if out != nil {
		o.Stdout = out
	}
	if errw != nil && !tty {
		o.Stderr = errw
	}
	if resize != nil {
		o.TerminalSizeQueue = sizes{ctx, resize}
	}
	return executor.StreamWithContext(ctx, o)
}

// sizes are those of the client's window.
type sizes struct {
	ctx context.Context
	in  <-chan remotecommand.TerminalSize
}

// Next implements TerminalSizeQueue; nil is the end.
func (s sizes) Next() *clientexec.TerminalSize {
	select {
	case size, ok := <-s.in:
		if ok {
			return &clientexec.TerminalSize{Width: size.Width, Height: size.Height}
		}
	case <-s.ctx.Done():
	}
	return nil
}

// PortForward connects the stream to a port of the sandbox's loopback interface.
func (s streams) PortForward(ctx context.Context, sandboxID string, port int32, stream io.ReadWriteCloser) error {
	defer stream.Close()
	resp, err := s.r.PortForward(ctx, &runtimeapi.PortForwardRequest{PodSandboxId: sandboxID, Port: []int32{port}})
	if err != nil {
		return err
	}
	conn, err := s.r.openPorts(ctx, resp.GetUrl())
	if err != nil {
		return fmt.Errorf("forward to port %d of pod sandbox %s: %w", port, sandboxID, err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if err := forward(conn, port, stream); err != nil {
		return fmt.Errorf("forward to port %d of pod sandbox %s: %w", port, sandboxID, err)
	}
	return nil
}

// openPorts opens a connection for forwarded ports.
func (r *Runtime) openPorts(ctx context.Context, target string) (httpstream.Connection, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set(httpstream.HeaderProtocolVersion, portforward.ProtocolV1Name)
	up := &upgrade{r: r}
	resp, err := up.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	return up.NewConnection(resp)
}

// forward copies both ways until the answer is over.
func forward(conn httpstream.Connection, port int32, stream io.ReadWriter) error {
	header := http.Header{}
	header.Set(corev1.PortHeader, strconv.Itoa(int(port)))
	header.Set(corev1.PortForwardRequestIDHeader, "0")
	header.Set(corev1.StreamType, corev1.StreamTypeError)
	failure, err := conn.CreateStream(header)
	if err != nil {
		return err
	}
	_ = failure.Close() // nothing is ever sent to it
	told := make(chan error, 1)
	go func() {
		text, err := io.ReadAll(io.LimitReader(failure, 64<<10))
		if err == nil && len(text) > 0 {
			err = errors.New(string(text))
		}
		told <- err
	}()
	header.Set(corev1.StreamType, corev1.StreamTypeData)
	data, err := conn.CreateStream(header)
	if err != nil {
		return err
	}
	go func() {
		_, _ = io.Copy(data, stream) // the end of either side is told by the answer's
		_ = data.Close()
	}()
	if _, err := io.Copy(stream, data); err != nil {
		return err
	}
	return <-told
}

// upgrade is a request to the runtime's streaming server that becomes a connection
// of streams.
type upgrade struct {
	r    *Runtime
	conn net.Conn
}

var _ httpstream.UpgradeRoundTripper = (*upgrade)(nil)

// RoundTrip implements http.RoundTripper.
func (u *upgrade) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Scheme != "http" {
		return nil, fmt.Errorf("the container runtime opens streams by %q, and a node reads http alone: turn encryption of its streaming server off (containerd: enable_tls_streaming = false; CRI-O: stream_enable_tls = false) and restart it", req.URL.Scheme)
	}
	conn, err := u.r.dialStream(req.Context(), req.URL.Host)
	if err != nil {
		return nil, err
	}
	// A runtime that hangs takes the connection and never answers.
	defer context.AfterFunc(req.Context(), func() { conn.Close() })()
	req = req.Clone(req.Context())
	req.Header.Set(httpstream.HeaderConnection, httpstream.HeaderUpgrade)
	req.Header.Set(httpstream.HeaderUpgrade, streamspdy.HeaderSpdy31)
	reader := bufio.NewReader(conn)
	var resp *http.Response
	if err = req.Write(conn); err == nil {
		resp, err = http.ReadResponse(reader, req)
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	u.conn = &buffered{Conn: conn, reader: reader}
	return resp, nil
}

// NewConnection implements httpstream.UpgradeRoundTripper.
func (u *upgrade) NewConnection(resp *http.Response) (httpstream.Connection, error) {
	if resp.StatusCode != http.StatusSwitchingProtocols || !strings.EqualFold(resp.Header.Get(httpstream.HeaderUpgrade), streamspdy.HeaderSpdy31) {
		text, err := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
		return nil, errors.Join(fmt.Errorf("the container runtime opens no stream: %s: %s", resp.Status, strings.TrimSpace(string(text))), err, u.conn.Close())
	}
	return streamspdy.NewClientConnection(u.conn)
}

// buffered is a connection of which something was read already.
type buffered struct {
	net.Conn
	reader *bufio.Reader
}

func (b *buffered) Read(p []byte) (int, error) { return b.reader.Read(p) }

// dialStream connects to the runtime's streaming server, which listens on the
// loopback interface of the network namespace that the runtime is in.
func (r *Runtime) dialStream(ctx context.Context, address string) (net.Conn, error) {
	place, err := r.conn.netns(ctx)
	if err != nil {
		return nil, err
	}
	conn, err := place.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("the container runtime's streaming server: %w", err)
	}
	return conn, nil
}

// netns is the network namespace of the process that listens at the runtime's
// socket; the zero value is our own.
func (c *connection) netns(ctx context.Context) (host.Netns, error) {
	path, err := SocketPath(c.endpoint)
	if err != nil {
		return host.Netns{}, err
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", path)
	if err != nil {
		return host.Netns{}, fmt.Errorf("%w: %s: %w", ErrDown, c.endpoint, err)
	}
	defer conn.Close()
	raw, err := conn.(*net.UnixConn).SyscallConn()
	if err != nil {
		return host.Netns{}, err
	}
	var peer *unix.Ucred
	var perr error
	if err := raw.Control(func(fd uintptr) { peer, perr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); err != nil || perr != nil {
		return host.Netns{}, errors.Join(err, perr)
	}
	theirs := fmt.Sprintf("/proc/%d/ns/net", peer.Pid)
	is, err := os.Stat(theirs)
	if err != nil {
		return host.Netns{}, nil // a proxy that has ended, or another machine's process
	}
	own, err := os.Stat("/proc/self/ns/net")
	if err != nil || os.SameFile(is, own) {
		return host.Netns{}, err
	}
	return host.Netns{Name: "of the container runtime", Path: theirs}, nil
}
