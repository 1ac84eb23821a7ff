package ingress

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"
)

// HelperConfig is what a Helper needs.
type HelperConfig struct {
	// Listener is where the Process connects; it is one of unix sockets.
	Listener net.Listener
	Logger   *slog.Logger
	// Build is the version of the program.
	Build string
}

// serving is what a Helper has of a Node.
type serving interface {
	// Tell tells it the facts, before all else and when they have changed.
	Tell(Facts)
	// Serve gives it the sockets that it is to serve from now on.
	Serve(list socketList, files []*os.File) error
	// ApplyThen gives it what has changed, and calls done once that is served.
	ApplyThen(batch []Change, synced bool, done func())
	// Run blocks until ctx ends, or Drain was called and everything that was under way is done.
	Run(ctx context.Context) error
	Drain()
	// Changed holds a token after what State or Findings return has changed. Findings returns what was found since it was
	// called last, or everything.
	Changed() <-chan struct{}
	State() State
	Findings(all bool) []Findings
}

// Helper serves a node's ingress for a Process, in the network namespace that it was started in. It outlives the Process, and
// goes on serving what it has been told: so do the programs of the Services' data plane, and the containers.
type Helper struct {
	log      *slog.Logger
	listener net.Listener
	build    string
	node     serving
	seed     maphash.Seed

	mu      sync.Mutex
	current *wire // the Process; nil without one
	sockets socketSet
	drain   *time.Timer

	taking sync.Mutex     // of what follows: one connection's frames at a time
	known  map[Key]uint64 // the hashes of the objects that came
	batch  []Change       // what came and is not passed on yet, which outlives the connection
}

// NewHelper returns a Helper that Run starts.
func NewHelper(c HelperConfig) (*Helper, error) {
	if c.Listener == nil || c.Logger == nil {
		return nil, errors.New("ingress helper: a listener or a logger is missing")
	}
	node, err := NewNode(NodeConfig{Logger: c.Logger})
	if err != nil {
		return nil, err
	}
	return newHelper(c, node), nil
}

func newHelper(c HelperConfig, node serving) *Helper {
	return &Helper{
		log: c.Logger, listener: c.Listener, build: c.Build, node: node,
		seed: maphash.MakeSeed(), sockets: socketSet{}, known: map[Key]uint64{},
	}
}

// Run blocks until a Process says that it shall end and everything that was under way is done. When ctx ends, it ends in the
// same way.
func (h *Helper) Run(ctx context.Context) error {
	serveCtx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	var wg sync.WaitGroup
	defer wg.Wait()
	defer h.listener.Close()
	defer cancel()
	defer context.AfterFunc(ctx, h.node.Drain)()
	wg.Go(func() { h.accept(serveCtx, &wg) })
	wg.Go(func() { h.tellChanges(serveCtx) })
	return h.node.Run(serveCtx)
}

func (h *Helper) accept(ctx context.Context, wg *sync.WaitGroup) {
	for {
		c, err := h.listener.Accept()
		if err != nil {
			if ctx.Err() == nil && !errors.Is(err, net.ErrClosed) {
				h.log.Error("The ingress helper can't be reached any more", "error", err)
			}
			return
		}
		unix, ok := c.(*net.UnixConn)
		if !ok {
			c.Close()
			continue
		}
		wg.Go(func() {
			defer context.AfterFunc(ctx, func() { c.Close() })()
			w := newWire(unix)
			defer h.left(w)
			if err := h.serve(w); err != nil && errors.Is(err, errFrame) {
				h.log.Error("The ingress helper was sent something else than a frame", "error", err)
			}
		})
	}
}

// replace makes a connection the current one; the one before is closed.
func (h *Helper) replace(w *wire) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.current != nil {
		h.current.close()
	}
	h.current = w
}

func (h *Helper) left(w *wire) {
	h.mu.Lock()
	defer h.mu.Unlock()
	w.close()
	if h.current == w {
		h.current = nil
	}
}

