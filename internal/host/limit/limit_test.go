package limit

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

func newBudget(t *testing.T, cfg Config) *Budget {
	t.Helper()
	b, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// server echoes on 127.0.0.1 until the test ends.
func server(t *testing.T, b *Budget, cfg Listener) string {
	t.Helper()
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := b.Wrap(cfg, inner)[0]
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer c.Close()
				io.Copy(c, c)
			})
		}
	})
	t.Cleanup(func() { l.Close(); serving.Wait() })
	return l.Addr().String()
}

func dialFrom(source, address string) (net.Conn, error) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(source)}, Timeout: 10 * time.Second}
	return d.Dial("tcp", address)
}

// echoes tells whether the server answers on a connection.
func echoes(c net.Conn) bool {
	c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := c.Write([]byte("x")); err != nil {
		return false
	}
	_, err := io.ReadFull(c, make([]byte, 1))
	return err == nil
}

// TestFloodLeavesOthersServed opens thousands of connections from one address
// and holds those that are served.
func TestFloodLeavesOthersServed(t *testing.T) {
	b := newBudget(t, Config{Descriptors: 2048})
	address := server(t, b, Listener{Name: "test"})
	limit := b.State().NodesLimit / 4
	served := 0
	for range 3000 {
		c, err := dialFrom("127.0.0.2", address)
		if err != nil {
			continue // reset before the client saw it open
		}
		if !echoes(c) {
			c.Close()
			continue
		}
		t.Cleanup(func() { c.Close() })
		served++
	}
	if served != limit {
		t.Errorf("%d connections of one source are served, want %d", served, limit)
	}
	if s := b.State(); s.Nodes != limit || s.Refused != uint64(3000-limit) {
		t.Errorf("state = %+v, want %d open and %d refused", s, limit, 3000-limit)
	}
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	if most := 2*limit + 100; len(open) > most { // both ends are in this process
		t.Errorf("%d descriptors are open, want at most %d", len(open), most)
	}
	c, err := dialFrom("127.0.0.3", address)
	if err != nil || !echoes(c) {
		t.Fatalf("another source is not served: %v", err)
	}
	c.Close()
}

func TestClosedConnectionsMakeRoom(t *testing.T) {
	b := newBudget(t, Config{Descriptors: 1024})
	address := server(t, b, Listener{Name: "test"})
	for i := range 10 * b.State().NodesLimit {
		c, err := dialFrom("127.0.0.2", address)
		if err != nil || !echoes(c) {
			t.Fatalf("connection %d is not served: %v", i, err)
		}
		c.Close()
		waitFor(t, "the connection is closed", func() bool { return b.State().Nodes == 0 })
	}
}

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not so after 10 s: %s", what)
		}
	}
}

// fakeConn has only addresses.
type fakeConn struct {
	net.Conn
	from, to net.Addr
	closed   int
}

func (c *fakeConn) RemoteAddr() net.Addr { return c.from }
func (c *fakeConn) LocalAddr() net.Addr  { return c.to }
func (c *fakeConn) Close() error         { c.closed++; return nil }

func tcp(address string) net.Addr {
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(address), 1000))
}

// fakeListener gives what it was given, then blocks until it is closed.
type fakeListener struct {
	results chan any
	closed  chan struct{}
}

func newFakeListener(results ...any) *fakeListener {
	l := &fakeListener{results: make(chan any, len(results)), closed: make(chan struct{})}
	for _, r := range results {
		l.results <- r
	}
	return l
}

func (l *fakeListener) Accept() (net.Conn, error) {
	select {
	case r := <-l.results:
		if err, ok := r.(error); ok {
			return nil, err
		}
		return r.(net.Conn), nil
	default:
		<-l.closed
		return nil, net.ErrClosed
	}
}
func (l *fakeListener) Close() error   { close(l.closed); return nil }
func (l *fakeListener) Addr() net.Addr { return tcp("192.0.2.1") }

// accepted offers n connections of each source to listeners of the two names and
// returns how many are accepted, by source.
func accepted(t *testing.T, b *Budget, cfg Listener, n int, sources ...string) map[string]int {
	t.Helper()
	var offered []any
	for range n {
		for _, s := range sources {
			offered = append(offered, &fakeConn{from: tcp(s), to: tcp("192.0.2.1")})
		}
	}
	inner := newFakeListener(offered...)
	l := b.Wrap(cfg, inner)[0]
	out, done := map[string]int{}, make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			out[addressOf(c.RemoteAddr()).String()]++
		}
	}()
	waitFor(t, "all are offered", func() bool { return len(inner.results) == 0 })
	l.Close()
	<-done
	return out
}

