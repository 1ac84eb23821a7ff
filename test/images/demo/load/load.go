// Package load sends requests at a constant rate and tells of each one that
// fails: when, which kind of client it was, and with what error.
//
// It behaves as careful clients do, and no better: a request is sent once, and
// again only where the other side, or the kernel, has said that a connection is
// over. It may import the standard library only, for it is part of the image
// whoami, and must not know what it is pointed at.
package load

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"time"
)

// Target is one kind of client and where it sends its requests.
type Target struct {
	Kind    string
	Address string // HOST:PORT
}

// ParseTarget reads KIND=HOST:PORT.
func ParseTarget(text string) (Target, error) {
	kind, address, ok := strings.Cut(text, "=")
	if !ok || !slices.Contains(Kinds(), kind) {
		return Target{}, fmt.Errorf("target %q: want KIND=HOST:PORT, with one of the kinds %s", text, strings.Join(Kinds(), ", "))
	}
	if _, _, err := net.SplitHostPort(address); err != nil {
		return Target{}, fmt.Errorf("target %q: %w", text, err)
	}
	return Target{Kind: kind, Address: address}, nil
}

func (t Target) String() string { return t.Kind + "=" + t.Address }

// Network opens sockets; the zero Dialer and ListenConfig are the process's own.
type Network struct {
	Dial         func(ctx context.Context, network, address string) (net.Conn, error)
	ListenPacket func(ctx context.Context, network, address string) (net.PacketConn, error)
}

// Config is what a Generator needs.
type Config struct {
	// Name says in the report where the clients are.
	Name    string
	Targets []Target
	// Rate is how many requests are sent in a second, by all clients together.
	Rate float64
	// Network may be empty.
	Network Network
	// Failures gets a line for each failed request at once; it may be nil.
	Failures io.Writer
}

// Generator is one client for each target.
type Generator struct {
	cfg Config

	mu      sync.Mutex // of Failures
	results []Result
}

// New makes a generator that sends nothing yet.
func New(cfg Config) (*Generator, error) {
	if len(cfg.Targets) == 0 {
		return nil, errors.New("load: there are no targets")
	}
	if cfg.Rate <= 0 || cfg.Rate > 1000 {
		return nil, fmt.Errorf("load: a rate of %g requests a second; choose one above 0, up to 1000", cfg.Rate)
	}
	if cfg.Network.Dial == nil {
		cfg.Network.Dial = new(net.Dialer).DialContext
	}
	if cfg.Network.ListenPacket == nil {
		cfg.Network.ListenPacket = new(net.ListenConfig).ListenPacket
	}
	if cfg.Failures == nil {
		cfg.Failures = io.Discard
	}
	return &Generator{cfg: cfg}, nil
}

// Run sends requests until ctx ends, lets those under way finish, and returns
// what came of all.
func (g *Generator) Run(ctx context.Context) Report {
	g.results = make([]Result, len(g.cfg.Targets))
	every := time.Duration(float64(len(g.cfg.Targets)) / g.cfg.Rate * float64(time.Second))
	var wg sync.WaitGroup
	for i, t := range g.cfg.Targets {
		wg.Go(func() {
			// The clients take turns rather than send all at once.
			offset := every * time.Duration(i) / time.Duration(len(g.cfg.Targets))
			g.results[i] = g.work(ctx, t, offset, every)
		})
	}
	wg.Wait()
	return Report{Name: g.cfg.Name, Results: g.results}
}

// work is one client's life.
func (g *Generator) work(ctx context.Context, t Target, offset, every time.Duration) Result {
	r := Result{Target: t}
	c := newClient(g.cfg.Network, t)
	defer c.close()
	select {
	case <-ctx.Done():
		return r
	case <-time.After(offset):
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		began := time.Now()
		err := c.request()
		took := time.Since(began)
		r.Requests++
		r.Slowest = max(r.Slowest, took)
		if err != nil {
			r.Failed++
			g.tell(t, began, took, err)
		}
		select {
		case <-ctx.Done():
			r.Renewed = c.renewed()
			return r
		case <-tick.C:
		}
	}
}

// tell writes of a failure; if that fails, the count still knows of it.
func (g *Generator) tell(t Target, began time.Time, took time.Duration, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	fmt.Fprintf(g.cfg.Failures, "FAILED %s %s %s after %s: %v\n",
		began.UTC().Format("15:04:05.000"), g.cfg.Name, t, took.Round(time.Millisecond), err)
}
