package ingress

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/types"

	"minato/internal/host"
	"minato/internal/host/helper"
)

// ProcessConfig is what a Process needs.
type ProcessConfig struct {
	Logger *slog.Logger
	// Program runs a Helper on helper.Listener; Output takes its log.
	Program host.Confined
	// Socket is the path, in a directory that only this user can enter, at which the Helper is reached. A Process with the
	// same path takes over the Helper of one that has died.
	Socket string
	// Build is the version of the program. A Helper of another version is replaced.
	Build string
	// Objects are what it is told; whoever owns them runs them.
	Objects *Objects
	// Addresses are the node's, and Listen opens sockets there.
	Addresses []netip.Addr
	Listen    Listen
	// AccessLog is the path of the file that requests are logged to; empty for none.
	AccessLog string
	// Facts are those of the node. Call Retell when they have changed.
	Facts func() Facts
	// Found is called with what the proxy finds about Ingresses; nil if nobody wants to know.
	Found func([]Findings)
	// Served is called with the Ingresses that the proxy has begun to serve; nil if nobody wants to know.
	Served func([]types.NamespacedName)
}

// Process has a process of its own serve a node's ingress: a Helper, which it starts with the first Ingress, again if it
// ends, and tells what changes. The listening sockets are open here too, so that clients wait for the next Helper.
type Process struct {
	c       ProcessConfig
	program helper.Program
	changed chan struct{}
	retell  chan struct{}
	sockets socketSet
	served  served

	mu sync.Mutex
	// pid is the Helper's, 0 while there is none.
	pid int
	// old is a Helper of another version, which serves until its successor does.
	old   *wire
	known bool // there is a Helper, or it is known that there is none
	state State
	err   error
	ran   bool
}

// How long a Helper may take to answer, and its predecessor to wait for it.
const (
	helloTimeout   = 10 * time.Second
	replaceTimeout = 30 * time.Second
)

// NewProcess returns a Process that Run starts.
func NewProcess(c ProcessConfig) (*Process, error) {
	switch {
	case c.Logger == nil || c.Program.Path == "" || c.Socket == "":
		return nil, errors.New("ingress process: a logger, the program or the path of the socket is missing")
	case c.Objects == nil || c.Listen == nil || c.Facts == nil || len(c.Addresses) == 0:
		return nil, errors.New("ingress process: Objects, Addresses, Listen and Facts are required")
	}
	return &Process{
		c: c, program: helper.Program{Confined: c.Program, Socket: c.Socket},
		changed: make(chan struct{}, 1), retell: make(chan struct{}, 1), sockets: socketSet{},
	}, nil
}

// Run serves until ctx ends. The Helper stays, for the next Process with the same socket.
func (p *Process) Run(ctx context.Context) error {
	p.mu.Lock()
	ran := p.ran
	p.ran = true
	p.mu.Unlock()
	if ran {
		return errors.New("ingress process: Run was called twice")
	}
	defer p.sockets.close()
	defer p.forget()
	helper.Again(ctx, p.session, func(err error, pause time.Duration) {
		p.set(true, State{}, err)
		if err != nil {
			p.c.Logger.Warn("The process that serves the node's ingress is started again", "in", pause, "error", err)
		}
	})
	return nil
}

// Changed holds a token after the state has changed.
func (p *Process) Changed() <-chan struct{} { return p.changed }

// State returns what the proxy is like; known is false as long as there may be a Helper that has not been found yet.
func (p *Process) State() (s State, known bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.state, p.known
}

// Serves tells whether the proxy serves an Ingress. A proxy that is not there, or is not ready, is no reason to wait: nobody
// is sent to it.
func (p *Process) Serves(name types.NamespacedName, uid types.UID) bool {
	if s, _ := p.State(); !s.Ready {
		return true
	}
	return p.served.has(name, uid)
}

// PID is the process that serves, 0 while there is none.
func (p *Process) PID() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.pid
}

func (p *Process) setPID(pid int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pid = pid
}

// Err returns why there is no proxy, nil if there is one or nobody needs one.
func (p *Process) Err() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

// Retell has the Helper told the facts anew.
func (p *Process) Retell() { poke(p.retell) }

func (p *Process) set(known bool, s State, err error) {
	p.mu.Lock()
	p.known, p.state, p.err = known, s, err
	p.mu.Unlock()
	poke(p.changed)
}

