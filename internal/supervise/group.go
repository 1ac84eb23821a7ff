package supervise

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"k8s.io/utils/clock"
)

// Part is one thing that runs until its context ends.
type Part struct {
	// Name is unique in its group, such as "dns" or "routes".
	Name string
	// Run blocks until ctx ends or the part has failed. It is called again after
	// a failure, so it must make everything anew that it needs. A Run that
	// returns nil while ctx lives has done what it was to do.
	Run func(ctx context.Context) error
}

// Phase is what a part is doing.
type Phase string

// The phases of a part.
const (
	Running Phase = "running"
	// Failed parts wait for their next start.
	Failed Phase = "failed"
	// Done parts returned without an error.
	Done Phase = "done"
)

// State is one part at one moment.
type State struct {
	Name  string `json:"name"`
	Phase Phase  `json:"phase"`
	// Since is when the phase began.
	Since time.Time `json:"since"`
	// Restarts counts the starts after the first one.
	Restarts int `json:"restarts"`
	// Error is why the part failed last, also while it runs again.
	Error string `json:"error,omitempty"`
}

// Back-off between two starts of a part. A part that ran for longer than
// steadyAfter starts over with the shortest pause.
const (
	firstPause  = 100 * time.Millisecond
	longestWait = 10 * time.Second
	steadyAfter = 30 * time.Second
)

// Config is what a Group needs.
type Config struct {
	// Changed is called after each change of a part's state, from the part's own
	// goroutine; nil for nobody.
	Changed func(State)
	// Clock is the machine's if nil.
	Clock  clock.Clock
	Logger *slog.Logger
}

// Group runs parts.
type Group struct {
	cfg Config

	mu     sync.Mutex
	states []*State // in the order of the parts
}

// New returns a Group that runs nothing yet.
func New(cfg Config) *Group {
	if cfg.Clock == nil {
		cfg.Clock = clock.RealClock{}
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Group{cfg: cfg}
}

// Run runs the parts until ctx ends, and returns when all of them have returned.
// It may be called again for more parts while an earlier call goes on.
func (g *Group) Run(ctx context.Context, parts ...Part) {
	var wg sync.WaitGroup
	for _, p := range parts {
		state := g.add(p.Name)
		wg.Go(func() { g.keep(ctx, state, p) })
	}
	wg.Wait()
}

// States returns the state of every part, in the order in which they were given
// to Run.
func (g *Group) States() []State {
	g.mu.Lock()
	defer g.mu.Unlock()
	out := make([]State, 0, len(g.states))
	for _, s := range g.states {
		out = append(out, *s)
	}
	return out
}

// Forget drops the state of the parts of that name, which have returned.
func (g *Group) Forget(name string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.states = slices.DeleteFunc(g.states, func(s *State) bool { return s.Name == name })
}

func (g *Group) add(name string) *State {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := &State{Name: name, Phase: Running, Since: g.cfg.Clock.Now()}
	g.states = append(g.states, s)
	return s
}

// keep runs one part over and over until it is done or ctx ends.
func (g *Group) keep(ctx context.Context, state *State, p Part) {
	pause := firstPause
	for {
		began := g.cfg.Clock.Now()
		err := p.Run(ctx)
		if ctx.Err() != nil {
			if err != nil && !errors.Is(err, context.Canceled) {
				g.cfg.Logger.Warn("a part failed while it was stopped", "part", p.Name, "error", err)
			}
			return
		}
		if err == nil {
			g.set(state, func(s *State) { s.Phase = Done })
			return
		}
		if g.cfg.Clock.Since(began) >= steadyAfter {
			pause = firstPause
		}
		g.cfg.Logger.Error("a part failed and will be started again", "part", p.Name, "after", pause, "error", err)
		g.set(state, func(s *State) { s.Phase, s.Error = Failed, err.Error() })
		select {
		case <-ctx.Done():
			return
		case <-g.cfg.Clock.After(pause):
		}
		pause = min(2*pause, longestWait)
		g.set(state, func(s *State) { s.Phase, s.Restarts = Running, s.Restarts+1 })
	}
}

func (g *Group) set(state *State, change func(*State)) {
	g.mu.Lock()
	change(state)
	state.Since = g.cfg.Clock.Now()
	is := *state
	g.mu.Unlock()
	if g.cfg.Changed != nil {
		g.cfg.Changed(is)
	}
}
