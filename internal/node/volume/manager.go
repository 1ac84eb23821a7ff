package volume

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	authv1 "k8s.io/api/authentication/v1"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	utilexec "k8s.io/utils/exec"

	"minato/internal/host"
	"minato/internal/node/csi"
	"minato/internal/node/guard"
)

// Objects gives the ConfigMaps and Secrets behind the volumes of a Pod. What it
// returns is not changed.
type Objects interface {
	ConfigMap(ctx context.Context, pod types.UID, namespace, name string) (*v1.ConfigMap, error)
	Secret(ctx context.Context, pod types.UID, namespace, name string) (*v1.Secret, error)
}

// Tokens asks for the token of a service account.
type Tokens interface {
	Token(ctx context.Context, namespace, serviceAccount string, req *authv1.TokenRequest) (*authv1.TokenRequest, error)
}

// Mounter changes the machine's mounts.
type Mounter interface {
	MountTmpfs(path, options string) error
	// MountHugePages mounts a file system of huge pages of a size, and with a limit unless
	// that is 0, both in bytes.
	MountHugePages(path string, size, limit int64, options string) error
	MountNFS(ctx context.Context, path string, export host.NFS) error
	BindMount(source, target string, readOnly bool) error
	// BindWith is BindMount with options of mount(8) and a directory of the node that is
	// open.
	BindWith(source *os.File, target string, options []string, readOnly bool) error
	// OpenDevice opens the block device that an open file is.
	OpenDevice(place *os.File) (Device, error)
	Unmount(path string) error
	// UnmountAllUnder detaches every mount at dir and below; MountsUnder lists them.
	// ClearTree detaches them and removes dir.
	UnmountAllUnder(dir string) error
	ClearTree(dir string) error
	MountsUnder(dir string) ([]string, error)
	// ShareMounts has what is mounted below dir seen by all that have mounted
	// the directory.
	ShareMounts(dir string) error
}

// Drivers makes the volumes of CSI drivers.
type Drivers interface {
	SetUp(ctx context.Context, v csi.Volume) (csi.Made, error)
	TearDown(ctx context.Context, uid types.UID) error
	// Stats are the figures of a volume, by the name of its PersistentVolume or, of
	// one that is written in the Pod, by the Pod's name for it.
	Stats(ctx context.Context, uid types.UID, name string) (csi.Stats, bool)
}

// Config is what a Manager needs.
type Config struct {
	// Dir holds one directory for each Pod, on disk. MemoryDir the same for
	// what must not reach a disk, Secrets and tokens; it should be a tmpfs.
	Dir, MemoryDir string
	Objects        Objects
	Claims         Claims
	Tokens         Tokens
	Mounter        Mounter
	// Exec runs the machine's programs that make and check file systems; nil is the
	// machine's own.
	Exec utilexec.Interface
	// Drivers, if set, makes volumes of type csi.
	Drivers Drivers
	// NodeLabels are those of the Node, for the nodeAffinity of PersistentVolumes.
	NodeLabels func(ctx context.Context) (map[string]string, error)
	// Root is where hostPath volumes are; nil is this process's own root
	// directory. With another one, Mounter has to mount files that were opened
	// in it.
	Root Root
	// Allocatable is what stands in for limits that a container does not set.
	Allocatable func() v1.ResourceList
	Clock       clock.PassiveClock
}

// Manager makes and removes volumes. Calls for one Pod must not overlap.
type Manager struct {
	cfg Config

	mu     sync.Mutex
	tokens map[tokenKey]token
	// mounted has the directories that are known to be mounts of a tmpfs or of NFS.
	mounted map[string]bool
	// calls are the mounts of exports and devices that are under way, by their place.
	calls map[string]*mountCall
	// claims has the PersistentVolumes of each Pod, by the names of its volumes.
	claims map[types.UID]map[string]claimed
}

// New returns a manager; it touches no file before the first Pod.
func New(cfg Config) *Manager {
	if cfg.Clock == nil {
		cfg.Clock = clock.RealClock{}
	}
	if cfg.Exec == nil {
		cfg.Exec = utilexec.New()
	}
	if cfg.Root == nil {
		cfg.Root = (*host.InRoot)(nil)
	}
	if cfg.MemoryDir == "" {
		cfg.MemoryDir = cfg.Dir
	}
	return &Manager{cfg: cfg, tokens: map[tokenKey]token{}, mounted: map[string]bool{}, calls: map[string]*mountCall{}, claims: map[types.UID]map[string]claimed{}}
}

// Error says which volume of a Pod could not be set up.
type Error struct {
	Volume string
	Err    error
}