// session has a Helper and tells it what there is, until it or ctx ends.
func (p *Process) session(ctx context.Context) error {
	w, err := p.helper(ctx)
	if w == nil || err != nil {
		return err
	}
	defer w.close()
	defer p.setPID(0)
	p.served.begin()
	if err := w.sendJSON(frameConfig, p.c.Facts()); err != nil {
		return err
	}
	if err := p.giveSockets(ctx, w, nil); err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	defer context.AfterFunc(ctx, func() { w.close() })()
	g.Go(func() error { return p.listen(ctx, w) })
	g.Go(func() error {
		return p.c.Objects.follow(ctx, func(b []*item, synced bool) error {
			p.served.sent(b)
			return send(w, b, synced)
		})
	})
	g.Go(func() error { return p.retellFacts(ctx, w) })
	return g.Wait()
}

// giveSockets has the Helper serve at the node's sockets, and at those of streams. Without streams, those that it has already
// stay until it tells which ones it wants.
func (p *Process) giveSockets(ctx context.Context, w *wire, streams []StreamPort) error {
	wanted := p.wantedSockets()
	for k := range p.sockets {
		if _, _, is := parseStreamName(k.Name); is && streams == nil {
			wanted = append(wanted, k)
		}
	}
	own := len(wanted)
	for _, s := range streams {
		for _, a := range p.c.Addresses {
			wanted = append(wanted, streamSocket(s, a))
		}
	}
	// Those that stay are not touched: their port is the kernel's choice, and would be another one.
	missing := p.sockets.keep(wanted)
	if err := p.sockets.open(ctx, intersection(missing, wanted[:own]), p.c.Listen); err != nil {
		return err
	}
	if err := p.sockets.open(ctx, intersection(missing, wanted[own:]), p.c.Listen); err != nil {
		p.c.Logger.Error("A stream has no socket, and is not served", "error", err)
	}
	return w.sendSockets(p.sockets.list())
}

// intersection returns those of a that are among b.
func intersection(a, b []Socket) (out []Socket) {
	for _, k := range a {
		if slices.Contains(b, k) {
			out = append(out, k)
		}
	}
	return out
}

// bind notes where streams are served, and opens what they need.
func (p *Process) bind(ctx context.Context, w *wire, s *State) error {
	have := map[string]bool{}
	for k := range p.sockets {
		if _, _, is := parseStreamName(k.Name); is {
			have[k.Name] = true
		}
	}
	changed := len(have) != len(s.Streams)
	for _, x := range s.Streams {
		changed = changed || !have[streamName(x.UDP, x.Port)]
	}
	if changed {
		if s.Streams == nil {
			s.Streams = []StreamPort{}
		}
		if err := p.giveSockets(ctx, w, s.Streams); err != nil {
			return err
		}
	}
	for i := range s.Streams {
		x := &s.Streams[i]
		x.Bound = map[netip.Addr]uint16{}
		for _, a := range p.c.Addresses {
			k := streamSocket(*x, a)
			if f := p.sockets[k]; f != nil {
				port, err := boundPort(k, f)
				if err != nil {
					return fmt.Errorf("find the port of the stream %s: %w", k.Name, err)
				}
				x.Bound[a] = port
			}
		}
	}
	return nil
}

// send sends what belongs together.
func send(w *wire, batch []*item, synced bool) error {
	const piece = 256 << 10
	out := make([]byte, 0, 4096)
	for _, it := range batch {
		if it.object == nil {
			out = appendGone(out, it.key)
		} else {
			packed, err := it.bytes()
			if err != nil {
				return fmt.Errorf("pack %s: %w", it.key, err)
			}
			out = appendObject(out, it.key, packed)
		}
		if len(out) >= piece {
			if err := w.send(out); err != nil {
				return err
			}
			out = out[:0]
		}
	}
	if synced {
		return w.send(appendFrame(out, frameSynced, nil))
	}
	return w.send(appendFrame(out, frameBatch, nil))
}

func (p *Process) retellFacts(ctx context.Context, w *wire) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-p.retell:
			if err := w.sendJSON(frameConfig, p.c.Facts()); err != nil {
				return err
			}
		}
	}
}

