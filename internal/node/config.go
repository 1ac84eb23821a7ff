package node

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	v1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	cri "k8s.io/cri-api/pkg/apis"

	"minato/internal/host"
	"minato/internal/host/limit"
	"minato/internal/node/admit"
	"minato/internal/node/allocation"
	"minato/internal/node/api"
	"minato/internal/node/mirror"
	"minato/internal/node/pod"
	"minato/internal/node/settings"
	"minato/internal/node/volume"
)

// Event says that something happened to a container.
type Event = pod.Event

// HostPort is a port of the node.
type HostPort = admit.HostPort

// Streaming carries exec, attach and port-forward streams.
type Streaming = api.Streaming

// Part is something of the cluster itself that is shown as a Pod of the node.
type Part = mirror.Part

// PartState is how a Part is.
type PartState = mirror.State

// PartUse is what a Part uses.
type PartUse = mirror.Use

// PartLogOptions choose lines of a Part's log.
type PartLogOptions = mirror.LogOptions

// PartExec is a command for a Part.
type PartExec = mirror.Exec

// UserRange is a part of the machine's users and groups.
type UserRange = allocation.UserRange

// Mounter changes the machine's mounts.
type Mounter = volume.Mounter

// Config is what an Agent needs.
type Config struct {
	Name string
	// Labels are added to those that every node has. Addresses are the node's
	// own, the first one being what Pods see as their host's.
	Labels     map[string]string
	Addresses  []netip.Addr
	PodCIDRs   []netip.Prefix
	ProviderID string
	// Taints are those with which the Node is registered. A Node that exists keeps
	// its own: a node may not change them (admission plugin NodeRestriction).
	Taints []v1.Taint

	// Client acts as system:node:NAME.
	Client kubernetes.Interface
	// Pods are those of the node, see NewPodInformer.
	Pods cache.SharedIndexInformer
	// Services, once ServicesSynced, are for Pods' environments.
	Services       corelisters.ServiceLister
	ServicesSynced func() bool
	// ServicesVersion is the resource version up to which Services is complete,
	// an informer's GetIndexer().LastStoreSyncResourceVersion. Without it, the
	// agent lists a Pod's Services from the API server when the Pod starts.
	ServicesVersion func() string

	Runtime cri.RuntimeService
	Images  cri.ImageManagerService
	// CredentialProviderConfig is a CredentialProviderConfig of kubelet's, or a
	// directory of such, and CredentialProviderBinDir has its programs; "" is none.
	CredentialProviderConfig, CredentialProviderBinDir string
	Streaming                                          Streaming
	// Events are the runtime's; its end is the end of the runtime.
	Events <-chan Event

	// Netns is where the node's API listens and where probes come from.
	Netns host.Netns
	// OwnPorts are ports at which the node itself answers, which no Pod gets as a
	// hostPort.
	OwnPorts []HostPort
	// APIPort is 10250 unless set.
	APIPort int
	// Dir holds the Pods' volumes and logs. In RunDir, which is Dir if empty, a
	// tmpfs is mounted for what must not reach a disk. Both become private to
	// root.
	Dir, RunDir string
	// MountNS is what Pods see of the node's files; nil is this process's own.
	MountNS *host.MountNS
	// Mounter is the machine's if nil.
	Mounter Mounter

	ClusterDNS    []netip.Addr
	ClusterDomain string
	// ResolvConf and HostsFile are the node's own files; /etc/resolv.conf and
	// /etc/hosts if empty.
	ResolvConf, HostsFile string

	// ServingCert is the node's; clients show certificates from ClientCA.
	ServingCert tls.Certificate
	ClientCA    *x509.CertPool
	// Certificates, if set, gives both in their place. It is asked again once a
	// minute while clients connect, so a renewed certificate is shown.
	Certificates func() (tls.Certificate, *x509.CertPool, error)
	// Limits bounds the connections to the node's API; nil makes bounds for it
	// alone.
	Limits *limit.Budget

	Cgroup host.Cgroup
	// Settings are the fields of a kubelet's configuration as they are in effect;
	// without thresholds or logs' sizes those are the defaults.
	Settings settings.Values
	// RemoveUnusedImages removes the images that no container uses, when the disk is
	// full; nil removes none.
	RemoveUnusedImages func(ctx context.Context) error
	// EvictionTurn, of capacity 1, has one node of the machine at a time evict a Pod
	// for what they share; nil has each do so on its own.
	EvictionTurn chan struct{}
	// Users are those of the machine that Pods with hostUsers: false may have to
	// themselves; those of the kubelet's defaults unless set.
	Users []UserRange
	// Capacity has at least cpu and memory. Without ephemeral-storage it gets
	// the size of the file system that Dir is on.
	Capacity v1.ResourceList
	// MemoryLimit and ProcessLimit are those of Cgroup, in bytes and in processes
	// and threads; where they are 0, the machine's count.
	MemoryLimit, ProcessLimit int64
	// StorageLimit is how many bytes of the disk the node has for its own files and its
	// Pods', without claims' and images; 0 is all of it. LayersApart says that the
	// containers' writable layers are not below Dir.
	StorageLimit int64
	LayersApart  bool
	// HugePageLimits are those of Cgroup, in bytes by the size of a page in bytes; of a size
	// that is not there the node has what the machine has.
	HugePageLimits map[int64]int64
	// HugePages counts the machine's; host.MachineHugePages if nil.
	HugePages func() ([]host.HugePages, error)
	// AllowedUnsafeSysctls are names of sysctls, or prefixes that end in *, which
	// Pods may set beside kubelet's list of safe ones.
	AllowedUnsafeSysctls []string
	// Trouble tells what keeps the node from serving, besides what the agent finds
	// out itself; nil is nothing.
	Trouble func() Trouble
	// Version is what the node says it is, such as v1.36.3.
	Version string

	// FilesDir is the directory on the machine with the node's own files, in which
	// static.Dir has the manifests of static Pods, and DecodePod reads one. Without
	// either there are none.
	FilesDir  string
	DecodePod func(data []byte, source string) (*v1.Pod, error)
	// InfoFiles are written to FilesDir at each start, by their paths on the node.
	InfoFiles map[string]string
	// Parts are what of the cluster itself runs on the node; each is shown as a
	// mirror Pod once PartsAfter is closed, or at once if that is nil.
	Parts      []Part
	PartsAfter <-chan struct{}

	Metrics *prometheus.Registry
	// Stage is told of the steps of the start, for measuring.
	Stage  func(string)
	Logger *slog.Logger
}

