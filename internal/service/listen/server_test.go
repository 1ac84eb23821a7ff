package listen

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"
)

// ports opens a port on the loopback, after some failures.
type ports struct {
	mu       sync.Mutex
	failures int
	tries    []time.Time
	open     net.Listener
	told     []string
}

func (p *ports) listen(ctx context.Context, network, _ string) (net.Listener, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tries = append(p.tries, time.Now())
	if p.failures > 0 {
		p.failures--
		return nil, errors.New("address in use")
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, network, "127.0.0.1:0")
	p.open = l
	return l, err
}

func (p *ports) tell(what string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.told = append(p.told, what)
}

func (p *ports) answers() bool {
	p.mu.Lock()
	l := p.open
	p.mu.Unlock()
	if l == nil {
		return false
	}
	resp, err := http.Get("http://" + l.Addr().String())
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return err == nil && string(body) == "here"
}

func (p *ports) tried() []time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.tries)
}

func await(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !is(); {
		if time.Now().After(deadline) {
			t.Fatal(what)
		}
	}
}

// TestKeep: a port that is taken is told of once and tried again, as is one that fails later.
func TestKeep(t *testing.T) {
	p := &ports{failures: 5}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		Keep(ctx, Config{
			Listen: p.listen, Address: ":1", Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "here") }),
			Failed: func(err error) { p.tell("failed") }, Recovered: func() { p.tell("recovered") },
			FirstRetry: 2 * time.Millisecond, LastRetry: 8 * time.Millisecond,
		})
	})
	await(t, "no answer after the port is free", p.answers)
	if tries := p.tried(); tries[5].Sub(tries[4]) < 8*time.Millisecond {
		t.Errorf("the tries were at %v", tries)
	}
	p.mu.Lock()
	p.failures = 2
	p.open.Close()
	p.mu.Unlock()
	await(t, "no answer after the port was closed", func() bool { return p.answers() && len(p.tried()) == 9 })
	cancel()
	running.Wait()
	if p.answers() {
		t.Error("it answers after the end")
	}
	if want := []string{"failed", "recovered", "failed", "recovered"}; !slices.Equal(p.told, want) {
		t.Errorf("told %v, want %v", p.told, want)
	}
}

// TestKeepEndsWhileItWaits has no port to open.
func TestKeepEndsWhileItWaits(t *testing.T) {
	p := &ports{failures: 1 << 30}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		Keep(ctx, Config{Listen: p.listen, Failed: func(error) { cancel() }, FirstRetry: time.Hour})
	})
	running.Wait()
}
