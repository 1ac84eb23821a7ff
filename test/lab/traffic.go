package lab

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"minato/internal/host"
)

// AskTimeout is more than any answer takes, and what a test of silence costs.
const AskTimeout = 2 * time.Second

// Serve answers TCP and UDP clients at port 8080 of an address of each family with the server's name and the client's
// address.
func Serve(t *testing.T, ns host.Netns, name, ip string) {
	t.Helper()
	for _, f := range Families {
		ServeAt(t, ns, name, f.At(ip, 8080))
	}
}

// ServeAt is Serve at one address and port.
func ServeAt(t *testing.T, ns host.Netns, name, addr string) {
	t.Helper()
	Accept(t, ns, addr, func(c net.Conn) { fmt.Fprintf(c, "%s %s\n", name, c.RemoteAddr()) })
	ServePackets(t, ns, name, addr)
}

// ServePackets is ServeAt over UDP alone.
func ServePackets(t *testing.T, ns host.Netns, name, addr string) {
	t.Helper()
	packets, err := ns.ListenPacket(context.Background(), "udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { packets.Close() })
	go func() {
		buf := make([]byte, 2048)
		for {
			_, from, err := packets.ReadFrom(buf)
			if err != nil {
				return
			}
			packets.WriteTo(fmt.Appendf(nil, "%s %s\n", name, from), from)
		}
	}()
}

// Answer is what a client saw.
type Answer struct {
	Server string // name of the server that answered
	Client string // the client's address, without the port, as the server saw it
	Took   time.Duration
	Err    string
}

// Refused tells whether the client was told at once that nobody answers.
func (a Answer) Refused() bool { return strings.Contains(a.Err, "refused") && a.Took < AskTimeout/2 }

// Silent tells whether nothing came.
func (a Answer) Silent() bool { return strings.Contains(a.Err, "timeout") }

// Ask asks with a socket of this process, which is in no node's cgroup, so that packets are what there is to work on.
func Ask(ns host.Netns, network, addr string) Answer {
	return AskWithin(ns, network, addr, AskTimeout)
}

// AskWithin is Ask with another patience.
func AskWithin(ns host.Netns, network, addr string, patience time.Duration) Answer {
	start := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	fail := func(err error) Answer { return Answer{Err: err.Error(), Took: time.Since(start)} }
	c, err := ns.DialContext(ctx, network, addr)
	if err != nil {
		return fail(err)
	}
	defer c.Close()
	c.SetDeadline(start.Add(patience))
	if network == "udp" {
		if _, err := c.Write([]byte("hello")); err != nil {
			return fail(err)
		}
	}
	line, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		return fail(err)
	}
	if got := c.RemoteAddr().String(); got != addr {
		return fail(fmt.Errorf("the peer calls itself %s", got))
	}
	a := Answer{Took: time.Since(start)}
	var client string
	a.Server, client, _ = strings.Cut(strings.TrimSpace(line), " ")
	a.Client, _, _ = net.SplitHostPort(client)
	return a
}

// Forward lets clients in a namespace reach an address of this process's own.
func Forward(t *testing.T, ns host.Netns, addr string) {
	t.Helper()
	Accept(t, ns, addr, func(c net.Conn) {
		up, err := net.Dial("tcp", addr)
		if err != nil {
			return
		}
		defer up.Close()
		go func() {
			defer up.Close()
			io.Copy(up, c)
		}()
		io.Copy(c, up)
	})
}

// Accept handles TCP clients at an address, each in a goroutine, until the test ends.
func Accept(t *testing.T, ns host.Netns, addr string, handle func(net.Conn)) {
	t.Helper()
	l, err := ns.Listen(context.Background(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				handle(c)
			}()
		}
	}()
}

// Eventually waits until there is nothing to complain of.
func Eventually(t *testing.T, what string, complaint func() error) {
	t.Helper()
	const patience = 20 * time.Second
	deadline := time.Now().Add(patience)
	for {
		err := complaint()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %s: %v", patience, what, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