// Trouble is why a node can't serve, in words; empty where it can.
type Trouble struct {
	// Runtime keeps Pods from running: the condition Ready is false.
	Runtime string
	// Network keeps Pods from being reached: the condition NetworkUnavailable.
	Network string
}

const (
	// DefaultAPIPort is where a node's API answers, the kubelet's.
	DefaultAPIPort = 10250
)

// How often the node speaks up. The node's lease says that it is alive; its
// status is sent when it changes, or now and then.
const (
	leaseDuration   = 40 * time.Second
	leaseRenewal    = 10 * time.Second
	conditionPeriod = 15 * time.Second
	statusPeriod    = 5 * time.Minute
)

func (c *Config) complete() error {
	switch {
	case c.Name == "":
		return errors.New("Name is required")
	case c.Client == nil:
		return errors.New("Client is required")
	case c.Runtime == nil || c.Images == nil || c.Streaming == nil:
		return errors.New("Runtime, Images and Streaming are required")
	case c.Pods == nil:
		return errors.New("Pods is required; make it with NewPodInformer")
	case c.Services == nil || c.ServicesSynced == nil:
		return errors.New("Services and ServicesSynced are required")
	case c.Dir == "" || !filepath.IsAbs(c.Dir):
		return fmt.Errorf("Dir is %q; it must be an absolute path", c.Dir)
	case len(c.Addresses) == 0:
		return errors.New("Addresses needs at least one address")
	}
	if c.APIPort == 0 {
		c.APIPort = DefaultAPIPort
	}
	if c.Settings.MaxPods == 0 {
		values, err := (*settings.Kubelet)(nil).Values()
		if err != nil {
			return err
		}
		c.Settings = values
	}
	if len(c.Users) == 0 {
		c.Users = []UserRange{{First: allocation.UsersPerPod, Pods: c.Settings.MaxPods}}
	}
	if c.RunDir == "" {
		c.RunDir = c.Dir
	}
	if c.HugePages == nil {
		c.HugePages = host.MachineHugePages
	}
	if c.Mounter == nil {
		c.Mounter = hostMounter{c.MountNS, c.Netns}
	}
	if c.ResolvConf == "" {
		c.ResolvConf = "/etc/resolv.conf"
	}
	if c.HostsFile == "" {
		c.HostsFile = "/etc/hosts"
	}
	if c.Metrics == nil {
		c.Metrics = prometheus.NewRegistry()
	}
	if c.Trouble == nil {
		c.Trouble = func() Trouble { return Trouble{} }
	}
	if c.Stage == nil {
		c.Stage = func(string) {}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return nil
}

func (c *Config) podsDir() string   { return podsDir(c.Dir) }
func (c *Config) memoryDir() string { return filepath.Join(c.RunDir, "memory", "pods") }
func (c *Config) logDir() string    { return logDir(c.Dir) }

// kubeletDir is where drivers and Pods look for the kubelet's directories on a node.
const kubeletDir = "/var/lib/kubelet"

func podsDir(dir string) string    { return filepath.Join(dir, "pods") }
func pluginsDir(dir string) string { return filepath.Join(dir, "plugins") }
func logDir(dir string) string     { return filepath.Join(dir, "log", "pods") }

// Binds are those of the agent's directories below dir that Pods look for at the
// kubelet's paths.
func Binds(dir string) []host.Bind {
	return []host.Bind{
		{Source: podsDir(dir), Target: kubeletDir + "/pods"}, {Source: pluginsDir(dir), Target: kubeletDir + "/plugins"},
		{Source: logDir(dir), Target: "/var/log/pods"},
	}
}

// allocationDir is out of the Pods' directories, of which a container may see
// one.
func (c *Config) allocationDir() string { return filepath.Join(c.Dir, "granted") }

func (c *Config) hostIPs() []string {
	var ips []string
	for _, a := range c.Addresses {
		ips = append(ips, a.String())
	}
	return ips
}
