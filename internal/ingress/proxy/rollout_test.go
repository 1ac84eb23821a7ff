package proxy

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"minato/internal/ingress/table"
)

// load sends requests on several connections until it is told to stop, and counts those that fail.
type load struct {
	stop   chan struct{}
	wait   sync.WaitGroup
	done   atomic.Int64
	failed atomic.Int64
	mu     sync.Mutex
	first  string
}

func (l *load) fail(format string, args ...any) {
	l.failed.Add(1)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.first == "" {
		l.first = fmt.Sprintf(format, args...)
	}
}

func (r *rig) load(host string, clients int) *load {
	l := &load{stop: make(chan struct{})}
	for i := range clients {
		l.wait.Go(func() {
			c, err := net.Dial("tcp", r.http)
			if err != nil {
				l.fail("dial: %v", err)
				return
			}
			defer c.Close()
			rd := bufio.NewReader(c)
			for n := 0; ; n++ {
				select {
				case <-l.stop:
					return
				default:
				}
				_ = c.SetDeadline(time.Now().Add(20 * time.Second))
				text := "GET / HTTP/1.1\r\nHost: " + host + "\r\n\r\n"
				if (n+i)%3 == 0 {
					text = "POST / HTTP/1.1\r\nHost: " + host + "\r\nContent-Length: 5\r\n\r\nhello"
				}
				if _, err := io.WriteString(c, text); err != nil {
					l.fail("write: %v", err)
					return
				}
				resp, err := http.ReadResponse(rd, nil)
				if err != nil {
					l.fail("read: %v", err)
					return
				}
				_, _ = io.Copy(io.Discard, resp.Body)
				if l.done.Add(1); resp.StatusCode != 200 {
					l.fail("%s: %s", strings.SplitN(text, " ", 2)[0], resp.Status)
				}
			}
		})
	}
	return l
}

func (l *load) end(t *testing.T) {
	t.Helper()
	close(l.stop)
	l.wait.Wait()
	t.Logf("%d requests", l.done.Load())
	if n := l.failed.Load(); n > 0 || l.done.Load() == 0 {
		t.Errorf("%d of %d requests failed, the first: %s", n, l.done.Load(), l.first)
	}
}

// TestRollout: endpoints come and go under load, as Pods do in a rollout: one is added, another is taken out and then
// shuts down as servers do, which closes the connections that are kept. No request fails.
func TestRollout(t *testing.T) {
	r := start(t, tableOf(settings(), ingress("a", nil, "a.example / web")), nil)
	r.records.on = false
	newServer := func() (*http.Server, string) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
			_, _ = io.Copy(io.Discard, q.Body)
			<-time.After(time.Millisecond)
			fmt.Fprint(w, "ok")
		})}
		go func() { _ = s.Serve(l) }()
		return s, l.Addr().String()
	}
	a, aAddr := newServer()
	b, bAddr := newServer()
	r.backend("web", aAddr, bAddr)
	load := r.load("a.example", 8)
	for range 15 {
		next, addr := newServer()
		before := load.done.Load()
		eventually(t, "requests go on", func() bool { return load.done.Load() > before+40 })
		r.backend("web", aAddr, bAddr, addr)
		r.backend("web", bAddr, addr)
		// What a preStop hook gives time for: the requests that were on their way to the endpoint arrive.
		before = load.done.Load()
		eventually(t, "requests go on", func() bool { return load.done.Load() > before+20 })
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		if err := a.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		cancel()
		a, aAddr, b, bAddr = b, bAddr, next, addr
	}
	load.end(t)
	_ = a.Close()
	_ = b.Close()
}

