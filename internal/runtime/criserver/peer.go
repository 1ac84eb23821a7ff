package criserver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
)

// rootOnly are the credentials of a socket that none but root may use: the
// kernel says who connects.
type rootOnly struct{}

// client is what the kernel says of who has connected.
type client struct {
	credentials.CommonAuthInfo
	// netns is the network namespace, zero where it is not known.
	netns inode
}

// AuthType implements credentials.AuthInfo.
func (client) AuthType() string { return "peer" }

// ServerHandshake implements credentials.TransportCredentials.
func (rootOnly) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	cred, err := credOf(conn)
	if err != nil {
		return nil, nil, fmt.Errorf("ask who connects: %w", err)
	}
	if cred.Uid != 0 {
		return nil, nil, fmt.Errorf("user %d may not use this socket: only root may", cred.Uid)
	}
	c := client{CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity}}
	// A client that has gone already, or is in a process namespace that is not
	// seen from here, is nowhere in particular.
	c.netns, _ = inodeOf(fmt.Sprintf("/proc/%d/ns/net", cred.Pid))
	return conn, c, nil
}

// ClientHandshake implements credentials.TransportCredentials.
func (rootOnly) ClientHandshake(context.Context, string, net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("these credentials are a server's")
}

// Info implements credentials.TransportCredentials.
func (rootOnly) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "peer"}
}

// Clone implements credentials.TransportCredentials.
func (r rootOnly) Clone() credentials.TransportCredentials { return r }

// OverrideServerName implements credentials.TransportCredentials.
func (rootOnly) OverrideServerName(string) error { return nil }

func credOf(conn net.Conn) (*unix.Ucred, error) {
	socket, ok := conn.(*net.UnixConn)
	if !ok {
		return nil, fmt.Errorf("%s is no unix socket", conn.LocalAddr())
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return nil, err
	}
	var cred *unix.Ucred
	var cerr error
	if err := raw.Control(func(fd uintptr) { cred, cerr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); err != nil {
		return nil, err
	}
	return cred, cerr
}

// inode names a file, such as a namespace, on this machine.
type inode struct{ device, number uint64 }

func inodeOf(path string) (inode, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return inode{}, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	return inode{device: st.Dev, number: st.Ino}, nil
}

// netnsOf is the network namespace of who has sent the request.
func netnsOf(ctx context.Context) inode {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return inode{}
	}
	c, _ := p.AuthInfo.(client)
	return c.netns
}
