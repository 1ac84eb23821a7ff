package usage

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"testing"
	"time"

	"k8s.io/utils/clock"
	testingclock "k8s.io/utils/clock/testing"
)

// jumpingClock passes the time that somebody waits for at once.
type jumpingClock struct{ *testingclock.FakeClock }

func newClock() jumpingClock { return jumpingClock{testingclock.NewFakeClock(epoch)} }

// NewTimer implements clock.Clock.
func (c jumpingClock) NewTimer(d time.Duration) clock.Timer {
	t := c.FakeClock.NewTimer(d)
	c.Step(d)
	return t
}

// scene is a sampler of one node whose container began at some second.
type scene struct {
	*sampler
	clock jumpingClock
	began float64
	err   error
	asked []float64 // when
}

func newScene() *scene {
	s := &scene{clock: newClock()}
	s.sampler = newSampler(func(context.Context, string) (sample, error) {
		at := s.clock.Since(epoch).Seconds()
		s.asked = append(s.asked, at)
		return steady(at, s.began), s.err
	}, s.clock, slog.New(slog.DiscardHandler))
	return s
}

func (s *scene) at(t *testing.T, second float64) history {
	t.Helper()
	s.clock.SetTime(after(second))
	h, err := s.history(t.Context(), "node-1", func(h history) bool {
		_, ok := h.podRates(podKey{"default", "web"})
		return ok
	})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestSamplesAreTakenForThoseWhoAsk(t *testing.T) {
	for _, test := range []struct {
		name  string
		began float64
		ask   []float64
		asked []float64
	}{
		{"once", 0, []float64{10}, []float64{10, 11}},
		{"twice in a row", 0, []float64{10, 12}, []float64{10, 11}},
		{"every quarter of a minute", 0, []float64{10, 25, 40}, []float64{10, 11, 25, 40}},
		{"by several every quarter of a minute", 0, []float64{10, 25, 25.1, 40, 40.2}, []float64{10, 11, 25, 40}},
		{"after a long pause", 0, []float64{10, 100}, []float64{10, 11, 100, 101}},
		{"for a container that just began", 26, []float64{10, 26.5}, []float64{10, 11, 12, 26.5, 27.5}},
		{"for one that began a moment after a sample", 12.5, []float64{10, 13}, []float64{10, 11, 12, 13, 14}},
		{"for one that never comes", 1000, []float64{10}, []float64{10, 11, 12}},
	} {
		s := newScene()
		s.began = test.began
		for _, second := range test.ask {
			s.at(t, second)
		}
		if !slices.Equal(s.asked, test.asked) {
			t.Errorf("%s: the node was asked at %v, want %v", test.name, s.asked, test.asked)
		}
	}
}

func TestNodeThatDoesNotAnswer(t *testing.T) {
	s := newScene()
	s.err = errors.New("connection refused")
	if h := s.at(t, 10); h != nil {
		t.Errorf("a node that doesn't answer has %v", h)
	}
	s.at(t, 15)
	if len(s.asked) != 1 {
		t.Errorf("the node was asked at %v, though it had just failed", s.asked)
	}
	s.err = nil
	if _, ok := s.at(t, 21).nodeRate(); !ok {
		t.Error("the node has no rate after it came back")
	}
}

func TestSamplesAreForgotten(t *testing.T) {
	s := newScene()
	s.at(t, 10)
	s.clock.SetTime(after(12).Add(keep))
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.nodes) != 0 {
		t.Error("samples are kept though nobody asks")
	}
}

func TestWhoAsksCanLeave(t *testing.T) {
	s := newScene()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s.ask = func(ctx context.Context, _ string) (sample, error) { return sample{}, ctx.Err() }
	if _, err := s.history(ctx, "node-1", func(history) bool { return true }); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	s.ask = func(context.Context, string) (sample, error) { return steady(1, 0), nil }
	if h := s.at(t, 10); h == nil {
		t.Errorf("the next who asks gets %v", h)
	}
}
