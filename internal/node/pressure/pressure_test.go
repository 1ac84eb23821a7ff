package pressure

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	testclock "k8s.io/utils/clock/testing"

	"minato/internal/node/evict"
	"minato/internal/node/guard"
)

// fakeNode is a node with a disk and memory.
type fakeNode struct {
	seen      evict.Observations
	pods      map[string]int64 // what they use, by name
	gone      map[types.UID]bool
	refuses   map[types.UID]bool
	evicted   []string
	evictions []Eviction
	reclaimed int
	reclaim   func()
	told      []string
	changed   int
	err       error
}

func (f *fakeNode) Evict(uid types.UID, e Eviction) bool {
	if f.refuses[uid] {
		return false
	}
	f.evicted, f.evictions = append(f.evicted, string(uid)), append(f.evictions, e)
	return true
}

func (f *fakeNode) Gone(uid types.UID) bool { return f.gone[uid] }

func (f *fakeNode) measure(context.Context, evict.Signal) ([]evict.Usage, error) {
	var out []evict.Usage
	for name, used := range f.pods {
		p := &v1.Pod{}
		p.Name, p.UID = name, types.UID(name)
		out = append(out, evict.Usage{Pod: p, Memory: used, Local: evict.Disk{Bytes: used}})
	}
	return out, f.err
}

func manager(t *testing.T, f *fakeNode, s evict.Settings, change func(*Config)) (*Manager, *testclock.FakeClock) {
	t.Helper()
	all, err := s.Thresholds()
	if err != nil {
		t.Fatal(err)
	}
	clk := testclock.NewFakeClock(time.Unix(1000, 0))
	cfg := Config{
		Thresholds: all, Transition: time.Minute, MaxGrace: 5, Evictor: f, Clock: clk, Logger: slog.New(slog.DiscardHandler),
		Observe: func(context.Context) (evict.Observations, error) { return f.seen, f.err },
		Measure: f.measure, Apart: func() bool { return false },
		Reclaim: func(context.Context, evict.Signal) error {
			f.reclaimed++
			if f.reclaim != nil {
				f.reclaim()
			}
			return nil
		},
		Able: func(p *v1.Pod) bool { return p.Name != "critical" }, Shared: func(evict.Signal) bool { return true },
		Tell:    func(reason, message string) { f.told = append(f.told, reason+": "+message) },
		Changed: func() { f.changed++ },
	}
	if change != nil {
		change(&cfg)
	}
	return New(cfg), clk
}

func check(t *testing.T, m *Manager, f *fakeNode, want ...string) {
	t.Helper()
	if err := m.check(t.Context()); !errors.Is(err, f.err) {
		t.Fatalf("error %v, want %v", err, f.err)
	}
	if !slices.Equal(f.evicted, want) {
		t.Errorf("evicted %q, want %q", f.evicted, want)
	}
}

func TestOnePodIsEvictedAtATime(t *testing.T) {
	f := &fakeNode{
		seen: evict.Observations{evict.MemoryAvailable: {Available: 100, Capacity: 1000}},
		pods: map[string]int64{"critical": 900, "large": 500, "middle": 100, "small": 10, "other's": 700}, gone: map[types.UID]bool{}, refuses: map[types.UID]bool{"other's": true},
	}
	m, clk := manager(t, f, evict.Settings{Hard: map[string]string{"memory.available": "100"}}, nil)
	check(t, m, f) // there is enough
	if len(m.Conditions()) != 0 || f.changed != 0 || len(f.told) != 0 {
		t.Errorf("conditions %v, changed %d times, told %q", m.Conditions(), f.changed, f.told)
	}
	f.seen[evict.MemoryAvailable] = evict.Observation{Available: 99, Capacity: 1000}
	check(t, m, f, "large")
	if !slices.Equal(m.Conditions(), []v1.NodeConditionType{v1.NodeMemoryPressure}) || f.changed != 1 {
		t.Errorf("conditions %v, changed %d times", m.Conditions(), f.changed)
	}
	if e := f.evictions[0]; e.Reason != "Evicted" || !strings.HasPrefix(e.Message, "The node was low on resource: memory.") || e.Grace != 1 {
		t.Errorf("eviction: %+v", e)
	}
	if !slices.Equal(f.told, []string{"EvictionThresholdMet: Attempting to reclaim memory"}) {
		t.Errorf("told %q", f.told)
	}
	check(t, m, f, "large") // it has not given its memory back yet
	f.gone["large"], f.refuses["large"] = true, true
	check(t, m, f, "large", "middle")
	clk.Step(patience) // a Pod that does not end keeps no other one on the node
	f.refuses["middle"] = true
	check(t, m, f, "large", "middle", "small")
	if f.reclaimed != 0 {
		t.Error("images are removed though it is memory that the node lacks")
	}
}

