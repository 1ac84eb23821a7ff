package device

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/utils/clock"

	"minato/internal/node/nodesocket"
	"minato/internal/node/plugins"
)

// Dir is where device plugins have their sockets, on the node, and Socket the one at
// which they register.
const (
	Dir    = "/var/lib/kubelet/device-plugins"
	Socket = Dir + "/kubelet.sock"
)

// gracePeriod is how long the Node still counts devices, as unhealthy, whose plugin is
// gone: the kubelet's.
const gracePeriod = 5 * time.Minute

// maxResources bounds the resources of plugins: any Pod with a hostPath may register.
const maxResources = 128

// Root is the node's root directory.
type Root interface {
	plugins.Dialer
	nodesocket.Root
	RemoveSockets(dir string) error
}

// Config is what a Manager needs.
type Config struct {
	Root Root
	// File keeps who has which device. No Pod may see it.
	File string
	// Changed is called when the Node's resources may have changed, and Wake when
	// something has changed for a Pod.
	Changed func()
	Wake    func(types.UID)
	Clock   clock.PassiveClock
	Logger  *slog.Logger
}

// Manager has the device plugins of a node.
type Manager struct {
	cfg      Config
	duration *prometheus.HistogramVec
	counted  *prometheus.CounterVec

	saving sync.Mutex // one write of File at a time
	saved  []byte     // what was written last, guarded by saving

	mu     sync.Mutex
	ledger *ledger
	// plugins are those of each resource that is known. One without a client is of a
	// run of the agent before this one.
	plugins map[string]*plugin
	// told are the resources of which a plugin has listed the devices in this run.
	told map[string]bool
	// gone are resources that the Node once had: it has none of them.
	gone sets.Set[string]
	// serving is the group of goroutines of Run; nil while it does not run.
	serving *group
}

// Open returns a manager that knows what Pods were given before.
func Open(cfg Config) (*Manager, error) {
	if cfg.Root == nil || cfg.File == "" {
		return nil, errors.New("device: Config.Root and Config.File are required")
	}
	if cfg.Changed == nil {
		cfg.Changed = func() {}
	}
	if cfg.Wake == nil {
		cfg.Wake = func(types.UID) {}
	}
	if cfg.Clock == nil {
		cfg.Clock = clock.RealClock{}
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	m := &Manager{
		cfg: cfg, ledger: newLedger(), plugins: map[string]*plugin{}, told: map[string]bool{}, gone: sets.New[string](),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "kubelet_device_plugin_alloc_duration_seconds", Help: "Duration in seconds to serve a device plugin Allocation request. Broken down by resource name.",
			Buckets: prometheus.DefBuckets,
		}, []string{"resource_name"}),
		counted: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "kubelet_device_plugin_registration_total", Help: "Cumulative number of device plugin registrations. Broken down by resource name.",
		}, []string{"resource_name"}),
	}
	if err := m.load(); err != nil {
		cfg.Logger.Warn("the record of who has which device can't be read; pods that have some are given them anew when a container of theirs is started", "file", cfg.File, "error", err)
	}
	return m, nil
}

// Describe implements prometheus.Collector.
func (m *Manager) Describe(c chan<- *prometheus.Desc) { m.duration.Describe(c); m.counted.Describe(c) }

// Collect implements prometheus.Collector.
func (m *Manager) Collect(c chan<- prometheus.Metric) { m.duration.Collect(c); m.counted.Collect(c) }

func (m *Manager) took(name string, d time.Duration) {
	m.duration.WithLabelValues(name).Observe(d.Seconds())
}

// Resources are what the Node has of each resource, healthy or not, and what of that
// can be given. A resource whose plugin is gone for good is there with none.
func (m *Manager) Resources() (capacity, allocatable v1.ResourceList) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.expire()
	capacity, allocatable = v1.ResourceList{}, v1.ResourceList{}
	for name, devices := range m.ledger.devices {
		capacity[v1.ResourceName(name)] = count(len(devices))
		allocatable[v1.ResourceName(name)] = count(m.ledger.healthy(name).Len())
	}
	for name := range m.gone {
		capacity[v1.ResourceName(name)], allocatable[v1.ResourceName(name)] = count(0), count(0)
	}
	return capacity, allocatable
}

