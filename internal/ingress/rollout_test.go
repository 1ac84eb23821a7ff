package ingress

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// rolling is a backend that says how long a body was, and at /ws echoes lines after an upgrade.
type rolling struct {
	*http.Server
	at netip.AddrPort
}

func (g *gate) rolling() *rolling {
	g.t.Helper()
	r := &rolling{at: netip.AddrPortFrom(address(), backendPort)}
	l, err := net.Listen("tcp", r.at.String())
	if err != nil {
		g.t.Fatal(err)
	}
	r.Server = &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if q.URL.Path != "/ws" {
			n, err := io.Copy(io.Discard, q.Body)
			fmt.Fprintf(w, "%d %v", n, err)
			return
		}
		c, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer c.Close()
		fmt.Fprint(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		for {
			line, err := rw.ReadString('\n')
			if err != nil {
				return
			}
			if _, err := io.WriteString(c, line); err != nil {
				return
			}
		}
	})}
	g.t.Cleanup(func() { r.Close() })
	go func() { _ = r.Serve(l) }()
	return r
}

// shake opens a WebSocket and returns a function that has a line echoed over it.
func (g *gate) shake(host string) func() error {
	g.t.Helper()
	c, err := net.Dial("tcp", g.socketOf("80"))
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { c.Close() })
	fmt.Fprintf(c, "GET /ws HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", host)
	rd := bufio.NewReader(c)
	resp, err := http.ReadResponse(rd, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		g.t.Fatalf("the handshake: %v %v", resp, err)
	}
	n := 0
	return func() error {
		n++
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		line := fmt.Sprintf("line %d\n", n)
		if _, err := io.WriteString(c, line); err != nil {
			return err
		}
		if got, err := rd.ReadString('\n'); got != line || err != nil {
			return fmt.Errorf("%q came back as %q: %w", line, got, err)
		}
		return nil
	}
}

// Bodies that are being sent and WebSockets that are open while Pods are replaced as a Deployment does it: a new one is ready, an
// old one is first terminating, then gone from the slices, and then it shuts down. No request fails, whether its body is read
// first (class nginx) or streams (class minato), and a WebSocket lives as long as its Pod.
func TestRollingUpdate(t *testing.T) {
	t.Parallel()
	g := newGate(t)
	old, other := g.rolling(), g.rolling()
	g.service("web", old.at, other.at)
	g.rule("read", []string{"read.test Prefix / web"}, "proxy-body-size: 10m")
	g.ingress(ingressOf("streamed", "streamed.test", "web"))
	g.open()

	var done, failed atomic.Int64
	stop := make(chan struct{})
	var wait sync.WaitGroup
	for i := range 6 {
		wait.Go(func() {
			tr := &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
				var d net.Dialer
				return d.DialContext(ctx, network, g.socketOf("80"))
			}}
			defer tr.CloseIdleConnections()
			c := &http.Client{Transport: tr, Timeout: 30 * time.Second}
			host := []string{"read.test", "streamed.test"}[i%2]
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				size := (n * 7919) % (300 << 10)
				body := io.Reader(bytes.NewReader(make([]byte, size)))
				if n%3 == 0 {
					body = struct{ io.Reader }{body} // of a length that is not known: in chunks
				}
				resp, err := c.Post("http://"+host+"/", "application/octet-stream", body)
				text := ""
				if err == nil {
					b, _ := io.ReadAll(resp.Body)
					resp.Body.Close()
					text = fmt.Sprintf("%d %s", resp.StatusCode, b)
				}
				if done.Add(1); text != fmt.Sprintf("200 %d <nil>", size) {
					failed.Add(1)
					t.Errorf("%d bytes to %s: %s %v", size, host, strings.TrimSpace(text), err)
				}
			}
		})
	}
	goOn := func(n int64) {
		t.Helper()
		before := done.Load()
		until(t, "requests go on", func() error {
			if done.Load() < before+n {
				return fmt.Errorf("%d of them", done.Load()-before)
			}
			return nil
		})
	}
	for range 6 {
		var shakes []func() error
		for range 4 { // some of them at the one that goes
			shakes = append(shakes, g.shake("read.test"), g.shake("streamed.test"))
		}
		next := g.rolling()
		s := slice("web", old.at, other.at, next.at)
		s.Endpoints[0].Conditions = discoveryv1.EndpointConditions{Ready: new(false), Serving: new(true), Terminating: new(true)}
		g.must(g.client.DiscoveryV1().EndpointSlices("default").Update(t.Context(), s, metav1.UpdateOptions{}))
		goOn(20)
		g.scale("web", other.at, next.at)
		goOn(20) // as a preStop hook gives time for
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		if err := old.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		cancel()
		for _, echo := range shakes {
			if err := echo(); err != nil {
				t.Errorf("a WebSocket after its Pod has left the Service: %v", err)
			}
		}
		old, other = other, next
		goOn(10)
	}
	close(stop)
	wait.Wait()
	if failed.Load() > 0 || done.Load() < 200 {
		t.Errorf("%d of %d requests failed", failed.Load(), done.Load())
	}
}
