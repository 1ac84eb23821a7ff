package pod

import (
	"context"
	"log/slog"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"
	"k8s.io/client-go/util/flowcontrol"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/utils/clock"

	"minato/internal/node/admit"
	"minato/internal/node/allocation"
	"minato/internal/node/guard"
	"minato/internal/node/loglink"
	"minato/internal/node/object"
	"minato/internal/node/observe"
	"minato/internal/node/probe"
	"minato/internal/node/settings"
	"minato/internal/node/spec"
)

// Runtime is the part of the CRI that runs containers.
type Runtime interface {
	observe.Runtime
	RunPodSandbox(ctx context.Context, config *runtimeapi.PodSandboxConfig, handler string) (string, error)
	StopPodSandbox(ctx context.Context, id string) error
	RemovePodSandbox(ctx context.Context, id string) error
	CreateContainer(ctx context.Context, sandboxID string, config *runtimeapi.ContainerConfig, sandboxConfig *runtimeapi.PodSandboxConfig) (string, error)
	StartContainer(ctx context.Context, id string) error
	StopContainer(ctx context.Context, id string, timeout int64) error
	RemoveContainer(ctx context.Context, id string) error
	UpdateContainerResources(ctx context.Context, id string, resources *runtimeapi.ContainerResources) error
	UpdatePodSandboxResources(ctx context.Context, req *runtimeapi.UpdatePodSandboxResourcesRequest) (*runtimeapi.UpdatePodSandboxResourcesResponse, error)
	PodSandboxStats(ctx context.Context, id string) (*runtimeapi.PodSandboxStats, error)
	ExecSync(ctx context.Context, id string, cmd []string, timeout time.Duration) (stdout, stderr []byte, err error)
}

// Images is the part of the CRI that fetches images.
type Images interface {
	ImageStatus(ctx context.Context, image *runtimeapi.ImageSpec, verbose bool) (*runtimeapi.ImageStatusResponse, error)
	PullImage(ctx context.Context, image *runtimeapi.ImageSpec, auth *runtimeapi.AuthConfig, sandbox *runtimeapi.PodSandboxConfig) (string, error)
}

// Volumes makes the Pods' volumes.
type Volumes interface {
	SetUp(ctx context.Context, pod *v1.Pod) (renew time.Time, err error)
	Mounts(pod *v1.Pod, c *v1.Container, env []*runtimeapi.KeyValue, images map[string]*runtimeapi.ImageSpec) ([]*runtimeapi.Mount, error)
	// Devices are what a container has of the volumes as block devices.
	Devices(pod *v1.Pod, c *v1.Container) ([]*runtimeapi.Device, error)
	TearDown(ctx context.Context, uid types.UID) error
	UIDs() ([]types.UID, error)
	PodDir(uid types.UID) string
	spec.Files
}

// Objects fetches and watches what Pods refer to.
type Objects interface {
	spec.Objects
	Hold(uid types.UID, refs []object.Ref)
	Release(uid types.UID)
}

// Allocations keep what the Pods were granted.
type Allocations interface {
	Get(uid types.UID) (allocation.Record, bool)
	Set(uid types.UID, r allocation.Record) error
	Remove(uid types.UID) error
	UIDs() []types.UID
	Users(uid types.UID, within []allocation.UserRange) (first uint32, err error)
}

// Probes asks containers how they are.
type Probes interface {
	Ensure(ctx context.Context, t probe.Target)
	Health(containerID string) probe.Health
	Keep(uid types.UID, containerIDs map[string]bool)
	Terminating(uid types.UID)
	Remove(uid types.UID)
}

// Reporter tells the API server about Pods. It must not block.
type Reporter interface {
	// Set reports a status; Finish a last one, after which the Pod is deleted.
	Set(pod *v1.Pod, status v1.PodStatus)
	Finish(pod *v1.Pod, status v1.PodStatus)
	Forget(uid types.UID)
}