// listen takes what the Helper says.
func (p *Process) listen(ctx context.Context, w *wire) error {
	late := time.AfterFunc(replaceTimeout, p.forget)
	defer late.Stop()
	for {
		f, err := w.receive()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("the process that serves the node's ingress is gone: %w", err)
		}
		switch f.kind {
		case frameState:
			var s State
			if err := json.Unmarshal(f.content, &s); err != nil {
				return fmt.Errorf("%w: %w", errFrame, err)
			}
			if s.Ready {
				p.forget()
			}
			if err := p.bind(ctx, w, &s); err != nil {
				return err
			}
			p.set(true, s, nil)
		case frameApplied:
			if names := p.served.applied(); p.c.Served != nil {
				p.c.Served(names)
			}
		case frameFindings:
			var all []Findings
			if err := json.Unmarshal(f.content, &all); err != nil {
				return fmt.Errorf("%w: %w", errFrame, err)
			}
			if p.c.Found != nil {
				p.c.Found(all)
			}
		}
	}
}

// forget has a predecessor end, if there is one: its successor serves.
func (p *Process) forget() {
	p.mu.Lock()
	old := p.old
	p.old = nil
	p.mu.Unlock()
	if old != nil {
		_ = old.sendJSON(frameDrain, drain{}) // it ends by itself at the latest after what it was told first
		old.close()
	}
}

func (p *Process) wantedSockets() []Socket {
	var out []Socket
	for _, a := range p.c.Addresses {
		for _, s := range []struct {
			name string
			port uint16
		}{{socketHTTP, HTTPPort}, {socketHTTPS, HTTPSPort}, {socketStatus, StatusPort}} {
			out = append(out, Socket{Name: s.name, Network: "tcp", Address: netip.AddrPortFrom(a, s.port)})
		}
	}
	if p.c.AccessLog != "" {
		out = append(out, Socket{Name: socketAccessLog, Network: "file", Path: p.c.AccessLog})
	}
	return out
}

// helper returns the Helper of a Process that has died, or a new one once there is an Ingress; nil if ctx has ended before.
func (p *Process) helper(ctx context.Context) (*wire, error) {
	if w, err := p.adopt(ctx); w != nil || err != nil {
		return w, err
	}
	if !p.replaces() {
		p.set(true, State{}, nil)
		select {
		case <-ctx.Done():
			return nil, nil
		case <-p.c.Objects.Wanted():
		}
	}
	return p.start(ctx)
}

// replaces tells whether there is a predecessor that serves.
func (p *Process) replaces() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.old != nil
}

// adopt takes over a Helper that is there. One of another version gives its sockets, and ends when its successor serves.
func (p *Process) adopt(ctx context.Context) (*wire, error) {
	c := p.program.Find()
	if c == nil {
		return nil, nil
	}
	w := newWire(c)
	h, err := p.greet(ctx, w)
	if err != nil {
		w.close()
		return nil, fmt.Errorf("take over the process that serves the node's ingress: %w", err)
	}
	if h.Build == p.c.Build && h.Version == protocolVersion {
		p.c.Logger.Info("The process that serves the node's ingress goes on", "pid", h.PID)
		return w, nil
	}
	p.c.Logger.Info("The process that serves the node's ingress is of another version and is replaced", "version", h.Build, "pid", h.PID)
	if err := w.sendJSON(frameDrain, drain{After: replaceTimeout}); err != nil {
		w.close()
		return nil, err
	}
	p.forget()
	p.mu.Lock()
	p.old = w
	p.mu.Unlock()
	return nil, nil
}

// greet says hello, and takes the sockets that the Helper has, unless they are open here already.
func (p *Process) greet(ctx context.Context, w *wire) (hello, error) {
	h, list, files, err := greet(ctx, w, hello{Version: protocolVersion, Build: p.c.Build})
	if err != nil {
		return h, err
	}
	p.setPID(h.PID)
	for i, s := range list.Sockets {
		if p.sockets[s] == nil {
			p.sockets[s] = files[i]
		} else {
			files[i].Close()
		}
	}
	return h, nil
}

// start starts a Helper.
func (p *Process) start(ctx context.Context) (*wire, error) {
	c, child, err := p.program.Start()
	if err != nil {
		return nil, fmt.Errorf("start the process that serves the node's ingress: %w", err)
	}
	w := newWire(c)
	release := child.Guard(c)
	defer release()
	if _, err := p.greet(ctx, w); err != nil {
		err = child.Why(err)
		w.close()
		child.Kill()
		return nil, fmt.Errorf("start the process that serves the node's ingress: %w", err)
	}
	return w, nil
}
