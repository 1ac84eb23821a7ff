package member

import (
	"context"
	"errors"
	"path/filepath"
	"sync"

	cri "k8s.io/cri-api/pkg/apis"
	"k8s.io/cri-streaming/pkg/streaming"

	"minato/internal/host"
	agent "minato/internal/node"
	"minato/internal/podnet/cni"
	"minato/internal/runtime/image"
	"minato/internal/runtime/oci"
	"minato/internal/runtime/remote"
	"minato/internal/supervise"
)

// containerRuntime runs the node's containers: Minato's own in this process, or
// one at a socket.
type containerRuntime interface {
	cri.RuntimeService
	Run(ctx context.Context) error
	Streams() streaming.Runtime
	Events(ctx context.Context) <-chan oci.Event
	Programs(ctx context.Context) ([]oci.Program, error)
}

// ownBinds are the node's own directories that Pods look for at the kubelet's
// paths.
func (m *Member) ownBinds() []host.Bind {
	return append(agent.Binds(m.cfg.DataDir), host.Bind{Source: m.cfg.seccompDir(), Target: "/var/lib/kubelet/seccomp"})
}

func (m *Member) openRuntime() error {
	if m.cfg.RuntimeEndpoint == "" {
		return m.openOwnRuntime()
	}
	cfg := m.cfg
	left := &leftAttachments{pods: m.pods}
	r, err := remote.New(remote.Config{
		Endpoint: cfg.RuntimeEndpoint, Owner: remote.Owner{Cluster: cfg.Cluster, Node: cfg.Name},
		Addresses: cfg.Addresses, PodCIDRs: cfg.PodCIDRs, Cgroup: cfg.Cgroup, Limits: cfg.Claim.limits(), NodeNetns: cfg.Netns,
		MountNS: m.files, Kept: []string{cfg.DataDir, cfg.RunDir}, Binds: m.ownBinds(), RunDir: filepath.Join(cfg.RunDir, "containers"),
		SeccompDir: cfg.seccompDir(), Records: remote.Records{Dir: cfg.CNIRecords, Socket: cfg.CNISocket},
		Listed: left.look, Logger: m.logger(partRuntime),
	})
	if err != nil {
		return err
	}
	m.runtime, m.remote = r, r
	return nil
}

func (m *Member) openOwnRuntime() error {
	r, err := oci.New(oci.Config{
		NodeName: m.cfg.Name, Dir: filepath.Join(m.cfg.DataDir, "containers"), RunDir: filepath.Join(m.cfg.RunDir, "containers"),
		Store: m.cfg.Images, Cgroup: m.cfg.Cgroup, Network: podNetwork{m.pods, m.ports}, NodeNetns: m.cfg.Netns, MountNS: m.files,
		SeccompDir: m.cfg.seccompDir(), Limits: m.cfg.Claim.limits(), RaiseLimit: m.cfg.RaiseLimit, Gate: m.cfg.Gate, Handlers: m.cfg.RuntimeHandlers,
		Logger: m.logger("runtime"),
	})
	if err != nil {
		return err
	}
	r.Connected(m.ports.attached)
	m.runtime = r
	return nil
}

// criPart is the part that has to do with the CRI beside the agent: the own
// runtime is served to others, and the images of another one are kept from
// filling its disk.
func (m *Member) criPart() supervise.Part {
	if m.remote == nil {
		return supervise.Part{Name: "cri", Run: m.serveCRI}
	}
	return supervise.Part{Name: "images", Run: func(ctx context.Context) error {
		c, err := m.imageCollector()
		if err != nil {
			return err
		}
		return c.Run(ctx)
	}}
}

// imageCollector is what removes images of a runtime at a socket; there is one.
func (m *Member) imageCollector() (*remote.Collector, error) {
	m.collecting.Lock()
	defer m.collecting.Unlock()
	if m.collector != nil {
		return m.collector, nil
	}
	v, err := m.cfg.Kubelet.Values()
	if err != nil {
		return nil, err
	}
	m.collector = m.remote.Collector(image.Policy{High: int(v.Images.High), Low: int(v.Images.Low), MinAge: v.Images.MinAge, MaxAge: v.Images.MaxAge})
	return m.collector, nil
}

// removeUnusedImages frees the disk when it is full.
func (m *Member) removeUnusedImages(ctx context.Context) error {
	if m.remote == nil {
		if m.cfg.RemoveUnusedImages == nil {
			return nil
		}
		return m.cfg.RemoveUnusedImages(ctx)
	}
	c, err := m.imageCollector()
	if err != nil {
		return err
	}
	return c.RemoveUnused(ctx)
}

// newImages are the images of the node's runtime.
func (m *Member) newImages() (cri.ImageManagerService, error) {
	if m.remote != nil {
		return m.remote.Images(), nil
	}
	return image.NewService(image.ServiceConfig{Store: m.cfg.Images, Registries: m.cfg.Registries, Logger: m.logger("images")})
}

// leftAttachments takes away the interfaces and addresses of sandboxes that ended
// while no server was there to be told.
type leftAttachments struct {
	pods interface {
		Owners() []string
		Detach(ctx context.Context, id string) error
	}
	mu   sync.Mutex
	left map[string]bool // at the last look
}

// look takes away what belongs to no sandbox, if that was so at the last look too:
// a sandbox that is being made is not listed yet.
func (l *leftAttachments) look(ctx context.Context, sandboxes map[string]bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var errs []error
	left := map[string]bool{}
	for _, owner := range l.pods.Owners() {
		id, ok := cni.ContainerOf(ClustersNetwork, owner)
		if !ok || sandboxes[id] {
			continue
		}
		if left[owner] = true; l.left[owner] {
			errs = append(errs, l.pods.Detach(ctx, owner))
		}
	}
	l.left = left
	return errors.Join(errs...)
}

// limits are those that the node's cgroup has.
func (c Claim) limits() oci.Limits {
	return oci.Limits{CPUs: c.CPUs, Memory: c.Memory, Processes: c.Processes, HugePages: c.HugePages}
}