// Config is what a Manager needs.
type Config struct {
	NodeName string
	// Node reads the Node from the API server. What it returns is at least as
	// new as the call.
	Node        func(ctx context.Context) (*v1.Node, error)
	RuntimeName string
	HostIPs     []string
	Runtime     Runtime
	Images      Images
	Volumes     Volumes
	Allocations Allocations
	// Devices are those of device plugins; nil is a node that takes no plugins.
	Devices Devices
	// Claims are what drivers of dynamic resources prepare; nil is a node that has none.
	Claims Claims
	// Users are those of the node that Pods may have to themselves.
	Users   []allocation.UserRange
	Objects Objects
	// Providers have logins for images beside those of imagePullSecrets; may be nil.
	Providers Providers
	Probes    Probes
	Reporter  Reporter
	// Services lists at least the Services of the Pod's namespace and the API
	// server's own, as they were at the resource version since, or later. If that
	// is empty, they may be of any age.
	Services func(ctx context.Context, pod *v1.Pod, since string) ([]*v1.Service, error)
	// RuntimeClass returns the handler that a RuntimeClass names.
	RuntimeClass func(ctx context.Context, name string) (handler string, err error)
	// Admission is what the node is set to take and to refuse.
	Admission admit.Options
	// Resolver and HostsFile are read each time a sandbox or hosts file is made.
	Resolver  func() spec.Resolver
	HostsFile func() string
	// CgroupParent is the node's cgroup; LogDir holds the Pods' log directories.
	CgroupParent, LogDir string
	// OpenLog opens a file below LogDir; os.Open if nil.
	OpenLog func(path string) (*os.File, error)
	// LogLinks are the links to logs of containers; nil makes none.
	LogLinks *loglink.Links
	// Allocatable is what stands in for limits that a container does not set.
	Allocatable func() v1.ResourceList
	Memory      resource.Quantity
	// HugePages are the sizes of huge pages that the machine has, in bytes.
	HugePages []int64
	// Dial connects from the node, for hooks.
	Dial   func(ctx context.Context, network, address string) (net.Conn, error)
	Events record.EventRecorder
	Clock  clock.WithTicker
	Logger *slog.Logger
	// Measures is told how long things take; may be nil.
	Measures Measures

	// Pulls bounds the pulls of images, and says for which a Pod has to show a login.
	Pulls settings.Pulls
	// OfflineImages lets every Pod run the image that is on the node where
	// imagePullPolicy is Always and the registry cannot be reached, as
	// [OfflineImagesAnnotation] does for one Pod.
	OfflineImages bool
}

// Measures takes what the work on Pods costs.
type Measures interface {
	// Synced says how long a worker took to bring its Pod on: "create" is its first step, "update" one after the Pod
	// changed in the API, "sync" any other.
	Synced(operation string, took time.Duration)
	// Relisted says when a list of all that the runtime has was asked for, and when it was there.
	Relisted(began, ended time.Time)
}

// Event says that something happened to a container.
type Event struct{ SandboxID, ContainerID string }

// Pauses before a container is restarted or an image pulled again.
const (
	firstPause = 10 * time.Second
	maxPause   = 5 * time.Minute
)

// relistPeriod is how often the view of the runtime is compared with all that
// the runtime has, in case an event was lost.
const relistPeriod = time.Minute

// Manager has a worker for each Pod of the node.
type Manager struct {
	cfg      Config
	view     *observe.Cache
	restarts *flowcontrol.Backoff
	pulls    *puller

	// admitting makes one decision at a time about what the node takes and
	// grants, and guards the workers' candidates. It may be held while mu is
	// taken.
	admitting sync.Mutex
	// resizesDue counts the occasions to look at the resizes that wait;
	// resizesDone, guarded by admitting, is up to which that was done.
	resizesDue  atomic.Uint64
	resizesDone uint64

	mu       sync.Mutex
	ctx      context.Context
	workers  map[types.UID]*worker
	arrivals uint64 // Pods that have arrived so far
	closed   bool   // the node is shut down, or Run ends: no worker is started any more
	wg       sync.WaitGroup
}

// New returns a manager without Pods.
func New(cfg Config) *Manager {
	if cfg.Clock == nil {
		cfg.Clock = clock.RealClock{}
	}
	if cfg.Devices == nil {
		cfg.Devices = noDevices{}
	}
	cfg.Admission.Claims = cfg.Claims != nil
	if cfg.Claims == nil {
		cfg.Claims = noClaims{}
	}
	view := observe.NewCache(cfg.Runtime)
	cfg.Runtime = tracked{Runtime: cfg.Runtime, view: view}
	m := &Manager{
		cfg:      cfg,
		view:     view,
		restarts: flowcontrol.NewBackOffWithJitter(firstPause, maxPause, 0),
		workers:  map[types.UID]*worker{},
	}
	m.restarts.Clock = cfg.Clock
	m.pulls = newPuller(cfg)
	return m
}

// Run serves the Pods given by Update until ctx ends; containers keep running
// afterwards. It calls ready once it knows what the runtime has, and Update must
// not be called before.
func (m *Manager) Run(ctx context.Context, ready func()) {
	m.mu.Lock()
	m.ctx = ctx
	m.mu.Unlock()
	pause := 10 * time.Millisecond
	for !m.relist(ctx) && sleep(ctx, pause) {
		pause = min(2*pause, firstPause)
	}
	ready()
	tick := m.cfg.Clock.NewTicker(relistPeriod)
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-tick.C():
			m.relist(ctx)
		}
	}
	m.mu.Lock()
	m.closed = true // no worker is started while they are waited for
	m.mu.Unlock()
	m.wg.Wait()
	m.pulls.wait()
}