func (e *Error) Error() string {
	return fmt.Sprintf("MountVolume.SetUp failed for volume %q : %v", e.Volume, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }

// sideBySide is how many of a Pod's claims and volumes of drivers are made at the same
// time.
const sideBySide = 8

// SetUp makes a Pod's volumes, or brings those that exist up to date; of one
// that nothing has changed about, no file is read or written. Volumes that no container
// names are left alone, as kubelet has it. It
// returns when the next token has to be renewed, zero for never, and joins the
// errors of all volumes that failed, each an *Error. Volumes that others have to attach
// or to make are waited for side by side.
func (m *Manager) SetUp(ctx context.Context, pod *v1.Pod) (renew time.Time, err error) {
	errs := make([]error, len(pod.Spec.Volumes))
	next := make([]time.Time, len(pod.Spec.Volumes))
	one := func(i int) {
		v := &pod.Spec.Volumes[i]
		err := guard.Do("set up a volume", func() (err error) {
			next[i], err = m.setUp(ctx, pod, v)
			return err
		})
		if err != nil {
			errs[i] = &Error{Volume: v.Name, Err: err}
		}
	}
	used := usedVolumes(pod)
	var group errgroup.Group
	group.SetLimit(sideBySide)
	for _, same := range awaited(pod, used) {
		group.Go(func() error {
			for _, i := range same {
				one(i)
			}
			return nil
		})
	}
	for i := range pod.Spec.Volumes {
		if v := &pod.Spec.Volumes[i]; used[v.Name] && !isAwaited(v) {
			one(i)
		}
	}
	_ = group.Wait() // each has its place in errs
	for _, at := range next {
		if !at.IsZero() && (renew.IsZero() || at.Before(renew)) {
			renew = at
		}
	}
	return renew, errors.Join(errs...)
}

// isAwaited tells whether others make a volume: a claim, one of a driver, one of a server.
func isAwaited(v *v1.Volume) bool { return isClaim(v) || v.CSI != nil || v.NFS != nil }

// usedVolumes has the names of the volumes that a container of the Pod mounts, or has as a
// device.
func usedVolumes(pod *v1.Pod) map[string]bool {
	used := map[string]bool{}
	add := func(mounts []v1.VolumeMount, devices []v1.VolumeDevice) {
		for i := range mounts {
			used[mounts[i].Name] = true
		}
		for i := range devices {
			used[devices[i].Name] = true
		}
	}
	for _, list := range [][]v1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			add(list[i].VolumeMounts, list[i].VolumeDevices)
		}
	}
	for i := range pod.Spec.EphemeralContainers {
		c := &pod.Spec.EphemeralContainers[i]
		add(c.VolumeMounts, c.VolumeDevices)
	}
	return used
}

// awaited has the places, among a Pod's volumes, of those in use that others make. Volumes of the same claim are together, to be made one after the
// other.
func awaited(pod *v1.Pod, used map[string]bool) (out [][]int) {
	at := map[string]int{}
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		if !isAwaited(v) || !used[v.Name] {
			continue
		}
		if v.PersistentVolumeClaim != nil {
			if have, ok := at[v.PersistentVolumeClaim.ClaimName]; ok {
				out[have] = append(out[have], i)
				continue
			}
			at[v.PersistentVolumeClaim.ClaimName] = len(out)
		}
		out = append(out, []int{i})
	}
	return out
}

func (m *Manager) setUp(ctx context.Context, pod *v1.Pod, v *v1.Volume) (time.Time, error) {
	switch {
	case v.EmptyDir != nil:
		return time.Time{}, m.emptyDir(pod, v)
	case v.HostPath != nil:
		return time.Time{}, checkHostPath(m.cfg.Root, v.HostPath)
	case isClaim(v):
		return m.claim(ctx, pod, v)
	case v.CSI != nil && m.cfg.Drivers != nil:
		return m.inline(ctx, pod, v)
	case v.NFS != nil:
		return time.Time{}, m.inlineNFS(ctx, pod, v)
	case v.Image != nil:
		return time.Time{}, nil // pulled when a container starts that mounts it
	case v.ConfigMap != nil, v.Secret != nil, v.DownwardAPI != nil, v.Projected != nil:
		files, next, err := m.payload(ctx, pod, v)
		if err != nil {
			return next, err
		}
		dir := m.path(pod.UID, v)
		if err := makeDir(dir, 0o755, -1); err != nil {
			return next, err
		}
		w := writer{
			dir: dir, record: m.record(pod.UID, v), owner: ownerOf(pod),
			nested: nestedMountPoints(pod, v.Name), now: m.cfg.Clock.Now(),
		}
		return next, w.write(files)
	}
	return time.Time{}, unsupported(typeName(v))
}