// TestEditsUnderLoad: 1,000 edits of routes, with 100 tunnels open and constant load: none is cut and none fails.
func TestEditsUnderLoad(t *testing.T) {
	b := table.NewBuilder()
	b.SetSettings(settings())
	b.Set(ingress("a", nil, "a.example / web"))
	b.Set(ingress("ws", nil, "ws.example / ws"))
	r := start(t, b.Table(), nil)
	r.records.on = false
	r.backend("web", serve(t, func(w http.ResponseWriter, q *http.Request) { _, _ = io.Copy(io.Discard, q.Body) }))
	r.backend("ws", rawBackend(t, wsBackend))
	type tunnel struct {
		c  net.Conn
		rd *bufio.Reader
	}
	var tunnels []tunnel
	for range 100 {
		c, rd := r.upgrade("ws.example")
		tunnels = append(tunnels, tunnel{c, rd})
	}
	load := r.load("a.example", 4)
	for i := range 1000 {
		switch i % 4 {
		case 0:
			b.Set(ingress("x"+strconv.Itoa(i%40), nil, "x"+strconv.Itoa(i%40)+".example /"+strconv.Itoa(i)+" web"))
		case 1:
			b.Set(ingress("a", nil, "a.example / web", "a.example /p"+strconv.Itoa(i)+" web"))
		case 2:
			b.Set(ingress("ws", nil, "ws.example /"+strconv.Itoa(i)+" ws"))
		}
		r.SetTable(b.Table())
		if i%10 == 0 {
			tu := tunnels[i/10]
			exchangeOn(t, tu.c, tu.rd, 64)
		}
	}
	load.end(t)
	for _, tu := range tunnels {
		_ = tu.c.SetDeadline(time.Now().Add(10 * time.Second))
		exchangeOn(t, tu.c, tu.rd, 4096)
	}
}

// TestIdleConnections: a connection that waits for its next request costs no buffer.
func TestIdleConnections(t *testing.T) {
	r := start(t, tableOf(settings(), ingress("a", nil, "a.example / web")), nil)
	r.backend("web", rawBackend(t, tiny(smallAnswer)))
	const n = 500
	memory := func() int64 {
		runtime.GC()
		runtime.GC() // empties the pools
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc + m.StackInuse)
	}
	before := memory()
	conns := make([]net.Conn, n)
	buf := make([]byte, 4<<10)
	for i := range conns {
		c, err := net.Dial("tcp", r.http)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		conns[i] = c
		_, _ = c.Write(smallRequest)
		for got := 0; !bytes.HasSuffix(buf[:got], []byte("World!")); {
			m, err := c.Read(buf[got:])
			if err != nil {
				t.Fatal(err)
			}
			got += m
		}
	}
	eventually(t, "all are idle", func() bool { waiting, _ := r.connectionStates(); return waiting == n })
	each := (memory() - before) / n
	t.Logf("%d bytes for each idle connection, with the client's end", each)
	if each > 14<<10 {
		t.Errorf("an idle connection takes %d bytes", each)
	}
}

// TestEndpointLeavesWhileConnecting: a request that waits for a connection to an endpoint that never answers is sent to
// another as soon as the endpoint is no longer of the backend, whatever its method.
func TestEndpointLeavesWhileConnecting(t *testing.T) {
	dead := netip.MustParseAddrPort("192.0.2.1:80")
	dialled := make(chan struct{}, 8)
	r := start(t, tableOf(settings(), ingress("a", nil, "a.example / web")), func(c *Config) {
		c.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			if address == dead.String() {
				dialled <- struct{}{}
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return (&net.Dialer{}).DialContext(ctx, network, address)
		}
	})
	alive := serve(t, echo)
	r.backend("web", dead.String())
	answers := make(chan string, 1)
	go func() {
		q, _ := http.NewRequest("POST", "http://"+r.http, strings.NewReader("x"))
		q.Host = "a.example"
		resp, err := http.DefaultClient.Do(q)
		if err != nil {
			answers <- err.Error()
			return
		}
		defer resp.Body.Close()
		answers <- resp.Status
	}()
	<-dialled
	r.backend("web", alive)
	select {
	case got := <-answers:
		if got != "200 OK" {
			t.Errorf("the answer is %s", got)
		}
	case <-time.After(4 * time.Second):
		t.Error("the request still waits for the endpoint that has gone")
	}
}
