package bgp

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"
)

// HelperConfig is what a Helper needs.
type HelperConfig struct {
	// Listener is where the Process connects.
	Listener net.Listener
	Logger   *slog.Logger
	// Build is the version of the program.
	Build string
	// Orphaned is how long the sessions go on without a Process; 0 is two minutes.
	Orphaned time.Duration
}

// defaultOrphaned gives a Process that died the time to be started again.
const defaultOrphaned = 2 * time.Minute

// Helper speaks BGP for a Process, in the network namespace that it was started in. It outlives the Process for a while,
// so that a server that is started again finds its sessions up and its routes where they were. Without a successor it
// tells the peers that the routes are gone, since nobody is there who knows whether they are right.
type Helper struct {
	log      *slog.Logger
	listener net.Listener
	build    string
	orphaned time.Duration
	local    *Local

	mu      sync.Mutex
	current *conn // the Process; nil without one
	end     context.CancelFunc
	orphan  *time.Timer
}

// NewHelper returns a Helper that Run starts.
func NewHelper(c HelperConfig) (*Helper, error) {
	if c.Listener == nil || c.Logger == nil {
		return nil, errors.New("BGP helper: a listener or a logger is missing")
	}
	if c.Orphaned == 0 {
		c.Orphaned = defaultOrphaned
	}
	local, err := NewLocal(LocalConfig{Logger: c.Logger})
	if err != nil {
		return nil, err
	}
	return &Helper{log: c.Logger, listener: c.Listener, build: c.Build, orphaned: c.Orphaned, local: local}, nil
}

// Run blocks until ctx ends, a Process says that it shall end, or there has been no Process for long. When ctx ends, peers
// with graceful restart keep the routes.
func (h *Helper) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	h.mu.Lock()
	h.end = cancel
	h.orphan = time.AfterFunc(h.orphaned, h.abandoned)
	h.mu.Unlock()
	defer h.orphan.Stop()
	// Connections last until the sessions have ended: that is how a Process knows.
	connected, disconnect := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer disconnect()
	defer context.AfterFunc(ctx, func() { h.listener.Close() })()
	wg.Go(func() { h.tellChanges(ctx) })
	wg.Go(func() {
		defer cancel()
		h.accept(ctx, connected, &wg)
	})
	defer cancel()
	return h.local.Run(ctx)
}

func (h *Helper) accept(ctx, connected context.Context, wg *sync.WaitGroup) {
	for {
		c, err := h.listener.Accept()
		if err != nil {
			if ctx.Err() == nil {
				h.log.Error("The BGP helper can't be reached any more and ends", "error", err)
			}
			return
		}
		wg.Go(func() {
			defer context.AfterFunc(connected, func() { c.Close() })()
			h.serve(ctx, newConn(c))
		})
	}
}

// replace makes a connection the current one; the one before is closed.
func (h *Helper) replace(c *conn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.current != nil {
		h.current.close()
	}
	h.current = c
	h.orphan.Stop()
}

// left notes that a connection has ended.
func (h *Helper) left(c *conn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	c.close()
	if h.current == c {
		h.current = nil
		h.orphan.Reset(h.orphaned)
	}
}

// abandoned ends the Helper, unless a Process has just come.
func (h *Helper) abandoned() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.current == nil {
		h.log.Warn("Nobody has come back for the BGP sessions; they end", "after", h.orphaned)
		h.local.keep.Store(false)
		h.end()
	}
}

// serve answers a Process until the connection ends. The latest Process is the right one.
func (h *Helper) serve(ctx context.Context, c *conn) {
	defer h.left(c)
	m, err := c.receive()
	if err != nil || m.Hello == nil {
		c.close()
		return
	}
	h.replace(c)
	if c.send(message{ID: m.ID, Hello: &hello{Build: h.build, PID: os.Getpid()}}) != nil {
		return
	}
	for {
		m, err := c.receive()
		if err != nil {
			if ctx.Err() == nil && errors.Is(err, errMessage) {
				h.log.Error("The BGP helper was sent something else than a message", "error", err)
			}
			return
		}
		if c.send(h.answer(ctx, m)) != nil {
			return
		}
		if m.Stop != nil {
			h.end()
		}
	}
}

func (h *Helper) answer(ctx context.Context, m message) message {
	out := message{ID: m.ID}
	switch {
	case m.Apply != nil:
		out.Done = &done{}
		if err := h.local.Apply(ctx, *m.Apply); err != nil {
			out.Done.Error = err.Error()
		}
	case m.List != nil:
		out.Sessions = &listing{List: h.local.Sessions()}
	case m.Stop != nil:
		h.local.keep.Store(m.Stop.Keep)
		out.Done = &done{}
	default:
		out.Done = &done{Error: "no such request"}
	}
	return out
}

// tellChanges passes on that sessions have changed.
func (h *Helper) tellChanges(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-h.local.Changed():
		}
		h.mu.Lock()
		c := h.current
		h.mu.Unlock()
		if c != nil {
			_ = c.send(message{Changed: &struct{}{}}) // the connection's own goroutine sees that it has ended
		}
	}
}