func TestBounds(t *testing.T) {
	const plenty = 1 << 20
	hosts := []netip.Prefix{netip.MustParsePrefix("fd00:1::/48")}
	nodes := []netip.Prefix{netip.MustParsePrefix("172.30.0.0/24"), netip.MustParsePrefix("fd00:2::/64")}
	machine := []netip.Prefix{netip.MustParsePrefix("172.30.0.1/32")}
	cfg := Config{Descriptors: plenty, Hosts: hosts, Nodes: nodes, Machine: machine}
	for _, c := range []struct {
		name     string
		cfg      Config
		listener Listener
		n        int
		sources  []string
		want     map[string]int
	}{
		{"one source of the listener", cfg, Listener{PerSource: 10}, 50, []string{"10.0.0.1", "10.0.0.2"}, map[string]int{"10.0.0.1": 10, "10.0.0.2": 10}},
		{"all of the listener", cfg, Listener{PerSource: 10, Total: 15}, 50, []string{"10.0.0.1", "10.0.0.2"}, map[string]int{"10.0.0.1": 8, "10.0.0.2": 7}},
		{"one source of the process", cfg, Listener{PerSource: plenty, Total: plenty}, 1100, []string{"10.0.0.1"}, map[string]int{"10.0.0.1": maxPerSource}},
		{"a mapped address is the IPv4 address", cfg, Listener{PerSource: 10}, 20, []string{"10.0.0.1", "::ffff:10.0.0.1"}, map[string]int{"10.0.0.1": 10}},
		{"a /64 is one source", cfg, Listener{PerSource: 10}, 20, []string{"2001:db8::1", "2001:db8::2", "2001:db8:0:1::1"}, map[string]int{"2001:db8::1": 5, "2001:db8::2": 5, "2001:db8:0:1::1": 10}},
		{"Pods are sources each", cfg, Listener{PerSource: 10}, 20, []string{"fd00:1::1", "fd00:1::2"}, map[string]int{"fd00:1::1": 10, "fd00:1::2": 10}},
		{"the machine and the nodes have shares of their own", cfg, Listener{PerSource: 10, Total: 10}, 300, []string{"10.0.0.1", "172.30.0.11", "fd00:2::1", "fd00:2::2", "127.0.0.1", "192.0.2.1"}, map[string]int{"10.0.0.1": 10, "172.30.0.11": 300, "fd00:2::1": 300, "fd00:2::2": 300, "127.0.0.1": 300, "192.0.2.1": 300}},
		{"a node cannot take the share of the nodes", cfg, Listener{}, 3000, []string{"172.30.0.11", "172.30.0.12"}, map[string]int{"172.30.0.11": maxNodes / 4, "172.30.0.12": maxNodes / 4}},
		{"the machine has an end as well", cfg, Listener{}, 3000, []string{"172.30.0.1"}, map[string]int{"172.30.0.1": maxMachine / 2}},
		{"local is the node", cfg, Listener{}, 3000, []string{"127.0.0.1", "192.0.2.1"}, map[string]int{"127.0.0.1": maxNodes / 4, "192.0.2.1": maxNodes / 4}},
		{"local is the machine in its own namespace", cfg, Listener{Machine: true}, 3000, []string{"127.0.0.1", "192.0.2.1"}, map[string]int{"127.0.0.1": maxMachine / 2, "192.0.2.1": maxMachine / 2}},
		{"few descriptors", Config{Descriptors: 1024}, Listener{PerSource: plenty, Total: plenty}, 200, []string{"10.0.0.1", "127.0.0.1"}, map[string]int{"10.0.0.1": 32, "127.0.0.1": 16}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := accepted(t, newBudget(t, c.cfg), c.listener, c.n, c.sources...)
			if fmt.Sprint(got) != fmt.Sprint(c.want) {
				t.Errorf("accepted %v, want %v", got, c.want)
			}
		})
	}
}

func TestBoundedListenersStayAsTheyAre(t *testing.T) {
	b := newBudget(t, Config{})
	once := b.Wrap(Listener{}, newFakeListener())
	if twice := newBudget(t, Config{}).Wrap(Listener{}, once...); twice[0] != once[0] {
		t.Error("connections of a listener that is wrapped twice are counted twice")
	}
	if same, err := b.OrDefault(nil); same != b || err != nil {
		t.Errorf("OrDefault of a Budget = %v, %v", same, err)
	}
	if own, err := (*Budget)(nil).OrDefault(nil); own == nil || err != nil {
		t.Errorf("OrDefault of nil = %v, %v", own, err)
	}
}