func TestTheDiskIsClearedFirst(t *testing.T) {
	f := &fakeNode{seen: evict.Observations{evict.NodeFsAvailable: {Available: 50, Capacity: 1000}}, pods: map[string]int64{"a": 1}}
	f.reclaim = func() { f.seen = evict.Observations{evict.NodeFsAvailable: {Available: 119, Capacity: 1000}} }
	s := evict.Settings{Hard: map[string]string{"nodefs.available": "10%"}, MinimumReclaim: map[string]string{"nodefs.available": "20"}}
	m, _ := manager(t, f, s, nil)
	check(t, m, f, "a") // the minimum reclaim is not reached by that
	f.evicted = nil
	f.reclaim = func() { f.seen = evict.Observations{evict.NodeFsAvailable: {Available: 120, Capacity: 1000}} }
	f.seen = evict.Observations{evict.NodeFsAvailable: {Available: 50, Capacity: 1000}}
	m, _ = manager(t, f, s, nil)
	check(t, m, f)
	// Nor where something else can't be measured.
	f.err = errors.New("no statistics of the processes")
	f.seen = evict.Observations{evict.NodeFsAvailable: {Available: 50, Capacity: 1000}}
	check(t, m, f)
	f.err = nil
	if f.reclaimed != 3 || !slices.Equal(m.Conditions(), []v1.NodeConditionType{v1.NodeDiskPressure}) {
		t.Errorf("reclaimed %d times, conditions %v", f.reclaimed, m.Conditions())
	}
}

// Past a soft threshold a Pod has its own grace period, within bounds.
func TestSoftThresholds(t *testing.T) {
	f := &fakeNode{seen: evict.Observations{evict.MemoryAvailable: {Available: 50, Capacity: 1000}}, pods: map[string]int64{"a": 1}}
	s := evict.Settings{Soft: map[string]string{"memory.available": "100"}, SoftGracePeriod: map[string]string{"memory.available": "30s"}}
	m, clk := manager(t, f, s, nil)
	check(t, m, f)
	clk.Step(30 * time.Second)
	check(t, m, f, "a")
	if f.evictions[0].Grace != 5 {
		t.Errorf("grace %d, want evictionMaxPodGracePeriod", f.evictions[0].Grace)
	}
}

// Of nodes that share a disk one evicts at a time.
func TestTurn(t *testing.T) {
	turn := make(chan struct{}, 1)
	node := func() (*Manager, *fakeNode) {
		f := &fakeNode{seen: evict.Observations{evict.NodeFsAvailable: {Available: 1, Capacity: 1000}}, pods: map[string]int64{"a": 1}, gone: map[types.UID]bool{}}
		m, _ := manager(t, f, evict.Settings{Hard: map[string]string{"nodefs.available": "10%"}}, func(c *Config) { c.Turn = turn })
		return m, f
	}
	m1, f1 := node()
	m2, f2 := node()
	check(t, m1, f1, "a")
	check(t, m2, f2) // the first one's may be enough
	f1.gone["a"] = true
	f1.seen = evict.Observations{}
	check(t, m1, f1, "a")
	check(t, m2, f2, "a")
	f2.gone["a"] = true
	f2.pods = nil
	check(t, m2, f2, "a")
	if len(turn) != 0 {
		t.Error("the turn is kept by a node that evicts none")
	}
}

// A node that panics leaves the turn to the others.
func TestTurnAfterAPanic(t *testing.T) {
	turn := make(chan struct{}, 1)
	f := &fakeNode{seen: evict.Observations{evict.MemoryAvailable: {Available: 1, Capacity: 1000}}}
	m, _ := manager(t, f, evict.Settings{Hard: map[string]string{"memory.available": "10%"}}, func(c *Config) {
		c.Turn, c.Measure = turn, func(context.Context, evict.Signal) ([]evict.Usage, error) { panic("a fault") }
	})
	if err := guard.Do("check", func() error { return m.check(t.Context()) }); guard.Stack(err) == nil {
		t.Fatalf("error %v, want a panic", err)
	}
	if len(turn) != 0 || m.turn {
		t.Error("the turn is kept")
	}
}

// What can't be measured evicts nobody, and what can is acted on.
func TestErrors(t *testing.T) {
	f := &fakeNode{seen: evict.Observations{}, err: errors.New("no statistics"), pods: map[string]int64{"a": 1}}
	m, _ := manager(t, f, evict.Settings{Hard: map[string]string{"memory.available": "100"}}, nil)
	check(t, m, f)
	f.seen[evict.MemoryAvailable] = evict.Observation{Available: 1, Capacity: 1000}
	check(t, m, f, "a")
}
