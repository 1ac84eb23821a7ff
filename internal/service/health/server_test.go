package health

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"minato/internal/service/route"
)

var web = types.NamespacedName{Namespace: "shop", Name: "web"}

// world opens ports on the loopback instead of those asked for, and remembers which is which.
type world struct {
	t       *testing.T
	server  *Server
	healthy atomic.Bool
	fail    atomic.Int32 // how many openings fail
	taken   atomic.Value // the address that can't be opened
	mu      sync.Mutex
	ports   map[string]string // ":30100" -> real address
	events  []string
}

// Eventf implements Events.
func (w *world) Eventf(object runtime.Object, eventtype, reason, message string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	of := object.(*corev1.ObjectReference)
	w.events = append(w.events, fmt.Sprintf("%s %s of %s %s/%s %s: ", eventtype, reason, of.Kind, of.Namespace, of.Name, of.UID)+fmt.Sprintf(message, args...))
}

func (w *world) listen(ctx context.Context, network, address string) (net.Listener, error) {
	if w.taken.Load() == address || w.fail.Add(-1) >= 0 {
		return nil, errors.New("address in use")
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, network, "127.0.0.1:0")
	if err == nil {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.ports[address] = l.Addr().String()
	}
	return l, err
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, ports: map[string]string{}}
	w.healthy.Store(true)
	var err error
	if w.server, err = New(Config{
		Listen: w.listen, Healthy: w.healthy.Load, NodeName: "node-1", Events: w, FirstRetry: time.Millisecond,
	}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.server.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return w
}

func (w *world) set(port uint16, endpoints int) {
	w.server.Set(web, &route.HealthCheck{Service: web, UID: "7", Port: port, LocalEndpoints: endpoints})
}

// ask returns "" if nobody answers.
func (w *world) ask(port uint16) string {
	w.mu.Lock()
	addr := w.ports[fmt.Sprintf(":%d", port)]
	w.mu.Unlock()
	if addr == "" {
		return ""
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 5 * time.Second}
	resp, err := client.Get("http://" + addr)
	if err != nil {
		return ""
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Error(err)
	}
	return fmt.Sprintf("%d %s %s %s", resp.StatusCode, resp.Header.Get("Content-Type"), resp.Header.Get("X-Load-Balancing-Endpoint-Weight"), body)
}

// wait asks until the answer is the one wanted.
func (w *world) wait(port uint16, want string) {
	w.t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	got := w.ask(port)
	for got != want && time.Now().Before(deadline) {
		<-tick.C
		got = w.ask(port)
	}
	if got != want {
		w.t.Fatalf("port %d answers %q, want %q", port, got, want)
	}
}

func answer(status, endpoints int, healthy bool) string {
	return fmt.Sprintf(`%d application/json %d {
	"service": {
		"namespace": "shop",
		"name": "web"
	},
	"localEndpoints": %d,
	"serviceProxyHealthy": %t
}`, status, endpoints, endpoints, healthy)
}

func TestAnswers(t *testing.T) {
	w := newWorld(t)
	w.set(30100, 2)
	w.wait(30100, answer(200, 2, true))
	w.set(30100, 0)
	w.wait(30100, answer(503, 0, true))
	w.healthy.Store(false)
	w.set(30100, 1)
	w.wait(30100, answer(503, 1, false))
	w.healthy.Store(true)
	w.wait(30100, answer(200, 1, true))
}

func TestPortsComeAndGo(t *testing.T) {
	w := newWorld(t)
	w.set(30100, 1)
	w.wait(30100, answer(200, 1, true))
	w.set(30101, 1)
	w.wait(30101, answer(200, 1, true))
	w.wait(30100, "")
	w.server.Set(web, nil)
	w.wait(30101, "")
	w.server.Set(web, nil)
	w.set(30100, 3)
	w.wait(30100, answer(200, 3, true))
}

func TestATakenPortIsTriedAgain(t *testing.T) {
	w := newWorld(t)
	w.fail.Store(4)
	w.set(30100, 1)
	w.wait(30100, answer(200, 1, true))
	w.mu.Lock()
	defer w.mu.Unlock()
	want := []string{`Warning FailedToStartServiceHealthcheck of Service shop/web 7: node node-1 failed to start healthcheck "shop/web" on port 30100 and will try again: address in use`}
	if !slices.Equal(w.events, want) {
		t.Errorf("events %q, want %q", w.events, want)
	}
}

// TestATakenPortHoldsNothingUp: the other ports are served while one is never free.
func TestATakenPortHoldsNothingUp(t *testing.T) {
	w := newWorld(t)
	w.taken.Store(":30100")
	w.set(30100, 1)
	other := types.NamespacedName{Namespace: "shop", Name: "other"}
	w.server.Set(other, &route.HealthCheck{Service: web, Port: 30101, LocalEndpoints: 1})
	w.wait(30101, answer(200, 1, true))
	w.taken.Store("")
	w.wait(30100, answer(200, 1, true))
}

func TestConfigIsChecked(t *testing.T) {
	for _, cfg := range []Config{{}, {Healthy: func() bool { return true }}, {Listen: (&net.ListenConfig{}).Listen}} {
		if _, err := New(cfg); err == nil {
			t.Errorf("%+v: no error", cfg)
		}
	}
}