// serve takes what a Process sends until the connection ends. The latest Process is the right one.
func (h *Helper) serve(w *wire) error {
	_ = w.conn.SetReadDeadline(time.Now().Add(helloTimeout))
	f, err := w.receive()
	if err == nil && f.kind != frameHello {
		err = errFrame
	}
	if err != nil {
		return err
	}
	_ = w.conn.SetReadDeadline(time.Time{})
	h.replace(w)
	if err := w.sendJSON(frameHello, hello{Version: protocolVersion, Build: h.build, PID: os.Getpid()}); err != nil {
		return err
	}
	h.mu.Lock()
	list, files := h.sockets.list()
	h.mu.Unlock()
	if err := w.sendSockets(list, files); err != nil {
		return err
	}
	s := &session{Helper: h, wire: w, seen: map[Key]struct{}{}}
	for {
		f, err := w.receive()
		if err != nil {
			return err
		}
		if err := s.take(f); err != nil {
			return err
		}
	}
}

// session is a connection to a Process.
type session struct {
	*Helper
	wire *wire
	// seen is what was sent until everything was; nil from then on.
	seen map[Key]struct{}
	told bool
}

func (s *session) take(f frame) error {
	s.taking.Lock()
	defer s.taking.Unlock()
	s.mu.Lock()
	current := s.current == s.wire
	s.mu.Unlock()
	if !current {
		return net.ErrClosed
	}
	switch f.kind {
	case frameConfig:
		var facts Facts
		if err := json.Unmarshal(f.content, &facts); err != nil {
			return fmt.Errorf("%w: %w", errFrame, err)
		}
		s.node.Tell(facts)
		if !s.told {
			s.told = true
			return s.tell(true)
		}
	case frameSockets:
		return s.takeSockets(f)
	case frameObject, frameGone:
		return s.takeObject(f)
	case frameBatch, frameSynced:
		s.apply(f.kind == frameSynced)
	case frameDrain:
		var d drain
		if err := json.Unmarshal(f.content, &d); err != nil {
			return fmt.Errorf("%w: %w", errFrame, err)
		}
		s.drainAfter(d.After)
	}
	return nil
}

func (s *session) takeSockets(f frame) error {
	list, files, err := s.wire.takeSockets(f)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	wanted := socketSet{}
	for i, k := range list.Sockets {
		wanted[k] = files[i]
	}
	missing := s.sockets.keep(list.Sockets)
	for _, k := range missing {
		s.sockets[k] = wanted[k]
		delete(wanted, k)
	}
	wanted.close() // those that it has already
	return s.node.Serve(s.sockets.list())
}

func (s *session) takeObject(f frame) error {
	k, packed, err := cutKey(f.content)
	if err != nil {
		return err
	}
	if f.kind == frameGone {
		if _, has := s.known[k]; has {
			delete(s.known, k)
			s.batch = append(s.batch, Change{Key: k})
		}
		return nil
	}
	if s.seen != nil {
		s.seen[k] = struct{}{}
	}
	sum := maphash.Bytes(s.seed, packed)
	if was, has := s.known[k]; has && was == sum {
		return nil
	}
	o := newObject(k.Kind)
	if err := o.Unmarshal(packed); err != nil {
		return fmt.Errorf("%w: %s: %w", errFrame, k, err)
	}
	s.known[k] = sum
	s.batch = append(s.batch, Change{Key: k, Object: o})
	return nil
}

// apply passes on what came. After everything was sent, what was not sent is gone.
func (s *session) apply(synced bool) {
	if synced && s.seen != nil {
		for k := range s.known {
			if _, still := s.seen[k]; !still {
				delete(s.known, k)
				s.batch = append(s.batch, Change{Key: k})
			}
		}
		s.seen = nil
	}
	s.node.ApplyThen(s.batch, synced, func() {
		_ = s.wire.send(appendFrame(nil, frameApplied, nil)) // the connection's own goroutine sees that it has ended
	})
	s.batch = nil
}

// drainAfter has the Helper end, after a while at the latest. An earlier end wins.
func (h *Helper) drainAfter(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.drain == nil {
		h.drain = time.AfterFunc(d, h.node.Drain)
	} else if d == 0 {
		h.drain.Reset(0)
	}
}

// tellChanges passes on what has changed.
func (h *Helper) tellChanges(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-h.node.Changed():
			_ = h.tell(false) // the connection's own goroutine sees that it has ended
		}
	}
}

// tell tells the Process what the Node is like.
func (h *Helper) tell(all bool) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	w := h.current
	if w == nil {
		return nil // the next one is told everything
	}
	const most = 1000 // in one frame
	found := h.node.Findings(all)
	for len(found) > 0 {
		n := min(most, len(found))
		if err := w.sendJSON(frameFindings, found[:n]); err != nil {
			return err
		}
		found = found[n:]
	}
	return w.sendJSON(frameState, h.node.State())
}
