package supervise

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"
)

// eventually polls until ok, for five seconds at most.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(5 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("not within 5 s: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

func start(t *testing.T, g *Group, parts ...Part) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		g.Run(ctx, parts...)
	}()
	stop = func() {
		cancel()
		select {
		case <-ended:
		case <-time.After(5 * time.Second):
			t.Error("Run has not returned 5 s after its context ended")
		}
	}
	t.Cleanup(stop)
	eventually(t, "every part has a state", func() bool { return len(g.States()) == len(parts) })
	return stop
}

func until(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

func TestAFailedPartIsStartedAgainAndOthersGoOn(t *testing.T) {
	clk := clocktesting.NewFakeClock(time.Unix(1000, 0))
	g := New(Config{Clock: clk})
	var starts, others atomic.Int32
	stop := start(t, g,
		Part{"steady", func(ctx context.Context) error { others.Add(1); return until(ctx) }},
		Part{"port", func(ctx context.Context) error {
			if starts.Add(1) <= 3 {
				return errors.New("address in use")
			}
			return until(ctx)
		}},
	)
	for i, pause := range []time.Duration{firstPause, 2 * firstPause, 4 * firstPause} {
		eventually(t, "the part waits for its next start", func() bool {
			s := g.States()[1]
			return s.Phase == Failed && clk.HasWaiters() && starts.Load() == int32(i+1)
		})
		if s := g.States()[1]; s.Error != "address in use" || s.Restarts != i {
			t.Errorf("state after failure %d: %+v", i+1, s)
		}
		clk.Step(pause - time.Millisecond)
		if starts.Load() != int32(i+1) {
			t.Errorf("started again before the pause of %s was over", pause)
		}
		clk.Step(time.Millisecond)
	}
	eventually(t, "the part runs again", func() bool { return g.States()[1].Phase == Running && starts.Load() == 4 })
	if s := g.States()[1]; s.Restarts != 3 || s.Error != "address in use" {
		t.Errorf("state of the part that runs again: %+v", s)
	}
	if s := g.States()[0]; s.Name != "steady" || s.Phase != Running || s.Restarts != 0 || others.Load() != 1 {
		t.Errorf("the other part: %+v, started %d times", s, others.Load())
	}
	stop()
	if starts.Load() != 4 {
		t.Errorf("a stopped part was started again")
	}
}

func TestBackOffStartsOverAfterASteadyRun(t *testing.T) {
	clk := clocktesting.NewFakeClock(time.Unix(1000, 0))
	g := New(Config{Clock: clk})
	fail := make(chan struct{})
	var starts atomic.Int32
	start(t, g, Part{"part", func(ctx context.Context) error {
		starts.Add(1)
		select {
		case <-fail:
			return errors.New("failed")
		case <-ctx.Done():
			return nil
		}
	}})
	for i, step := range []struct{ ran, pause time.Duration }{
		{0, firstPause}, {0, 2 * firstPause}, {steadyAfter, firstPause}, {0, 2 * firstPause},
	} {
		eventually(t, "the part runs", func() bool { return starts.Load() == int32(i+1) })
		clk.Step(step.ran)
		fail <- struct{}{}
		eventually(t, "the part waits", func() bool { return g.States()[0].Phase == Failed && clk.HasWaiters() })
		clk.Step(step.pause - 1)
		if !clk.HasWaiters() {
			t.Fatalf("run %d: the pause was shorter than %s", i+1, step.pause)
		}
		clk.Step(1)
	}
}

func TestAPartThatIsDoneIsNotStartedAgain(t *testing.T) {
	var changes []State
	changed := make(chan State, 10)
	g := New(Config{Changed: func(s State) { changed <- s }})
	g.Run(context.Background(), Part{"once", func(context.Context) error { return nil }})
	close(changed)
	for s := range changed {
		changes = append(changes, s)
	}
	if len(changes) != 1 || changes[0].Phase != Done || g.States()[0].Phase != Done {
		t.Errorf("changes %+v, states %+v; want one part that is done", changes, g.States())
	}
}

func TestForget(t *testing.T) {
	g := New(Config{})
	stop := start(t, g, Part{"stays", until})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		g.Run(ctx, Part{"goes", until})
	}()
	eventually(t, "the second part has a state", func() bool { return len(g.States()) == 2 })
	cancel()
	<-ended
	g.Forget("goes")
	if s := g.States(); len(s) != 1 || s[0].Name != "stays" || s[0].Phase != Running {
		t.Errorf("states: %+v", s)
	}
	stop()
}

func TestAPartCanBeStartedAgain(t *testing.T) {
	clk := clocktesting.NewFakeClock(time.Unix(1000, 0))
	g := New(Config{Clock: clk})
	var starts atomic.Int32
	fail := make(chan struct{})
	start(t, g,
		Part{"other", until},
		Part{"part", func(ctx context.Context) error {
			starts.Add(1)
			select {
			case <-ctx.Done():
				return nil // as one that ends well
			case <-fail:
				return errors.New("failed")
			}
		}},
	)
	eventually(t, "the part runs", func() bool { return starts.Load() == 1 })
	if err := g.Restart("part"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the part runs again", func() bool { return starts.Load() == 2 && g.States()[1].Restarts == 1 })
	if s := g.States()[1]; s.Phase != Running || s.Error != "" {
		t.Errorf("state of the part that was started again: %+v", s)
	}
	// One that waits after a failure waits no longer.
	fail <- struct{}{}
	eventually(t, "the part waits", func() bool { return g.States()[1].Phase == Failed && clk.HasWaiters() })
	if err := g.Restart("part"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the part runs without a step of the clock", func() bool { return starts.Load() == 3 && g.States()[1].Phase == Running })
	if s := g.States()[0]; s.Restarts != 0 {
		t.Errorf("the other part: %+v", s)
	}
	if err := g.Restart("nobody"); !errors.Is(err, ErrNoPart) {
		t.Errorf("a part that there is not: %v", err)
	}
}
