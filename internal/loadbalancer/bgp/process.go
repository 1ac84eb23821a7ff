package bgp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

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
}

// Process has a process of its own speak BGP: a Helper, which it starts, again if it ends, and tells the desired State.
type Process struct {
	c       ProcessConfig
	desire  *desire
	changed changes

	mu   sync.Mutex
	link *link     // to the Helper; nil without one
	last []Session // as the Helper has last told
	err  error     // why there is no Helper
	ran  bool
}

var _ Speaker = (*Process)(nil)

// How long the Helper may take to answer.
const (
	startTimeout = 10 * time.Second
	listTimeout  = time.Second
	endTimeout   = stopTimeout + 2*time.Second
)

// NewProcess returns a speaker that Run starts.
func NewProcess(c ProcessConfig) (*Process, error) {
	if c.Logger == nil || c.Program.Path == "" || c.Socket == "" {
		return nil, errors.New("BGP process: a logger, the program or the path of the socket is missing")
	}
	return &Process{c: c, desire: newDesire(), changed: newChanges(), err: errors.New("it has not been started yet")}, nil
}

// Run is part of Speaker. Without peers there is no Helper. When ctx ends, the Helper and its sessions stay, for the next
// Process with the same socket, or until they have waited for it for too long.
func (p *Process) Run(ctx context.Context) error {
	p.mu.Lock()
	ran := p.ran
	p.ran = true
	p.mu.Unlock()
	if ran {
		return errors.New("BGP process: Run was called twice")
	}
	helper.Again(ctx, p.session, func(err error, pause time.Duration) {
		p.lost(err)
		if err != nil { // otherwise it was stopped, since there are no peers
			p.c.Logger.Warn("The process that speaks BGP is started again", "in", pause, "error", err)
		}
	})
	return nil
}

// Apply is part of Speaker.
func (p *Process) Apply(ctx context.Context, s State) error {
	if err := s.Validate(); err != nil {
		return fmt.Errorf("BGP: %w", err)
	}
	return p.desire.set(ctx, s.clone())
}

// Changed is part of Speaker.
func (p *Process) Changed() <-chan struct{} { return p.changed }

// Sessions is part of Speaker. What the Helper has told last stands in for what it does not tell in time.
func (p *Process) Sessions() []Session {
	p.mu.Lock()
	l := p.link
	p.mu.Unlock()
	if l != nil {
		ctx, cancel := context.WithTimeout(context.Background(), listTimeout)
		defer cancel()
		if m, err := l.ask(ctx, message{List: &struct{}{}}); err == nil && m.Sessions != nil {
			p.mu.Lock()
			defer p.mu.Unlock()
			if p.link == l {
				p.last = m.Sessions.List
			}
			return m.Sessions.List
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.link != nil {
		return p.last
	}
	return p.absent()
}

// PID is the Helper's process, 0 while there is none.
func (p *Process) PID() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.link == nil {
		return 0
	}
	return p.link.helper.PID
}

// absent lists the desired sessions as they are without a Helper.
func (p *Process) absent() []Session {
	s, _ := p.desire.get()
	list := make([]Session, len(s.Peers))
	for i := range s.Peers {
		list[i] = Session{Peer: s.Peers[i].Name, Address: s.Peers[i].label(s.Peers[i].Address), State: "Idle", Error: fmt.Sprintf("the process that speaks BGP does not run: %v", p.err)}
		if s.Peers[i].BFD != nil {
			list[i].BFD = &BFDSession{}
		}
	}
	return list
}

// lost notes that there is no Helper.
func (p *Process) lost(err error) {
	p.unlink()
	if err != nil {
		p.mu.Lock()
		p.err = err
		p.mu.Unlock()
	}
	p.changed.notify()
}

// unlink has Sessions ask the Helper no more.
func (p *Process) unlink() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.link, p.last = nil, nil
}

// session waits until there are peers, has a Helper and tells it what is desired, until it or ctx ends or there are none
// any more.
func (p *Process) session(ctx context.Context) error {
	l, err := p.helper(ctx)
	if l == nil || err != nil {
		return err
	}
	defer l.close()
	p.mu.Lock()
	p.link = l
	p.mu.Unlock()
	for {
		state, number := p.desire.get()
		if number != 0 {
			if err := l.apply(ctx, state); err != nil {
				return err
			}
			if len(state.Peers) == 0 {
				p.unlink()
			}
			p.desire.take(number)
			p.changed.notify()
			if len(state.Peers) == 0 {
				return l.end(false)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-l.gone:
			return l.why()
		case <-p.desire.wake:
		}
	}
}

// helper returns the Helper of a Process that has died, or a new one once there are peers; nil if ctx has ended before.
func (p *Process) helper(ctx context.Context) (*link, error) {
	if l, err := p.adopt(ctx); l != nil || err != nil {
		return l, err
	}
	for {
		state, number := p.desire.get()
		if len(state.Peers) > 0 {
			return p.start(ctx)
		}
		p.desire.take(number)
		select {
		case <-ctx.Done():
			return nil, nil
		case <-p.desire.wake:
		}
	}
}

// adopt takes over a Helper that is there. One of another version is ended: peers with graceful restart keep the routes
// until the next one tells them again.
func (p *Process) adopt(ctx context.Context) (*link, error) {
	c := p.program().Find()
	if c == nil {
		return nil, nil
	}
	l, err := newLink(ctx, newConn(c), p.c.Build, p.changed)
	if err != nil {
		return nil, fmt.Errorf("take over the process that speaks BGP: %w", err)
	}
	if l.helper.Build != p.c.Build {
		p.c.Logger.Info("The process that speaks BGP is of another version and is replaced", "version", l.helper.Build)
		err := l.end(true)
		l.close()
		return nil, err
	}
	p.c.Logger.Info("The process that speaks BGP goes on", "pid", l.helper.PID)
	return l, nil
}

func (p *Process) program() helper.Program {
	return helper.Program{Confined: p.c.Program, Socket: p.c.Socket}
}

// start starts a Helper.
func (p *Process) start(ctx context.Context) (*link, error) {
	c, child, err := p.program().Start()
	if err != nil {
		return nil, fmt.Errorf("start the process that speaks BGP: %w", err)
	}
	l, err := p.greet(ctx, c, child)
	if err != nil {
		child.Kill()
		return nil, fmt.Errorf("start the process that speaks BGP: %w", err)
	}
	return l, nil
}

// greet says hello to a Helper that was just started.
func (p *Process) greet(ctx context.Context, c net.Conn, child *helper.Child) (*link, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	defer context.AfterFunc(ctx, func() { c.Close() })()
	defer child.Guard(c)()
	l, err := newLink(ctx, newConn(c), p.c.Build, p.changed)
	if err != nil {
		return nil, child.Why(err)
	}
	l.child = child
	return l, nil
}
