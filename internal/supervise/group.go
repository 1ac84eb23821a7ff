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
	// Within runs each run of a part, in the part's goroutine; nil just runs it.
	Within func(ctx context.Context, part string, run func(context.Context) error) error
	// Clock is the machine's if nil.
	Clock  clock.Clock
	Logger *slog.Logger
}

// running is one part of a group. The group's lock guards it.
type running struct {
	State
	end context.CancelFunc // of the part's run, or of its pause after it failed
}

// Group runs parts.
type Group struct {
	cfg Config

	mu      sync.Mutex
	running []*running // in the order of the parts
}

// New returns a Group that runs nothing yet.
func New(cfg Config) *Group {
	if cfg.Clock == nil {
		cfg.Clock = clock.RealClock{}
	}
	if cfg.Within == nil {
		cfg.Within = func(ctx context.Context, _ string, run func(context.Context) error) error { return run(ctx) }
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
		r := g.add(p.Name)
		wg.Go(func() { g.keep(ctx, r, p) })
	}
	wg.Wait()
}

// States returns the state of every part, in the order in which they were given
// to Run.
func (g *Group) States() []State {
	g.mu.Lock()
	defer g.mu.Unlock()
	out := make([]State, 0, len(g.running))
	for _, r := range g.running {
		out = append(out, r.State)
	}
	return out
}

// Forget drops the state of the parts of that name, which have returned.
func (g *Group) Forget(name string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.running = slices.DeleteFunc(g.running, func(r *running) bool { return r.Name == name })
}

// ErrNoPart says that there is no part of that name, or that it is done.
var ErrNoPart = errors.New("there is no such part, or it is done")

// Restart ends a part, which is started again at once. It does not wait for that.
func (g *Group) Restart(name string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, r := range g.running {
		if r.Name == name && r.Phase != Done && r.end != nil {
			r.end()
			return nil
		}
	}
	return ErrNoPart
}

func (g *Group) add(name string) *running {
	g.mu.Lock()
	defer g.mu.Unlock()
	r := &running{State: State{Name: name, Phase: Running, Since: g.cfg.Clock.Now()}}
	g.running = append(g.running, r)
	return r
}

// keep runs one part over and over until it is done or ctx ends.
func (g *Group) keep(ctx context.Context, r *running, p Part) {
	pause := firstPause
	for {
		began := g.cfg.Clock.Now()
		run, end := g.begin(ctx, r)
		err := g.cfg.Within(run, p.Name, p.Run)
		asked := run.Err() != nil
		if ctx.Err() != nil {
			end()
			if err != nil && !errors.Is(err, context.Canceled) {
				g.cfg.Logger.Warn("a part failed while it was stopped", "part", p.Name, "error", err)
			}
			return
		}
		if asked {
			end()
			pause = firstPause
			g.cfg.Logger.Info("a part was told to end and is started again", "part", p.Name)
			g.set(r, func(s *State) { s.Restarts, s.Error = s.Restarts+1, "" })
			continue
		}
		if err == nil {
			end()
			g.set(r, func(s *State) { s.Phase = Done })
			return
		}
		if g.cfg.Clock.Since(began) >= steadyAfter {
			pause = firstPause
		}
		g.cfg.Logger.Error("a part failed and will be started again", "part", p.Name, "after", pause, "error", err)
		g.set(r, func(s *State) { s.Phase, s.Error = Failed, err.Error() })
		select {
		case <-ctx.Done():
			end()
			return
		case <-run.Done():
		case <-g.cfg.Clock.After(pause):
		}
		end()
		pause = min(2*pause, longestWait)
		g.set(r, func(s *State) { s.Phase, s.Restarts = Running, s.Restarts+1 })
	}
}

// begin returns the context of a part's next run, and of the pause after it.
func (g *Group) begin(ctx context.Context, r *running) (context.Context, context.CancelFunc) {
	run, end := context.WithCancel(ctx)
	g.mu.Lock()
	defer g.mu.Unlock()
	r.end = end
	return run, end
}

func (g *Group) set(r *running, change func(*State)) {
	g.mu.Lock()
	change(&r.State)
	r.Since = g.cfg.Clock.Now()
	is := r.State
	g.mu.Unlock()
	if g.cfg.Changed != nil {
		g.cfg.Changed(is)
	}
}
