package plugins

import (
	"context"
	"fmt"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// maxMessage bounds an answer of a plugin, in bytes.
const maxMessage = 4 << 20

// Dialer connects to unix sockets by their paths on the node.
type Dialer interface {
	DialUnix(ctx context.Context, path string) (net.Conn, error)
}

// Dial returns a connection to the gRPC server at a socket of the node, which is made
// with the first call.
func Dial(root Dialer, socket string, more ...grpc.DialOption) (*grpc.ClientConn, error) {
	options := append([]grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithNoProxy(),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)),
		grpc.WithAuthority("localhost"),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return root.DialUnix(ctx, socket) }),
	}, more...)
	conn, err := grpc.NewClient("passthrough:///plugin", options...)
	if err != nil {
		return nil, fmt.Errorf("connect to the plugin at %s: %w", socket, err)
	}
	return conn, nil
}
