package remote

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"sync"
	"time"

	cri "k8s.io/cri-api/pkg/apis"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"minato/internal/host"
	"minato/internal/runtime/oci"
)

var (
	_ cri.RuntimeService      = (*Runtime)(nil)
	_ cri.ImageManagerService = (*Images)(nil)
)

// Config says which runtime a node uses, and what the node is like.
type Config struct {
	// Endpoint is the runtime's socket, unix:///PATH.
	Endpoint string
	// Owner marks what is the node's in the runtime.
	Owner Owner
	// Hostname is what Pods on the node's network see as their host name; the
	// node's name where empty.
	Hostname string
	// Addresses are the node's own, PodCIDRs its shares of the Pod ranges.
	Addresses []netip.Addr
	PodCIDRs  []netip.Prefix
	// Cgroup is the node's, Limits what all of its Pods may use together.
	Cgroup host.Cgroup
	Limits oci.Limits
	// NodeNetns is the node's network namespace.
	NodeNetns host.Netns
	// MountNS is what Pods see of the node's files; nil is the machine's.
	MountNS *host.MountNS
	// Kept are directories at the same paths on the node and on the machine, with
	// all mounts below them. Binds are those of such directories that Pods look for
	// elsewhere on the node.
	Kept  []string
	Binds []host.Bind
	// RunDir is a directory below Kept on a tmpfs, for mounts.
	RunDir string
	// SeccompDir holds the node's seccomp profiles of type Localhost.
	SeccompDir string
	// Records tells the CNI plugin whose the sandboxes are.
	Records Records
	// Listed is told now and then which sandboxes the node has, by ID; nil is
	// nobody.
	Listed func(ctx context.Context, ids map[string]bool) error
	Logger *slog.Logger
}

// Owner is a node of a cluster of this machine.
type Owner struct{ Cluster, Node string }

// Runtime is a node's view of the runtime.
type Runtime struct {
	cfg    Config
	conn   *connection
	log    *slog.Logger
	layout host.CgroupLayout
	events oci.Broadcaster
	health health
	wanted chan struct{} // has the runtime looked at before its time

	mu sync.Mutex
	// owners are the Pods' UIDs by the IDs of sandboxes and containers, made is which
	// container of its Pod one is, by ID.
	owners map[string]string
	made   map[string]*runtimeapi.ContainerMetadata
	// networks are the paths of sandboxes' network namespaces, by ID.
	networks map[string]string
	about    *About // nil until the runtime was asked
	// claimed are the Pods, by UID, for which something beside the runtime is being
	// made or removed. The channel is closed when that is over.
	claimed map[string]chan struct{}

	// What follows is Run's alone.
	states map[string]state // of sandboxes and containers, by ID
	left   map[string]bool  // Pods without a sandbox at the last sweep, by UID
}

// New checks the configuration and makes the cgroup of the node. It does not
// connect: a runtime may be down for a while.
func New(cfg Config) (*Runtime, error) {
	if cfg.Owner.Cluster == "" || cfg.Owner.Node == "" || cfg.Cgroup.Path == "" || !filepath.IsAbs(cfg.RunDir) {
		return nil, fmt.Errorf("container runtime at %s: Owner, Cgroup and an absolute RunDir are required", cfg.Endpoint)
	}
	if cfg.Hostname == "" {
		cfg.Hostname = cfg.Owner.Node
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	conn, err := connect(cfg.Endpoint)
	if err != nil {
		return nil, err
	}
	r := &Runtime{cfg: cfg, conn: conn, log: cfg.Logger, owners: map[string]string{}, made: map[string]*runtimeapi.ContainerMetadata{}, networks: map[string]string{}, claimed: map[string]chan struct{}{}, wanted: make(chan struct{}, 1)}
	if r.layout, err = host.Cgroups(); err == nil {
		err = cfg.Cgroup.Create()
	}
	if err == nil {
		err = oci.LimitNode(cfg.Cgroup, cfg.Limits, cfg.Logger)
	}
	if err != nil {
		return nil, errors.Join(err, conn.conn.Close())
	}
	return r, nil
}

// Close implements CRI: it gives up the connection.
func (r *Runtime) Close(context.Context) error { return r.conn.conn.Close() }

// Version implements CRI.
func (r *Runtime) Version(ctx context.Context, version string) (*runtimeapi.VersionResponse, error) {
	return invoke(ctx, r.conn, briefly, r.conn.runtime.Version, &runtimeapi.VersionRequest{Version: version})
}

// Status implements CRI. Whether the network is ready is not the runtime's affair
// alone: see Trouble.
func (r *Runtime) Status(ctx context.Context, verbose bool) (*runtimeapi.StatusResponse, error) {
	return invoke(ctx, r.conn, briefly, r.conn.runtime.Status, &runtimeapi.StatusRequest{Verbose: verbose})
}

// UpdateRuntimeConfig implements CRI. Other users of the runtime have their own
// ranges, so it is never told ours.
func (r *Runtime) UpdateRuntimeConfig(context.Context, *runtimeapi.RuntimeConfig) error {
	return errors.New("the configuration of a container runtime that others may use as well is not changed")
}

// RuntimeConfig implements CRI.
func (r *Runtime) RuntimeConfig(ctx context.Context) (*runtimeapi.RuntimeConfigResponse, error) {
	return invoke(ctx, r.conn, briefly, r.conn.runtime.RuntimeConfig, &runtimeapi.RuntimeConfigRequest{})
}

// Programs are the runtime, as a program with a version.
func (r *Runtime) Programs(ctx context.Context) ([]oci.Program, error) {
	v, err := r.Version(ctx, "v1")
	if err != nil {
		return nil, err
	}
	return []oci.Program{{Name: v.GetRuntimeName(), Version: v.GetRuntimeVersion(), Path: r.cfg.Endpoint}}, nil
}

// Run follows what happens to the node's containers until ctx ends. A runtime that
// is down is waited for.
func (r *Runtime) Run(ctx context.Context) error {
	r.health.begin(time.Now())
	return r.follow(ctx)
}