// relist brings the view of the runtime up to date and wakes the Pods of which
// something had changed without an event.
func (m *Manager) relist(ctx context.Context) bool {
	began := m.cfg.Clock.Now()
	uids, err := m.view.Relist(ctx)
	if err != nil {
		if ctx.Err() == nil {
			m.cfg.Logger.Warn("the container runtime could not list its containers; will try again", "error", err)
		}
		return false
	}
	if m.cfg.Measures != nil {
		m.cfg.Measures.Relisted(began, m.cfg.Clock.Now())
	}
	for _, uid := range uids {
		m.Wake(uid)
	}
	return true
}

// Update tells of a Pod that the API has on this node.
func (m *Manager) Update(pod *v1.Pod) {
	if w := m.worker(pod.UID, pod); w != nil {
		w.update(pod)
	}
}

// Delete tells that the API no longer has the Pod.
func (m *Manager) Delete(pod *v1.Pod) {
	m.mu.Lock()
	w := m.workers[pod.UID]
	m.mu.Unlock()
	if w != nil {
		w.remove(pod)
	}
}

// Wake makes the Pod's worker look at it again.
func (m *Manager) Wake(uid types.UID) {
	m.mu.Lock()
	w := m.workers[uid]
	m.mu.Unlock()
	if w != nil {
		w.poke()
	}
}

// Refresh is Wake, with what is behind the Pod's volumes read again.
func (m *Manager) Refresh(uid types.UID) {
	m.mu.Lock()
	w := m.workers[uid]
	m.mu.Unlock()
	if w != nil {
		w.stale.Store(true)
		w.poke()
	}
}

// RefreshAll is Refresh for every Pod.
func (m *Manager) RefreshAll() {
	for _, w := range m.all() {
		w.stale.Store(true)
		w.poke()
	}
}

// Happened tells of an event of the runtime.
func (m *Manager) Happened(e Event) {
	if uid, known := m.view.Changed(e.SandboxID, e.ContainerID); known {
		m.Wake(uid)
	}
}

// Adopt ends whatever the runtime or the disk still has of Pods that the API
// does not. It is called once, after Update for all Pods that the API has.
func (m *Manager) Adopt(ctx context.Context) error {
	dirs, err := m.cfg.Volumes.UIDs()
	if err != nil {
		return err
	}
	for _, uid := range slices.Concat(m.view.UIDs(), dirs, m.cfg.Allocations.UIDs(), m.cfg.Devices.Pods(), m.cfg.Claims.Pods()) {
		m.mu.Lock()
		known := m.workers[uid] != nil
		m.mu.Unlock()
		if known {
			continue
		}
		err := guard.Do("end a pod that the API no longer has", func() error {
			view, err := m.view.Read(ctx, uid)
			if err != nil {
				return err
			}
			orphan := restore(view)
			if w := m.worker(uid, orphan); w != nil {
				w.remove(orphan)
			}
			return nil
		})
		if stack := guard.Stack(err); stack != nil {
			m.cfg.Logger.Error("the node agent panicked; what is left of a pod that no longer exists stays until it is started again", "uid", uid, "error", err, "stack", string(stack))
		} else if err != nil {
			return err
		}
	}
	return nil
}

// Status returns the status that was computed last for the Pod.
func (m *Manager) Status(uid types.UID) (v1.PodStatus, bool) {
	m.mu.Lock()
	w := m.workers[uid]
	m.mu.Unlock()
	if w == nil {
		return v1.PodStatus{}, false
	}
	return w.lastStatus()
}

// worker returns the Pod's worker, started if need be.
func (m *Manager) worker(uid types.UID, pod *v1.Pod) *worker {
	m.mu.Lock()
	defer m.mu.Unlock()
	if w := m.workers[uid]; w != nil {
		return w
	}
	if m.ctx == nil || m.ctx.Err() != nil || m.closed {
		return nil
	}
	m.arrivals++
	w := newWorker(m, pod, m.arrivals)
	m.workers[uid] = w
	m.wg.Add(1)
	go func() {
		defer m.wg.Done()
		defer close(w.done)
		w.run(m.ctx)
	}()
	return w
}

// forget drops a worker that has ended, with all that is kept of its Pod.
func (m *Manager) forget(w *worker) {
	m.pulls.forget(w.uid)
	m.mu.Lock()
	delete(m.workers, w.uid)
	m.mu.Unlock()
	for key := range w.crashKeys {
		m.restarts.Reset(key)
	}
}