// TestAllSharesStayBelowTheReserve says that the store always finds descriptors.
func TestAllSharesStayBelowTheReserve(t *testing.T) {
	for _, n := range []int{1023, 1024, 4096, 20000, 65535, 1 << 20, 1 << 30} {
		reserve, machine, nodes, others := split(n)
		if machine < 60 || nodes < 60 || others < 120 || 2*(machine+nodes+others)+reserve > n || reserve < n/4 {
			t.Errorf("of %d descriptors, %d are kept, %d are for the machine, %d for nodes and %d for others", n, reserve, machine, nodes, others)
		}
	}
	if _, err := New(Config{Descriptors: 256}); err == nil || !strings.Contains(err.Error(), "ulimit -n") {
		t.Errorf("a budget of 256 descriptors gives %v, want an error with a remedy", err)
	}
	if s := newBudget(t, Config{}).State(); s.Descriptors == 0 {
		t.Errorf("the limit of the process is not read: %+v", s)
	}
}

// TestManySourcesCannotTakeTheMachinesShare floods from many addresses at once.
func TestManySourcesCannotTakeTheMachinesShare(t *testing.T) {
	b := newBudget(t, Config{Descriptors: 20000, Machine: []netip.Prefix{netip.MustParsePrefix("172.30.0.1/32")}})
	var sources []string
	for i := range 200 {
		sources = append(sources, fmt.Sprintf("10.0.0.%d", i))
	}
	all := 0
	for _, n := range accepted(t, b, Listener{Total: 1 << 20}, 100, sources...) {
		all += n
	}
	if s := b.State(); all != s.OthersLimit || all+s.Reserve > 20000 {
		t.Errorf("%d are accepted of 20,000; state %+v", all, s)
	}
	if got := accepted(t, b, Listener{}, 100, "172.30.0.1"); got["172.30.0.1"] != 100 {
		t.Errorf("of the machine's 100 connections %v are accepted", got)
	}
}

func TestAcceptSurvivesWantOfDescriptors(t *testing.T) {
	want := &fakeConn{from: tcp("10.0.0.1"), to: tcp("192.0.2.1")}
	inner := newFakeListener(&net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", syscall.EMFILE)}, os.NewSyscallError("accept4", syscall.ECONNABORTED), want, errors.New("broken"))
	var log bytes.Buffer
	b := newBudget(t, Config{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	l := b.Wrap(Listener{Name: "test"}, inner)[0]
	c, err := l.Accept()
	if err != nil {
		t.Fatalf("want of descriptors ends the listener: %v", err)
	}
	if s := b.State(); s.Others != 1 {
		t.Errorf("state = %+v", s)
	}
	c.Close()
	c.Close()
	if s := b.State(); s.Others != 0 {
		t.Errorf("after two closes, state = %+v", s)
	}
	if _, err := l.Accept(); err == nil {
		t.Error("a final error does not end the listener")
	}
	if !strings.Contains(log.String(), "too many open files") {
		t.Errorf("log = %s", log.String())
	}
}

func TestCloseEndsAPause(t *testing.T) {
	var results []any
	for range 1000 { // some 1,000 s
		results = append(results, os.NewSyscallError("accept4", syscall.EMFILE))
	}
	l := newBudget(t, Config{}).Wrap(Listener{}, newFakeListener(results...))[0]
	done := make(chan error)
	go func() {
		_, err := l.Accept()
		done <- err
	}()
	l.Close()
	select {
	case err := <-done:
		if !errors.Is(err, net.ErrClosed) {
			t.Errorf("Accept = %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("Accept still waits")
	}
}

// TestWriteTimeout has a client that reads nothing.
func TestWriteTimeout(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := newBudget(t, Config{}).Wrap(Listener{WriteTimeout: 50 * time.Millisecond}, inner)[0]
	defer l.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for deadline := time.Now().Add(10 * time.Second); err == nil; {
		if time.Now().After(deadline) {
			t.Fatal("writing to a client that reads nothing goes on")
		}
		_, err = c.Write(make([]byte, 1<<20))
	}
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("Write = %v, want a timeout", err)
	}
}
