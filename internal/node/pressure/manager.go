package pressure

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"

	"minato/internal/node/evict"
	"minato/internal/node/guard"
)

const (
	// Period is how often the node is looked at, the kubelet's.
	Period = 10 * time.Second
	// patience is how long the next eviction waits for the Pod of the one before to
	// be gone, kubelet's podCleanupTimeout.
	patience = 30 * time.Second
	// hardGrace is what a Pod has to end in when a hard threshold was crossed, in
	// seconds, the kubelet's: until then it may use still more.
	hardGrace = 1
	// defaultGrace is what a Pod has that does not say.
	defaultGrace = 30
)

// Eviction is how a Pod is ended, and why.
type Eviction struct {
	Reason, Message string
	// Annotations are those of the event.
	Annotations map[string]string
	// Grace is what the Pod has to end in, in seconds, unless it has less.
	Grace int64
}

// Evictor ends Pods.
type Evictor interface {
	// Evict ends a Pod for the sake of others on its node: its phase becomes Failed
	// with the reason and message, it has the condition DisruptionTarget, and an
	// event of type Warning says the same. It does not wait, and returns false where
	// the node does not run the Pod or has evicted it before.
	Evict(uid types.UID, e Eviction) bool
	// Gone tells whether nothing of a Pod runs.
	Gone(uid types.UID) bool
}

// Config is what a Manager needs.
type Config struct {
	Thresholds []evict.Threshold
	// Transition is how long a condition stays after its cause, MaxGrace what a Pod
	// has at most to end in when a soft threshold was crossed, in seconds.
	Transition time.Duration
	MaxGrace   int64
	// Observe tells what is left, and Measure what Pods use of what a signal is
	// about. Both may give a part of an answer along with an error.
	Observe func(ctx context.Context) (evict.Observations, error)
	Measure func(ctx context.Context, s evict.Signal) ([]evict.Usage, error)
	// Apart tells whether images have a disk of their own.
	Apart func() bool
	// Reclaim frees space on the disk that a signal is about, without ending a Pod.
	Reclaim func(ctx context.Context, s evict.Signal) error
	// Able tells whether a Pod may be evicted.
	Able    func(pod *v1.Pod) bool
	Evictor Evictor
	// Shared tells whether what a signal is about is shared with other nodes of the
	// machine. Then Turn, of capacity 1, has one of the nodes evict a Pod at a time;
	// nil has all of them do so.
	Shared func(s evict.Signal) bool
	Turn   chan struct{}
	// Tell records an event of type Warning about the node. Changed is called when
	// Conditions has changed.
	Tell    func(reason, message string)
	Changed func()
	Clock   clock.WithTicker
	Logger  *slog.Logger
}

// Manager looks after one node.
type Manager struct {
	cfg Config

	mu         sync.Mutex
	state      evict.State
	conditions []v1.NodeConditionType

	// The rest belongs to Run.
	evicted types.UID // the Pod that was evicted last and may not be gone yet
	since   time.Time // when that was
	turn    bool      // the turn is held
	told    string    // the trouble that was logged last
}

// New returns a manager that has looked at nothing yet.
func New(cfg Config) *Manager {
	if cfg.Clock == nil {
		cfg.Clock = clock.RealClock{}
	}
	return &Manager{cfg: cfg}
}

// Conditions are those of the node about pressure that are true, sorted.
func (m *Manager) Conditions() []v1.NodeConditionType {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.conditions)
}

// Look brings Conditions up to date, and returns what has to be done. What can't
// be measured is in the error and counts as sufficient.
func (m *Manager) Look(ctx context.Context) (evict.Finding, error) {
	seen, err := m.cfg.Observe(ctx)
	m.mu.Lock()
	before := m.conditions
	var found evict.Finding
	m.state, found = evict.Look(m.cfg.Thresholds, m.cfg.Transition, m.state, seen, m.cfg.Clock.Now())
	m.conditions = found.Conditions
	m.mu.Unlock()
	if !slices.Equal(before, found.Conditions) && m.cfg.Changed != nil {
		m.cfg.Changed()
	}
	return found, err
}