// Path is where the contents of a Pod's volume are.
func (m *Manager) Path(pod *v1.Pod, name string) (string, error) {
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		switch {
		case v.Name != name:
		case v.HostPath != nil:
			return v.HostPath.Path, nil
		case isClaim(v), v.CSI != nil:
			c, ok := m.claimed(pod.UID, name)
			if !ok {
				return "", fmt.Errorf("the claim or driver of volume %q of pod %s/%s is not set up", name, pod.Namespace, pod.Name)
			}
			return c.path, nil
		default:
			return m.path(pod.UID, v), nil
		}
	}
	return "", fmt.Errorf("pod %s/%s has no volume %q", pod.Namespace, pod.Name, name)
}

// PodDir is a Pod's directory on disk.
func (m *Manager) PodDir(uid types.UID) string { return filepath.Join(m.cfg.Dir, string(uid)) }

func (m *Manager) path(uid types.UID, v *v1.Volume) string {
	base, kind := m.place(v)
	return filepath.Join(base, string(uid), "volumes", kind, v.Name)
}

// record is where the writer of a volume notes what it wrote.
func (m *Manager) record(uid types.UID, v *v1.Volume) string {
	base, kind := m.place(v)
	return filepath.Join(base, string(uid), "plugins", kind, v.Name, "written")
}

// place is the directory for the Pods that a volume is in, and the name that
// kubelets give its kind. Secrets, tokens and what a Pod says about itself are
// in memory, as kubelet has them.
func (m *Manager) place(v *v1.Volume) (base, kind string) {
	switch {
	case v.ConfigMap != nil:
		return m.cfg.Dir, "kubernetes.io~configmap"
	case v.DownwardAPI != nil:
		return m.cfg.MemoryDir, "kubernetes.io~downward-api"
	case v.Secret != nil:
		return m.cfg.MemoryDir, "kubernetes.io~secret"
	case v.Projected != nil:
		return m.cfg.MemoryDir, "kubernetes.io~projected"
	case v.NFS != nil:
		return m.cfg.Dir, filepath.Base(nfsDir)
	case isClaim(v):
		return m.cfg.Dir, "claims" // of which there are only records here
	}
	return m.cfg.Dir, "kubernetes.io~empty-dir"
}

// TearDown removes everything of a Pod. Doing it twice is fine. It waits for the
// drivers of its volumes, within their bound of time.
func (m *Manager) TearDown(ctx context.Context, uid types.UID) (err error) {
	m.forgetTokens(uid)
	if err := m.tearDownDrivers(ctx, uid); err != nil {
		return fmt.Errorf("tear down volumes of pod %s: %w", uid, err)
	}
	if err := m.detachNFS(uid); err != nil {
		return fmt.Errorf("tear down volumes of pod %s: %w", uid, err)
	}
	dirs := []string{m.PodDir(uid)}
	if m.cfg.MemoryDir != m.cfg.Dir {
		dirs = append(dirs, filepath.Join(m.cfg.MemoryDir, string(uid)))
	}
	m.forgetMounts(m.PodDir(uid))
	defer func() {
		if err == nil { // until then, no other Pod gets what this one has for itself
			m.forgetClaims(uid)
		}
	}()
	for _, dir := range dirs {
		// Not os.RemoveAll: a bind mount that is still there may lead to a user's own
		// files, and a container may have nested any number of directories.
		if err := m.cfg.Mounter.ClearTree(dir); err != nil {
			return fmt.Errorf("tear down volumes of pod %s: %w", uid, err)
		}
	}
	return nil
}

func (m *Manager) forgetMounts(podDir string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	maps.DeleteFunc(m.mounted, func(dir string, _ bool) bool { return strings.HasPrefix(dir, podDir+"/") })
}

func (m *Manager) forgetClaims(uid types.UID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.claims, uid)
}

// UIDs lists the Pods that have a directory.
func (m *Manager) UIDs() ([]types.UID, error) {
	seen := map[types.UID]bool{}
	var uids []types.UID
	for _, dir := range []string{m.cfg.Dir, m.cfg.MemoryDir} {
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("list pod directories: %w", err)
		}
		for _, e := range entries {
			if uid := types.UID(e.Name()); e.IsDir() && !seen[uid] {
				seen[uid] = true
				uids = append(uids, uid)
			}
		}
	}
	return uids, nil
}
