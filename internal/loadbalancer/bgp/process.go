package bgp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"sync"
	"time"

	"minato/internal/host"
)

// ProcessConfig is what a Process needs.
type ProcessConfig struct {
	Logger *slog.Logger
	// Program runs a Helper on InheritedListener; Output takes its log.
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

// Pauses before a Helper is started again, and how long one has to run for the first pause to be next again.
const (
	firstPause = 100 * time.Millisecond
	lastPause  = 10 * time.Second
	steady     = time.Minute
)

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
	pause := firstPause
	for {
		begin := time.Now()
		err := p.session(ctx)
		if ctx.Err() != nil {
			return nil
		}
		p.lost(err)
		if err == nil {
			pause = firstPause // it was stopped, since there are no peers
			continue
		}
		if time.Since(begin) > steady {
			pause = firstPause
		}
		p.c.Logger.Warn("The process that speaks BGP is started again", "in", pause, "error", err)
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
		pause = min(2*pause, lastPause)
	}
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
	c, err := net.Dial("unix", p.c.Socket)
	if err != nil {
		return nil, nil // there is none
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

// start starts a Helper.
func (p *Process) start(ctx context.Context) (*link, error) {
	if err := os.Remove(p.c.Socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: p.c.Socket, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("listen for the process that speaks BGP: %w", err)
	}
	listener.SetUnlinkOnClose(false) // it is the Helper's then
	defer listener.Close()
	if err := os.Chmod(p.c.Socket, 0o600); err != nil {
		return nil, err
	}
	file, err := listener.File()
	if err != nil {
		return nil, err
	}
	defer file.Close()
	cmd, err := p.c.Program.Start(file)
	if err != nil {
		return nil, err
	}
	exited := make(chan struct{})
	go func() { // it is this process's child, for as long as both live
		defer close(exited)
		_ = cmd.Wait()
	}()
	l, err := p.greet(ctx, cmd, exited)
	if err != nil {
		_ = cmd.Process.Kill()
		<-exited
		return nil, fmt.Errorf("start the process that speaks BGP: %w", err)
	}
	return l, nil
}

// greet connects to a Helper that was just started.
func (p *Process) greet(ctx context.Context, cmd *exec.Cmd, exited <-chan struct{}) (*link, error) {
	c, err := net.Dial("unix", p.c.Socket)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	defer context.AfterFunc(ctx, func() { c.Close() })()
	ended := make(chan struct{})
	defer close(ended)
	go func() {
		select {
		case <-exited:
			c.Close()
		case <-ended:
		}
	}()
	l, err := newLink(ctx, newConn(c), p.c.Build, p.changed)
	if err != nil {
		select {
		case <-exited:
			return nil, fmt.Errorf("it has ended: %v", cmd.ProcessState)
		default:
			return nil, err
		}
	}
	l.kill, l.exited = cmd.Process.Kill, exited
	return l, nil
}
