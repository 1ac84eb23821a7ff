package remote

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// How long the runtime may take, as the kubelet has it (runtimeRequestTimeout).
const (
	patience = 2 * time.Minute
	// briefly bounds questions to which a healthy runtime has the answer at hand.
	briefly = 10 * time.Second
	// maxMessage bounds an answer in bytes.
	maxMessage = 16 << 20
)

// SocketPath is the path of the socket of an endpoint, unix:///PATH.
func SocketPath(endpoint string) (string, error) {
	path, ok := strings.CutPrefix(endpoint, "unix://")
	if !ok || !filepath.IsAbs(path) || filepath.Clean(path) != path {
		return "", fmt.Errorf("container runtime endpoint %q: give the path of a unix socket, such as unix:///run/containerd/containerd.sock", endpoint)
	}
	return path, nil
}

// connection is a runtime's socket. It is opened when it is needed, and opened
// again after the runtime was away.
type connection struct {
	endpoint string
	conn     *grpc.ClientConn
	runtime  runtimeapi.RuntimeServiceClient
	images   runtimeapi.ImageServiceClient
}

func connect(endpoint string) (*connection, error) {
	path, err := SocketPath(endpoint)
	if err != nil {
		return nil, err
	}
	retry := backoff.DefaultConfig
	retry.BaseDelay, retry.MaxDelay = 100*time.Millisecond, 3*time.Second
	conn, err := grpc.NewClient("passthrough:///"+path,
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithAuthority("localhost"),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", path)
		}),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: retry, MinConnectTimeout: 5 * time.Second}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)))
	if err != nil {
		return nil, fmt.Errorf("container runtime at %s: %w", endpoint, err)
	}
	return &connection{endpoint: endpoint, conn: conn, runtime: runtimeapi.NewRuntimeServiceClient(conn), images: runtimeapi.NewImageServiceClient(conn)}, nil
}

// ErrDown says that nobody answers at the runtime's socket.
var ErrDown = errors.New("container runtime is down")

// invoke calls a method of the runtime, which has so long to answer; 0 is as long
// as ctx gives it.
func invoke[Q, A any](ctx context.Context, c *connection, limit time.Duration, method func(context.Context, Q, ...grpc.CallOption) (A, error), request Q) (A, error) {
	if limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, limit)
		defer cancel()
	}
	answer, err := method(ctx, request)
	if status.Code(err) == codes.Unavailable {
		err = fmt.Errorf("%w: %s: %w", ErrDown, c.endpoint, err)
	}
	return answer, err
}

// silent tells whether the runtime has not answered: it is down, or hangs.
func silent(err error) bool {
	return errors.Is(err, ErrDown) || status.Code(err) == codes.DeadlineExceeded
}

// missing tells whether the runtime does not have what a request named.
func missing(err error) bool { return status.Code(err) == codes.NotFound }

// unknownMethod tells whether the runtime is too old for a method.
func unknownMethod(err error) bool { return status.Code(err) == codes.Unimplemented }
