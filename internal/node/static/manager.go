package static

import (
	"context"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"

	"minato/internal/host"
)

// Pods are the workers of the node, one for each Pod.
type Pods interface {
	Update(pod *v1.Pod)
	Delete(pod *v1.Pod)
}

// Shown shows Pods at the API server.
type Shown interface {
	Show(pod *v1.Pod)
	Hide(pod *v1.Pod)
	// Taken tells whether the Pod's name is that of something else that is shown.
	Taken(pod *v1.Pod) bool
}

// Config is what a Manager needs.
type Config struct {
	// Root is the directory on the machine that holds the node's files, in which
	// Dir is looked up.
	Root   string
	Decode Decode
	Pods   Pods
	Shown  Shown
	Clock  clock.WithTicker
	Logger *slog.Logger
}

// Manager runs the static Pods.
type Manager struct {
	cfg    Config
	source source

	syncing sync.Mutex // held by one Sync at a time

	mu      sync.Mutex
	running map[string]*running // by namespace and name
	told    map[string]string   // complaints, each to be made once

	again chan struct{}
}

// running is a Pod that the node has a worker for.
type running struct {
	pod    *v1.Pod
	ending bool
}

// CheckPeriod is how often the directory is read although nobody said that it has
// changed: the kubelet's fileCheckFrequency.
const CheckPeriod = 20 * time.Second

// settleTime lets who writes several files, or one in several pieces, come to an end.
const settleTime = 50 * time.Millisecond

// New returns a Manager that runs nothing yet.
func New(cfg Config) *Manager {
	if cfg.Clock == nil {
		cfg.Clock = clock.RealClock{}
	}
	return &Manager{
		cfg: cfg, source: source{cfg.Root, cfg.Decode}, running: map[string]*running{}, told: map[string]string{},
		again: make(chan struct{}, 1),
	}
}

func key(pod *v1.Pod) string { return pod.Namespace + "/" + pod.Name }

// Sync brings what runs up to what the directory says.
func (m *Manager) Sync() {
	m.syncing.Lock()
	defer m.syncing.Unlock()
	pods, wrong, err := m.source.read()
	if err != nil {
		m.complain(Dir, err)
		return // what runs goes on
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.complainLocked(Dir, nil)
	for name, err := range wrong {
		m.complainLocked(name, err)
	}
	want := map[string]*v1.Pod{}
	for _, pod := range pods {
		if m.cfg.Shown.Taken(pod) {
			m.cfg.Logger.Warn("a static Pod is not run, because a part of the cluster has its name", "pod", pod.Name, "namespace", pod.Namespace)
			continue
		}
		want[key(pod)] = pod
	}
	for name, r := range m.running {
		if next := want[name]; (next == nil || next.UID != r.pod.UID) && !r.ending {
			m.end(r)
		}
	}
	for name, pod := range want {
		if m.running[name] == nil { // otherwise an earlier one has to end first
			m.running[name] = &running{pod: pod}
			m.cfg.Shown.Show(pod)
			m.cfg.Pods.Update(pod)
		}
	}
}

// end has a Pod end as one that is deleted at the API server does.
func (m *Manager) end(r *running) {
	r.ending = true
	pod := r.pod.DeepCopy()
	now := metav1.NewTime(m.cfg.Clock.Now())
	pod.DeletionTimestamp, pod.DeletionGracePeriodSeconds = &now, pod.Spec.TerminationGracePeriodSeconds
	m.cfg.Pods.Update(pod)
}

// Owns tells whether a Pod is a static one.
func (m *Manager) Owns(uid types.UID) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range m.running {
		if r.pod.UID == uid {
			return true
		}
	}
	return false
}

// Finished tells that nothing of a Pod that was to end runs any more.
func (m *Manager) Finished(pod *v1.Pod) {
	m.mu.Lock()
	r := m.running[key(pod)]
	done := r != nil && r.ending && r.pod.UID == pod.UID
	if done {
		delete(m.running, key(pod))
	}
	m.mu.Unlock()
	if !done {
		return
	}
	m.cfg.Shown.Hide(pod)
	m.cfg.Pods.Delete(pod)
	m.Look()
}

// Look has the directory read.
func (m *Manager) Look() {
	select {
	case m.again <- struct{}{}:
	default:
	}
}

// Prepare makes the directory.
func (m *Manager) Prepare() error { return m.source.prepare() }

// Run follows the directory until ctx ends. Sync has to be called before.
func (m *Manager) Run(ctx context.Context) error {
	w := &watcher{manager: m}
	defer w.close()
	tick := m.cfg.Clock.NewTicker(CheckPeriod)
	defer tick.Stop()
	for {
		w.follow()
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C():
		case <-m.again:
		case <-w.events():
			w.settle(ctx)
		}
		m.Sync()
	}
}

func (m *Manager) complain(what string, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.complainLocked(what, err)
}

func (m *Manager) complainLocked(what string, err error) {
	switch {
	case err == nil:
		delete(m.told, what)
	case m.told[what] != err.Error():
		m.told[what] = err.Error()
		m.cfg.Logger.Warn("a manifest of a static Pod can't be used", "file", what, "error", err)
	}
}

// watcher watches the directory, as it is at present.
type watcher struct {
	manager *Manager
	notify  *fsnotify.Watcher
	dir     os.FileInfo
}

func (w *watcher) events() <-chan fsnotify.Event {
	if w.notify == nil {
		return nil
	}
	return w.notify.Events
}

// settle waits until there are no more events.
func (w *watcher) settle(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.events():
		case <-w.manager.cfg.Clock.After(settleTime):
			return
		}
	}
}

// follow watches the directory, if it is another one than before. Without a watch, the
// directory is read now and then.
func (w *watcher) follow() {
	dir, err := w.manager.source.open()
	if err != nil {
		w.close()
		return
	}
	defer dir.Close()
	f, err := dir.Open(".")
	if err != nil {
		return
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || w.dir != nil && os.SameFile(info, w.dir) {
		return
	}
	w.close()
	if w.notify, err = fsnotify.NewWatcher(); err == nil {
		err = w.notify.Add(host.FilePath(f)) // the kernel watches the directory itself, not the name
	}
	if err != nil {
		w.close()
		w.manager.complain("watch of "+Dir, err)
		return
	}
	w.dir = info
	w.manager.Look() // what came before the watch
}

func (w *watcher) close() {
	if w.notify != nil {
		w.notify.Close()
	}
	w.notify, w.dir = nil, nil
}
