package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"time"
)

// answer is what a proxy says to a request; the body is that of a server, and empty for answers of the proxy itself.
type answer struct {
	status int
	body   string
}

// noRoute is the answer for a host that no Ingress has.
func noRoute() answer { return answer{status: http.StatusNotFound} }

func answerOf(server string) answer { return answer{http.StatusOK, server} }

// client asks one proxy over a connection that is kept for as long as the proxy keeps it.
type client struct {
	address netip.AddrPort
	conn    net.Conn
	r       *bufio.Reader
}

// askTime bounds one request.
const askTime = 5 * time.Second

// ask requests / of a host. A kept connection that the proxy closes without a word is replaced once.
func (c *client) ask(ctx context.Context, host string) (answer, error) {
	kept := c.conn != nil
	a, err := c.once(ctx, host)
	if err != nil && kept && (errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)) {
		a, err = c.once(ctx, host)
	}
	if err != nil {
		return a, fmt.Errorf("ask %s for %s: %w", c.address, host, err)
	}
	return a, nil
}

func (c *client) once(ctx context.Context, host string) (a answer, err error) {
	defer func() {
		if err != nil {
			c.close()
		}
	}()
	if c.conn == nil {
		d := net.Dialer{Timeout: askTime}
		if c.conn, err = d.DialContext(ctx, "tcp4", c.address.String()); err != nil {
			c.conn = nil
			return a, err
		}
		c.r = bufio.NewReader(c.conn)
	}
	if err := c.conn.SetDeadline(time.Now().Add(askTime)); err != nil {
		return a, err
	}
	if _, err := io.WriteString(c.conn, "GET / HTTP/1.1\r\nHost: "+host+"\r\n\r\n"); err != nil {
		return a, err
	}
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		return a, err
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return a, err
	}
	resp.Body.Close()
	if resp.Close {
		c.close()
	}
	a.status = resp.StatusCode
	if a.status == http.StatusOK {
		a.body = string(body)
	}
	return a, nil
}

func (c *client) close() {
	if c.conn != nil {
		c.conn.Close()
		c.conn = nil
	}
}

// follow asks until the answer is another one than before, and tells when that came.
func (c *client) follow(ctx context.Context, host string, before, after answer, every time.Duration) (time.Time, error) {
	for {
		a, err := c.ask(ctx, host)
		if err != nil {
			return time.Time{}, err
		}
		if a == after {
			return time.Now(), nil
		}
		if a != before {
			return time.Time{}, fmt.Errorf("%s answers %v for %s, which is neither %v nor %v", c.address, a, host, before, after)
		}
		if err := ctx.Err(); err != nil {
			return time.Time{}, context.Cause(ctx)
		}
		time.Sleep(every)
	}
}
