package ingress

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
)

// Ports of a node's ingress, at each of the node's addresses. Clients come through the Service.
const (
	HTTPPort   = 10080
	HTTPSPort  = 10443
	StatusPort = 10254 // /healthz and /metrics
)

// Names of what a socket is for. Those of streams are in streams.go.
const (
	socketHTTP   = "http"
	socketHTTPS  = "https"
	socketStatus = "status"
)

// Socket is an open listening socket: what it is for, and where it is.
type Socket struct {
	Name    string         `json:"name"`
	Network string         `json:"network"` // tcp or udp; file is a file in place of a socket
	Address netip.AddrPort `json:"address"` // where port 0 is one that the kernel chooses
	Path    string         `json:"path,omitempty"`
}

// socketList is the content of frameSockets.
type socketList struct {
	Sockets []Socket `json:"sockets"`
}

// socketSet has open sockets.
type socketSet map[Socket]*os.File

// list returns the sockets in order.
func (s socketSet) list() (socketList, []*os.File) {
	var list socketList
	for k := range s {
		list.Sockets = append(list.Sockets, k)
	}
	slices.SortFunc(list.Sockets, func(a, b Socket) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Network, b.Network), a.Address.Compare(b.Address))
	})
	files := make([]*os.File, 0, len(list.Sockets))
	for _, k := range list.Sockets {
		files = append(files, s[k])
	}
	return list, files
}

func (s socketSet) close() {
	for k, f := range s {
		f.Close()
		delete(s, k)
	}
}

// keep closes those that are not wanted, and returns the missing ones.
func (s socketSet) keep(wanted []Socket) (missing []Socket) {
	for k, f := range s {
		if !slices.Contains(wanted, k) {
			f.Close()
			delete(s, k)
		}
	}
	for _, k := range wanted {
		if s[k] == nil {
			missing = append(missing, k)
		}
	}
	return missing
}

// open opens what is missing. Sockets that can't be opened are told, and the others are there.
func (s socketSet) open(ctx context.Context, missing []Socket, listen Listen) error {
	var failed error
	for _, k := range missing {
		f, err := openSocket(ctx, k, listen)
		if err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		s[k] = f
	}
	return failed
}

// Listen opens sockets where a node's ingress is.
type Listen interface {
	Listen(ctx context.Context, network, address string) (net.Listener, error)
	ListenPacket(ctx context.Context, network, address string) (net.PacketConn, error)
}

func openSocket(ctx context.Context, k Socket, listen Listen) (*os.File, error) {
	if k.Network == "file" {
		return os.OpenFile(k.Path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o640)
	}
	var opened interface{ Close() error }
	var err error
	if k.Network == "udp" {
		opened, err = listen.ListenPacket(ctx, k.Network, k.Address.String())
	} else {
		opened, err = listen.Listen(ctx, k.Network, k.Address.String())
	}
	if err != nil {
		return nil, fmt.Errorf("open the socket %s of the ingress at %s: %w", k.Name, k.Address, err)
	}
	defer opened.Close() // the file is another descriptor of the same socket
	filer, ok := opened.(interface{ File() (*os.File, error) })
	if !ok {
		return nil, fmt.Errorf("open the socket %s of the ingress at %s: a %T has no file", k.Name, k.Address, opened)
	}
	return filer.File()
}
