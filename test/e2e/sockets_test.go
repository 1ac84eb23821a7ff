package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// openSockets are the connections that `sockets open` of a script made, which are no HTTP any more.
type openSockets struct {
	conns   []net.Conn
	readers []*bufio.Reader
	said    int
}

const socketsKey = "sockets"

// sockets serve VAR: starts a server on this machine that takes every request for an upgrade and then says back each line
// that it is sent, and sets the variable to its port.
//
// sockets open COUNT ADDRESS:PORT HOST: upgrades connections, as WebSockets do.
//
// sockets check COUNT: has a line said back on each of them. It fails if one of them is cut.
func sockets(ts *testscript.TestScript, neg bool, args []string) {
	s := ts.Value(socketsKey).(*openSockets)
	count := 0
	switch {
	case !neg && len(args) == 2 && args[0] == "serve":
		ts.Setenv(args[1], serveSockets(ts))
	case !neg && len(args) == 4 && args[0] == "open" && scan(args[1], &count):
		for range count {
			ts.Check(s.open(args[2], args[3]))
		}
		ts.Defer(s.close)
	case !neg && len(args) == 2 && args[0] == "check" && scan(args[1], &count):
		if len(s.conns) != count {
			ts.Fatalf("there are %d connections, want %d", len(s.conns), count)
		}
		s.said++
		for i := range s.conns {
			ts.Check(s.say(i))
		}
	default:
		ts.Fatalf("usage: sockets serve VAR | sockets open COUNT ADDRESS:PORT HOST | sockets check COUNT")
	}
}

func scan(text string, to *int) bool {
	_, err := fmt.Sscan(text, to)
	return err == nil && *to > 0 && *to <= 1000
}

func serveSockets(ts *testscript.TestScript) string {
	l, err := net.Listen("tcp", "172.30.0.1:0")
	ts.Check(err)
	server := &http.Server{ReadHeaderTimeout: 5 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") == "" {
			fmt.Fprintln(w, "hello")
			return
		}
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", r.Header.Get("Upgrade"))
		_, _ = io.Copy(conn, rw)
	})}
	go func() { _ = server.Serve(l) }()
	ts.Defer(func() { _ = server.Close() })
	_, port, err := net.SplitHostPort(l.Addr().String())
	ts.Check(err)
	return port
}

func (s *openSockets) open(address, host string) error {
	conn, err := net.DialTimeout("tcp", address, 5*time.Second)
	if err != nil {
		return err
	}
	s.conns = append(s.conns, conn)
	r := bufio.NewReader(conn)
	s.readers = append(s.readers, r)
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	fmt.Fprintf(conn, "GET /chat HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", host)
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		return fmt.Errorf("upgrade a connection: %w", err)
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		return fmt.Errorf("upgrade a connection: %s", resp.Status)
	}
	return nil
}

func (s *openSockets) say(i int) error {
	want := fmt.Sprintf("connection %d, line %d", i, s.said)
	_ = s.conns[i].SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := fmt.Fprintln(s.conns[i], want); err != nil {
		return fmt.Errorf("connection %d: %w", i, err)
	}
	line, err := s.readers[i].ReadString('\n')
	if err != nil {
		return fmt.Errorf("connection %d: %w", i, err)
	}
	if strings.TrimSpace(line) != want {
		return fmt.Errorf("connection %d said %q, want %q", i, line, want)
	}
	return nil
}

func (s *openSockets) close() {
	for _, c := range s.conns {
		c.Close()
	}
	s.conns, s.readers = nil, nil
}