// Run looks after the node until ctx ends.
func (m *Manager) Run(ctx context.Context) error {
	tick := m.cfg.Clock.NewTicker(Period)
	defer tick.Stop()
	defer m.release()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C():
		}
		err := guard.Do("look what the node has left", func() error { return m.check(ctx) })
		if ctx.Err() == nil {
			m.complain(err)
		}
	}
}

// complain logs an error once for as long as it is the same.
func (m *Manager) complain(err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text == m.told {
		return
	}
	m.told = text
	if stack := guard.Stack(err); stack != nil {
		m.cfg.Logger.Error("the node agent panicked while it looked what the node has left", "error", err, "stack", string(stack))
	} else if err != nil {
		m.cfg.Logger.Warn("something of what the node has left, or of what Pods use, cannot be measured or freed", "error", err)
	}
}

// check acts on what the node lacks.
func (m *Manager) check(ctx context.Context) error {
	defer func() { // a panic must not keep the turn from the other nodes
		if m.evicted == "" {
			m.release()
		}
	}()
	found, err := m.Look(ctx)
	if m.waits() || len(found.Starved) == 0 {
		return err
	}
	first := found.Starved[0]
	signal := first.Threshold.Signal
	m.cfg.Tell("EvictionThresholdMet", "Attempting to reclaim "+string(signal.Resource()))
	if signal.Disk() {
		err = errors.Join(err, m.cfg.Reclaim(ctx, signal))
		// Something else that can't be measured is no reason to evict a Pod.
		seen, _ := m.cfg.Observe(ctx)
		if _, measured := seen[signal]; measured && evict.Enough(m.cfg.Thresholds, seen) {
			m.cfg.Logger.Info("the node's disk has enough room again without the eviction of a pod", "signal", signal)
			return err
		}
	}
	if !m.take(signal) {
		return err // another node of this machine is about to give back what is shared
	}
	used, errUsed := m.cfg.Measure(ctx, signal)
	if !m.evict(first, used) {
		m.cfg.Logger.Warn("the node lacks something, and has no pod to evict", "signal", signal, "available", first.Available, "threshold", first.Least)
	}
	return errors.Join(err, errUsed)
}

// waits tells whether what an evicted Pod uses is on its way back.
func (m *Manager) waits() bool {
	if m.evicted == "" {
		return false
	}
	if !m.cfg.Evictor.Gone(m.evicted) && m.cfg.Clock.Since(m.since) < patience {
		return true
	}
	m.evicted = ""
	m.release()
	return false
}

func (m *Manager) take(s evict.Signal) bool {
	if m.cfg.Turn == nil || m.turn || !m.cfg.Shared(s) {
		return true
	}
	select {
	case m.cfg.Turn <- struct{}{}:
		m.turn = true
		return true
	default:
		return false
	}
}

func (m *Manager) release() {
	if m.turn {
		<-m.cfg.Turn
		m.turn = false
	}
}

// evict has the first Pod evicted that may be.
func (m *Manager) evict(crossed evict.Crossed, used []evict.Usage) bool {
	used = slices.DeleteFunc(used, func(u evict.Usage) bool { return !m.cfg.Able(u.Pod) })
	for _, c := range evict.Rank(crossed.Threshold.Signal, m.cfg.Apart(), used) {
		message, annotations := evict.Message(crossed, c.Usage)
		e := Eviction{Reason: evict.Reason, Message: message, Annotations: annotations, Grace: m.grace(crossed.Threshold, c.Pod)}
		if !m.cfg.Evictor.Evict(c.Pod.UID, e) {
			continue
		}
		m.cfg.Logger.Warn("a pod is evicted, because the node lacks something", "pod", c.Pod.Name, "namespace", c.Pod.Namespace,
			"signal", crossed.Threshold.Signal, "available", crossed.Available, "threshold", crossed.Least, "reason", c.Reason)
		m.evicted, m.since = c.Pod.UID, m.cfg.Clock.Now()
		return true
	}
	return false
}

// grace is what the Pod has to end in, in seconds.
func (m *Manager) grace(t evict.Threshold, pod *v1.Pod) int64 {
	if !t.Soft {
		return hardGrace
	}
	grace := int64(defaultGrace)
	if pod.Spec.TerminationGracePeriodSeconds != nil {
		grace = *pod.Spec.TerminationGracePeriodSeconds
	}
	return min(grace, m.cfg.MaxGrace)
}
