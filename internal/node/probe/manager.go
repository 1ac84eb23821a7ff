package probe

import (
	"context"
	"log/slog"
	"net"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/clock"

	"minato/internal/node/guard"
)

// Executor runs a command in a container.
type Executor interface {
	ExecSync(ctx context.Context, containerID string, cmd []string, timeout time.Duration) (stdout, stderr []byte, err error)
}

// Config is what a Manager needs.
type Config struct {
	Exec Executor
	// Dial connects from where the node's probes come.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Changed is called, without locks held, when a container's Health changed.
	Changed func(uid types.UID)
	Events  record.EventRecorder
	// Metrics counts the attempts; nil counts them for nobody.
	Metrics *Metrics
	Clock   clock.WithTicker
	Logger  *slog.Logger
}

// Target is one run of a container.
type Target struct {
	Pod         *v1.Pod
	Container   *v1.Container
	ContainerID string
	StartedAt   time.Time
	PodIP       string
	// WasReady is what the API says of this very run: after a restart of the
	// node agent a container stays ready until a probe says otherwise.
	WasReady, WasStarted bool
}

// Health is what the probes of a running container say. Without a probe a
// container counts as started, ready and alive.
type Health struct {
	Started, Ready bool
	// Dead says that the container must be restarted: its liveness probe has
	// failed, or, with StartupFailed, its startup probe.
	Dead, StartupFailed bool
}

// Manager runs the probes of all containers.
type Manager struct {
	cfg Config

	mu   sync.Mutex
	runs map[string]*run               // by container ID
	pods map[types.UID]map[string]*run // the same, of each Pod
	// counted are the Pods of which attempts are counted, until Remove.
	counted map[types.UID]*v1.Pod
	wg      sync.WaitGroup
}

// run are the probes of one run of a container.
type run struct {
	target  Target
	cancel  context.CancelFunc
	alive   context.CancelFunc // ends liveness and startup probes only
	started chan struct{}      // closed once the startup probe has succeeded
	health  Health
}

// New returns a manager without probes.
func New(cfg Config) *Manager {
	if cfg.Clock == nil {
		cfg.Clock = clock.RealClock{}
	}
	if cfg.Metrics == nil {
		cfg.Metrics = NewMetrics()
	}
	return &Manager{cfg: cfg, counted: map[types.UID]*v1.Pod{}, runs: map[string]*run{}, pods: map[types.UID]map[string]*run{}}
}

// Ensure starts the probes of a running container unless they run.
func (m *Manager) Ensure(ctx context.Context, t Target) {
	c := t.Container
	if c.ReadinessProbe == nil && c.LivenessProbe == nil && c.StartupProbe == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.runs[t.ContainerID] != nil {
		return
	}
	r := &run{target: t, started: make(chan struct{})}
	r.health = Health{Started: c.StartupProbe == nil || t.WasStarted, Ready: c.ReadinessProbe == nil || t.WasReady}
	m.runs[t.ContainerID] = r
	m.counted[t.Pod.UID] = t.Pod
	if m.pods[t.Pod.UID] == nil {
		m.pods[t.Pod.UID] = map[string]*run{}
	}
	m.pods[t.Pod.UID][t.ContainerID] = r
	ctx, r.cancel = context.WithCancel(ctx)
	alive, cancel := context.WithCancel(ctx)
	r.alive = cancel
	if r.health.Started {
		close(r.started)
	}
	m.start(alive, r, startup, c.StartupProbe)
	m.start(alive, r, liveness, c.LivenessProbe)
	m.start(ctx, r, readiness, c.ReadinessProbe)
}

func (m *Manager) start(ctx context.Context, r *run, k kind, p *v1.Probe) {
	if p == nil || (k == startup && r.health.Started) {
		return
	}
	m.wg.Add(1)
	go func() {
		defer m.wg.Done()
		m.guarded(ctx, r, k, p)
	}()
}

// panicPause is how long a probe rests after a panic before it begins anew.
const panicPause = 10 * time.Second

// guarded repeats one probe until ctx ends or it has nothing more to ask. A
// panic counts as no answer: an event tells of it, and the probe begins anew.
func (m *Manager) guarded(ctx context.Context, r *run, k kind, p *v1.Probe) {
	for pause := panicPause; ; pause = min(2*pause, 30*panicPause) {
		l := &loop{m: m, run: r, kind: k, spec: p}
		err := guard.Do(string(k)+" probe", func() error { l.work(ctx); return nil })
		if err == nil {
			return
		}
		t := &r.target
		m.cfg.Logger.Error("the node agent panicked in a probe; will try again", "pod", t.Pod.Name, "namespace", t.Pod.Namespace,
			"container", t.Container.Name, "error", err, "stack", string(guard.Stack(err)))
		l.event("ProbeError", err.Error())
		if !l.pause(ctx, pause) {
			return
		}
	}
}

// Health returns what is known of a running container.
func (m *Manager) Health(containerID string) Health {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.runs[containerID]
	if r == nil {
		return Health{Started: true, Ready: true}
	}
	h := r.health
	h.Ready = h.Ready && h.Started
	return h
}

// Keep ends the probes of those runs of the Pod's containers that are not
// among the given IDs.
func (m *Manager) Keep(uid types.UID, containerIDs map[string]bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for id, r := range m.pods[uid] {
		if !containerIDs[id] {
			r.cancel()
			delete(m.runs, id)
			delete(m.pods[uid], id)
		}
	}
	if len(m.pods[uid]) == 0 {
		delete(m.pods, uid)
	}
}

// Terminating ends the probes that could restart a container of the Pod.
// Readiness goes on: load balancers ask for it until the last moment.
func (m *Manager) Terminating(uid types.UID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range m.pods[uid] {
		r.alive()
	}
}

// Remove ends all probes of the Pod.
func (m *Manager) Remove(uid types.UID) {
	m.Keep(uid, nil)
	m.mu.Lock()
	defer m.mu.Unlock()
	if pod := m.counted[uid]; pod != nil {
		m.cfg.Metrics.forget(pod)
		delete(m.counted, uid)
	}
}

// count counts one attempt, unless the Pod has been removed meanwhile.
func (m *Manager) count(k kind, t *Target, passed bool, took time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.counted[t.Pod.UID] != nil {
		m.cfg.Metrics.observe(k, t, passed, took)
	}
}

// Close ends all probes and waits for them.
func (m *Manager) Close() {
	m.mu.Lock()
	for id, r := range m.runs {
		r.cancel()
		delete(m.runs, id)
	}
	clear(m.pods)
	m.mu.Unlock()
	m.wg.Wait()
}

// update changes a run's health and tells if that made a difference.
func (m *Manager) update(r *run, change func(*Health)) {
	m.mu.Lock()
	before := r.health
	change(&r.health)
	after := r.health
	if !before.Started && after.Started {
		close(r.started)
	}
	current := m.runs[r.target.ContainerID] == r
	m.mu.Unlock()
	if current && before != after {
		m.cfg.Changed(r.target.Pod.UID)
	}
}
