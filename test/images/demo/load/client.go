package load

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"
)

// client sends requests one after the other.
type client interface {
	// request sends one and waits for its answer.
	request() error
	// renewed counts connections that were over and made anew.
	renewed() int
	close()
}

// A datagram that is lost stays lost, so its answer is not waited for as long
// as TCP takes to send a segment again.
const (
	streamTimeout   = 5 * time.Second
	datagramTimeout = 2 * time.Second
)

// Kinds lists the kinds of clients: http makes a connection for each request and
// keepalive uses one for as long as the server lets it; udp sends from one
// socket that is not connected, udp-connected from one that is, and udp-new
// connects a socket for each request.
func Kinds() []string { return []string{"http", "keepalive", "udp", "udp-new", "udp-connected"} }

func newClient(n Network, t Target) client {
	switch t.Kind {
	case "http", "keepalive":
		return &stream{net: n, address: t.Address, lasting: t.Kind == "keepalive"}
	case "udp":
		return &unconnected{net: n, address: t.Address}
	default:
		return &connected{net: n, address: t.Address, lasting: t.Kind == "udp-connected"}
	}
}

// stream asks over HTTP.
type stream struct {
	net     Network
	address string
	lasting bool

	conn   net.Conn
	reader *bufio.Reader
	last   string // who answered on this connection
	over   int
}

func (s *stream) request() error {
	if s.conn == nil {
		ctx, cancel := context.WithTimeout(context.Background(), streamTimeout)
		defer cancel()
		conn, err := s.net.Dial(ctx, "tcp", s.address)
		if err != nil {
			return err
		}
		s.conn, s.reader, s.last = conn, bufio.NewReader(conn), "nobody"
	}
	done, err := s.exchange()
	if err != nil {
		err = fmt.Errorf("%s answered last: %w", s.last, err)
	}
	if done && s.lasting && err == nil {
		s.over++
	}
	if done || err != nil || !s.lasting {
		s.close()
	}
	return err
}

// exchange sends a request over the connection and tells whether the server
// announced that the connection ends.
func (s *stream) exchange() (done bool, err error) {
	if err := s.conn.SetDeadline(time.Now().Add(streamTimeout)); err != nil {
		return false, err
	}
	req := "GET / HTTP/1.1\r\nHost: " + s.address + "\r\n"
	if !s.lasting {
		req += "Connection: close\r\n"
	}
	if _, err := io.WriteString(s.conn, req+"\r\n"); err != nil {
		return false, err
	}
	resp, err := http.ReadResponse(s.reader, nil)
	if err != nil {
		return false, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return false, err
	}
	s.last = strings.TrimSpace(string(body))
	if resp.StatusCode != http.StatusOK {
		return false, fmt.Errorf("status %s", resp.Status)
	}
	return resp.Close, nil
}

func (s *stream) renewed() int { return s.over }

func (s *stream) close() {
	if s.conn != nil {
		s.conn.Close()
		s.conn = nil
	}
}

const question = "who are you?"

// unconnected sends all its datagrams from one socket, each with its address.
type unconnected struct {
	net     Network
	address string

	conn net.PacketConn
	to   net.Addr
	last string
	late bool // an answer may still come
}

func (u *unconnected) request() error {
	if u.conn == nil {
		to, err := net.ResolveUDPAddr("udp", u.address)
		if err != nil {
			return err
		}
		conn, err := u.net.ListenPacket(context.Background(), "udp", "")
		if err != nil {
			return err
		}
		u.conn, u.to, u.last = conn, to, "nobody"
	}
	if u.late {
		discard(u.conn, func(b []byte) error { _, _, err := u.conn.ReadFrom(b); return err })
		u.late = false
	}
	if _, err := u.conn.WriteTo([]byte(question), u.to); err != nil {
		return fmt.Errorf("%s answered last: send: %w", u.last, err)
	}
	answer := make([]byte, 512)
	if err := u.conn.SetReadDeadline(time.Now().Add(datagramTimeout)); err != nil {
		return err
	}
	n, from, err := u.conn.ReadFrom(answer)
	if err != nil {
		u.late = true
		return fmt.Errorf("%s answered last: receive: %w", u.last, err)
	}
	if from.String() != u.to.String() {
		return fmt.Errorf("asked %s and was answered by %s", u.to, from)
	}
	u.last = strings.TrimSpace(string(answer[:n]))
	return nil
}

func (u *unconnected) renewed() int { return 0 }

func (u *unconnected) close() {
	if u.conn != nil {
		u.conn.Close()
	}
}

// connected sends datagrams from sockets that know their peer.
type connected struct {
	net     Network
	address string
	lasting bool

	conn net.Conn
	last string
	late bool
	over int
}

func (c *connected) request() error {
	err := c.exchange()
	// The kernel disconnects a socket whose peer is no more: that aborts who
	// reads, and leaves who writes without a destination. It is the owner's part
	// to connect again.
	if c.lasting && (errors.Is(err, syscall.ECONNABORTED) || errors.Is(err, syscall.EDESTADDRREQ)) {
		c.over++
		c.close()
		err = c.exchange()
	}
	// An error that a socket reports once says nothing about it; a lasting one is
	// kept, to see whether it recovers.
	if !c.lasting {
		c.close()
	}
	return err
}

func (c *connected) exchange() error {
	if c.conn == nil {
		ctx, cancel := context.WithTimeout(context.Background(), datagramTimeout)
		defer cancel()
		conn, err := c.net.Dial(ctx, "udp", c.address)
		if err != nil {
			return err
		}
		c.conn, c.last = conn, "nobody"
	}
	if c.late {
		discard(c.conn, func(b []byte) error { _, err := c.conn.Read(b); return err })
		c.late = false
	}
	if _, err := io.WriteString(c.conn, question); err != nil {
		return fmt.Errorf("%s answered last: send: %w", c.last, err)
	}
	if err := c.conn.SetReadDeadline(time.Now().Add(datagramTimeout)); err != nil {
		return err
	}
	answer := make([]byte, 512)
	n, err := c.conn.Read(answer)
	if err != nil {
		c.late = true
		return fmt.Errorf("%s answered last: receive: %w", c.last, err)
	}
	c.last = strings.TrimSpace(string(answer[:n]))
	return nil
}

func (c *connected) renewed() int { return c.over }

func (c *connected) close() {
	if c.conn != nil {
		c.conn.Close()
		c.conn, c.late = nil, false
	}
}

// discard reads what came after its time, lest it be taken for a later answer.
func discard(c interface{ SetReadDeadline(time.Time) error }, read func([]byte) error) {
	for buf := make([]byte, 512); ; {
		if c.SetReadDeadline(time.Now().Add(time.Millisecond)) != nil || read(buf) != nil {
			return
		}
	}
}
