package csi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	authv1 "k8s.io/api/authentication/v1"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"minato/internal/node/plugins"
)

const (
	// DefaultTimeout bounds one call of a driver, as in the kubelet.
	DefaultTimeout = 2 * time.Minute
	// slowAfter is when a call that still runs is told of.
	slowAfter = 15 * time.Second
	// attachTimeout bounds one wait for a volume to be attached; the Pod's worker
	// then tries again.
	attachTimeout = 90 * time.Second
)

// Tokens asks for the token of a service account.
type Tokens interface {
	Token(ctx context.Context, namespace, serviceAccount string, req *authv1.TokenRequest) (*authv1.TokenRequest, error)
}

// Mounter looks at the machine's mounts, and detaches them.
type Mounter interface {
	Unmount(path string) error
	MountsUnder(dir string) ([]string, error)
}

// Events tells users of an object what happened to it.
type Events interface {
	Event(object runtime.Object, kind, reason, message string)
}

type silent struct{}

func (silent) Event(runtime.Object, string, string, string) {}

// Config is what a Manager needs.
type Config struct {
	NodeName string
	// Client acts as the node.
	Client kubernetes.Interface
	Tokens Tokens
	// Root is the node's root directory, in which the drivers' sockets are.
	Root plugins.Dialer
	// Dir is the agent's directory, with pods and plugins in it; drivers know the two
	// below NodeDir.
	Dir, NodeDir string
	Mounter      Mounter
	// Node reads the Node; Report has its status written, with InUse in it.
	Node   func(ctx context.Context) (*v1.Node, error)
	Report func()
	// Wake is told of a Pod whose volume can be made now.
	Wake   func(types.UID)
	Events Events
	// Timeout bounds one call of a driver; zero is DefaultTimeout.
	Timeout time.Duration
	Logger  *slog.Logger
}

// Manager makes volumes. Calls for one Pod must not overlap.
type Manager struct {
	cfg  Config
	info nodeInfo
	// renewed has one place: see Renewed.
	renewed chan struct{}

	// registering has drivers and what the CSINode says of them change together.
	registering sync.Mutex

	mu sync.Mutex
	// drivers are those that are registered, by their names.
	drivers map[string]*driver
	// users are the volumes of each Pod, by their directory in the Pod's.
	users map[types.UID]map[string]*use
	// locks has one entry for each volume that is being changed.
	locks map[volumeID]*volumeLock
	// staged are the volumes that this process has staged.
	staged map[volumeID]bool
	// growing are the drivers whose volumes are being grown.
	growing map[string]bool
	stats   map[statsKey]cachedStats
	// silent has the drivers that did not tell what a volume takes, and when.
	silent map[string]time.Time
}

// volumeID names a volume of a driver.
type volumeID struct{ driver, handle string }

// unique is the name that the Node's status has for the volume.
func (id volumeID) unique() v1.UniqueVolumeName {
	return v1.UniqueVolumeName("kubernetes.io/csi/" + id.driver + "^" + id.handle)
}

// use is a volume in a Pod. The manager's lock guards it, but for what the record is
// made with: only Published and Attached change.
type use struct {
	record
	// begun says that the record is on the disk; done, that the volume was published by
	// this process, or found so.
	begun, done bool
	// readOnly says that the Pod has it so.
	readOnly bool
	// namespace and claim name the claim behind it; without one, they are empty.
	namespace, claim string
}

// Open returns a manager that knows what earlier ones have begun below Dir.
func Open(cfg Config) (*Manager, error) {
	if cfg.Client == nil || cfg.Root == nil || cfg.Dir == "" || cfg.NodeDir == "" || cfg.Mounter == nil {
		return nil, errors.New("csi: Config.Client, Root, Dir, NodeDir and Mounter are required")
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = DefaultTimeout
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Report == nil {
		cfg.Report = func() {}
	}
	if cfg.Wake == nil {
		cfg.Wake = func(types.UID) {}
	}
	if cfg.Events == nil {
		cfg.Events = silent{}
	}
	m := &Manager{
		cfg: cfg, drivers: map[string]*driver{}, users: map[types.UID]map[string]*use{},
		locks: map[volumeID]*volumeLock{}, staged: map[volumeID]bool{}, stats: map[statsKey]cachedStats{},
		growing: map[string]bool{}, silent: map[string]time.Time{}, renewed: make(chan struct{}, 1),
	}
	m.info = nodeInfo{client: cfg.Client, node: cfg.NodeName}
	root, err := m.root()
	if err != nil {
		return nil, err
	}
	defer root.Close()
	if err := m.recall(root); err != nil {
		return nil, fmt.Errorf("csi: read what earlier agents have noted: %w", err)
	}
	return m, nil
}

// root opens the agent's directory, which no path that a driver has made leaves.
func (m *Manager) root() (*os.Root, error) {
	root, err := os.OpenRoot(m.cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("csi: %w", err)
	}
	return root, nil
}

// Run tells the API that the node takes CSI drivers, grows volumes whose claims have
// grown, and follows the drivers' limits, until ctx ends.
func (m *Manager) Run(ctx context.Context) error {
	m.introduce(ctx)
	var growth sync.WaitGroup
	defer growth.Wait()
	tick := time.NewTicker(expandPeriod)
	defer tick.Stop()
	for lacking := false; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-m.renewed:
			lacking = true
		case now := <-tick.C:
			m.expandAll(ctx, &growth)
			m.followLimits(ctx, now, &growth)
		}
		if lacking {
			err := m.installAgain(ctx)
			if lacking = err != nil; lacking && ctx.Err() == nil {
				m.cfg.Logger.Warn("what CSI drivers say of the node could not be written to its new Node; will try again", "error", err)
			}
		}
	}
}

// introduce makes the CSINode, however long that takes.
func (m *Manager) introduce(ctx context.Context) {
	for pause := 100 * time.Millisecond; ; pause = min(2*pause, 30*time.Second) {
		err := m.info.ensure(ctx)
		if err == nil || ctx.Err() != nil {
			return
		}
		m.cfg.Logger.Warn("the CSINode of the node could not be written; will try again", "error", err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

// InUse lists the volumes that may not be detached from the node, in order.
func (m *Manager) InUse() []v1.UniqueVolumeName {
	m.mu.Lock()
	defer m.mu.Unlock()
	seen := map[v1.UniqueVolumeName]bool{}
	for _, volumes := range m.users {
		for _, u := range volumes {
			if u.Attached {
				seen[u.id().unique()] = true
			}
		}
	}
	return sorted(seen)
}
