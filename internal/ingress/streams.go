package ingress

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"minato/internal/ingress/proxy"
	"minato/internal/ingress/table"
)

// streamName names a stream: its protocol and its port, as the Service and its EndpointSlices name theirs.
func streamName(udp bool, port uint16) string {
	if udp {
		return "udp-" + strconv.Itoa(int(port))
	}
	return "tcp-" + strconv.Itoa(int(port))
}

// parseStreamName reads what streamName has made.
func parseStreamName(name string) (udp bool, port uint16, ok bool) {
	protocol, number, found := strings.Cut(name, "-")
	n, err := strconv.ParseUint(number, 10, 16)
	if !found || err != nil || n == 0 || protocol != "tcp" && protocol != "udp" || name != streamName(protocol == "udp", uint16(n)) {
		return false, 0, false
	}
	return protocol == "udp", uint16(n), true
}

// streamSocket is where a stream is served on a node. The kernel chooses the port there, as the stream's own may be taken;
// the Service has the stream's own.
func streamSocket(s StreamPort, at netip.Addr) Socket {
	k := Socket{Name: streamName(s.UDP, s.Port), Network: "tcp", Address: netip.AddrPortFrom(at, 0)}
	if s.UDP {
		k.Network = "udp"
	}
	return k
}

// boundPort returns the port of an open socket.
func boundPort(k Socket, f *os.File) (uint16, error) {
	var at net.Addr
	if k.Network == "udp" {
		c, err := net.FilePacketConn(f)
		if err != nil {
			return 0, err
		}
		defer c.Close()
		at = c.LocalAddr()
	} else {
		l, err := net.FileListener(f)
		if err != nil {
			return 0, err
		}
		defer l.Close()
		at = l.Addr()
	}
	ap, err := netip.ParseAddrPort(at.String())
	return ap.Port(), err
}

// streams serves the streams of a Node. Its loop alone calls reconcile.
type streams struct {
	node    *Node
	server  *proxy.Server
	log     proxy.StreamLog
	running map[runningStream]servedStream
}

// servedStream is one that is being served at a socket.
type servedStream struct {
	stop   context.CancelFunc
	socket os.FileInfo
}

// lingers is how long the socket of a stream that has got another one is served on, for those who know of it.
const lingers = 10 * time.Second

// runningStream is a stream at one of the node's sockets.
type runningStream struct {
	stream table.Stream
	socket Socket
}

// reconcile serves each stream at the sockets that there are for it, and nothing else.
func (s *streams) reconcile(ctx context.Context, want []table.Stream) {
	s.node.mu.Lock()
	defer s.node.mu.Unlock()
	wanted := map[runningStream]*os.File{}
	for _, stream := range want {
		name := streamName(stream.UDP, stream.Port)
		for k, f := range s.node.streamFiles {
			if k.Name == name {
				wanted[runningStream{stream, k}] = f
			}
		}
	}
	for r, one := range s.running {
		if wanted[r] == nil {
			one.stop()
			delete(s.running, r)
		}
	}
	for r, f := range wanted {
		socket, err := f.Stat()
		if err == nil {
			was, runs := s.running[r]
			if runs && os.SameFile(was.socket, socket) {
				continue
			}
			if runs { // the server has begun anew, and opened another one
				time.AfterFunc(lingers, was.stop)
			}
			err = s.start(ctx, r, f, socket)
		}
		if err != nil {
			s.node.log.Error("A stream can't be served", "stream", r.socket.Name, "error", err)
		}
	}
}

func (s *streams) start(ctx context.Context, r runningStream, f *os.File, socket os.FileInfo) error {
	ctx, stop := context.WithCancel(ctx)
	var serve func() error
	if r.stream.UDP {
		c, err := net.FilePacketConn(f)
		if err != nil {
			stop()
			return fmt.Errorf("open the stream's socket: %w", err)
		}
		serve = func() error { return s.server.ServeUDP(ctx, c, r.stream, s.log) }
	} else {
		l, err := net.FileListener(f)
		if err != nil {
			stop()
			return fmt.Errorf("open the stream's socket: %w", err)
		}
		serve = func() error { return s.server.ServeTCP(ctx, l, r.stream, s.log) }
	}
	s.running[r] = servedStream{stop, socket}
	s.node.serving.Go(func() {
		if err := serve(); err != nil {
			s.node.log.Error("A stream is not served any more", "stream", r.socket.Name, "error", err)
		}
	})
	return nil
}