func count(n int) resource.Quantity { return *resource.NewQuantity(int64(n), resource.DecimalSI) }

// expire forgets resources whose plugins have been gone for too long. m.mu is held.
func (m *Manager) expire() {
	for name, p := range m.plugins {
		if p.stopped.IsZero() || m.cfg.Clock.Since(p.stopped) <= gracePeriod {
			continue
		}
		delete(m.plugins, name)
		delete(m.ledger.devices, name)
		m.gone.Insert(name)
	}
}

// knows tells whether these are the devices that the plugin of a resource has listed
// last.
func (m *Manager) knows(name string, devices map[string]Device) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.told[name] && maps.EqualFunc(m.ledger.devices[name], devices, func(a, b Device) bool {
		return a.Healthy == b.Healthy && slices.Equal(a.NUMA, b.NUMA)
	})
}

// update takes what a plugin lists in place of what it listed before.
func (m *Manager) update(p *plugin, devices map[string]Device) {
	m.mu.Lock()
	if m.plugins[p.resource] != p {
		m.mu.Unlock()
		return // another plugin has taken its place
	}
	before := m.ledger.devices[p.resource]
	m.ledger.devices[p.resource], m.told[p.resource] = devices, true
	affected := sets.New[types.UID]()
	for id, pod := range m.ledger.taken(p.resource) {
		if before[id].Healthy != devices[id].Healthy {
			affected.Insert(pod)
		}
	}
	m.mu.Unlock()
	m.tell(affected)
	if err := m.save(); err != nil {
		m.cfg.Logger.Warn("the record of the devices of a node can't be written", "resource", p.resource, "error", err)
	}
}

// lost takes all devices of a plugin that does not answer any more for unhealthy.
func (m *Manager) lost(p *plugin) {
	m.mu.Lock()
	if m.plugins[p.resource] != p {
		m.mu.Unlock()
		return
	}
	p.stopped = m.cfg.Clock.Now()
	devices := map[string]Device{}
	for id, d := range m.ledger.devices[p.resource] {
		d.Healthy = false
		devices[id] = d
	}
	m.ledger.devices[p.resource] = devices
	affected := sets.New[types.UID]()
	for _, pod := range m.ledger.taken(p.resource) {
		affected.Insert(pod)
	}
	m.mu.Unlock()
	m.tell(affected)
}

func (m *Manager) tell(pods sets.Set[types.UID]) {
	m.cfg.Changed()
	for pod := range pods {
		m.cfg.Wake(pod)
	}
}

// install puts a plugin in the place of the one that its resource had.
func (m *Manager) install(p *plugin) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	old := m.plugins[p.resource]
	if old == nil && len(m.plugins) >= maxResources {
		return fmt.Errorf("this node takes the resources of %d device plugins, and has as many", maxResources)
	}
	if m.serving == nil {
		return errors.New("the node takes no device plugins any more; it is being stopped")
	}
	if old != nil {
		old.close()
	}
	m.plugins[p.resource] = p
	m.gone.Delete(p.resource)
	if m.ledger.devices[p.resource] == nil {
		m.ledger.devices[p.resource] = map[string]Device{}
	}
	return nil
}

// waiting wakes the Pods that have devices of a resource: their containers may wait for
// its plugin.
func (m *Manager) waiting(name string) {
	m.mu.Lock()
	pods := sets.New[types.UID]()
	for _, pod := range m.ledger.taken(name) {
		pods.Insert(pod)
	}
	m.mu.Unlock()
	for pod := range pods {
		m.cfg.Wake(pod)
	}
}

// group is what Run waits for.
type group struct {
	sync.WaitGroup
	ctx context.Context
}
