package member

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"

	"minato/internal/host"
	"minato/internal/host/limit"
	agent "minato/internal/node"
	"minato/internal/node/settings"
	"minato/internal/partuse"
	"minato/internal/runtime/image"
	"minato/internal/runtime/oci"
	"minato/internal/runtime/registry"
)

// Connect returns a connection to the API server as user, which is in groups.
type Connect func(user string, groups ...string) *rest.Config

// Config is what a Member is made from.
type Config struct {
	// Cluster is the name of the cluster, which a container runtime's sandboxes bear.
	Cluster string
	// Name is the name of the Node object, ProviderID its spec.providerID.
	Name, ProviderID string

	// Labels are added to those that every node has.
	Labels map[string]string
	// Taints are those with which the Node is registered, if there is none yet.
	Taints []corev1.Taint

	// Netns is the node's network namespace, Link its interface on the network
	// of the nodes, MTU that network's in bytes.
	Netns host.Netns
	Link  string
	MTU   int
	// Addresses are the node's own and PodCIDRs its share of the Pod ranges: one
	// of each IP family, in the same order, the primary family first.
	Addresses    []netip.Addr
	PodCIDRs     []netip.Prefix
	ServiceCIDRs []netip.Prefix
	// Gateways are the routers of the network of the nodes, one of each IP family.
	Gateways []netip.Addr
	// ClusterDNS are the cluster DNS addresses, one of each IP family.
	ClusterDNS    []netip.Addr
	ClusterDomain string
	// ResolvConf is the file with the resolvers for names outside of the cluster.
	ResolvConf string

	// Files says what the node and its Pods see of the machine's files. The
	// mount namespace is made when the node is, after Netns; nil shows all of
	// the machine's files.
	Files *host.MountNSConfig
	// Cgroup holds every process of the node.
	Cgroup host.Cgroup
	// Claim is what the node has of the machine. Its Pods get no more.
	Claim Claim
	// DataDir survives a reboot: volumes, logs, writable layers. RunDir, on a
	// tmpfs, holds namespaces, mounts and sockets. PinDir is a directory of a BPF
	// file system.
	DataDir, RunDir, PinDir string

	// CRISocket is the path of the socket at which the node's container runtime is
	// reached, and CNISocket that of its network for other runtimes, each in a directory
	// for such sockets alone that the node must not see.
	CRISocket, CNISocket string
	// RuntimeEndpoint is the socket of a container runtime that runs the node's
	// containers, unix:///PATH; empty is Minato's own. CNIRecords is the cluster's
	// directory that tells this runtime's CNI plugin which node runs a Pod.
	RuntimeEndpoint, CNIRecords string
	// BGPSocket is the path of the socket of the process that speaks BGP for the
	// node, in a directory for such sockets alone that the node must not see.
	BGPSocket string
	// IngressSocket is the same for the process that serves the node's ingress.
	IngressSocket string
	// IngressLog is the path of the log of the requests to the node's ingress, in a
	// directory for such logs alone that the node must not see.
	IngressLog string

	// Connect makes connections to the API server, which can be used once
	// Connected is closed.
	Connect   Connect
	Connected <-chan struct{}
	// Watch has the informers of the cluster's objects; the members of one
	// process share it.
	Watch *Watch
	// Images is the machine's image store.
	Images *image.Store
	// Registries says how registries are reached.
	Registries registry.Config
	// CredentialProviderConfig is a CredentialProviderConfig of kubelet's, or a
	// directory of such, and CredentialProviderBinDir has its programs; "" is none.
	CredentialProviderConfig, CredentialProviderBinDir string
	// Certificates returns the serving certificate of the node's API, and the
	// CAs that sign the certificates of its clients. It is called again now and
	// then, because certificates are renewed.
	Certificates func() (tls.Certificate, *x509.CertPool, error)
	// Limits bounds the connections that the process accepts.
	Limits *limit.Budget

	// AllowedUnsafeSysctls are names of sysctls, or prefixes that end in *, which
	// Pods may set beside the kubelet's list of safe ones.
	AllowedUnsafeSysctls []string
	// Kubelet are settings of the node's agent; nil has the defaults.
	Kubelet *settings.Kubelet
	// RemoveUnusedImages and EvictionTurn are as the agent has them.
	RemoveUnusedImages func(ctx context.Context) error
	EvictionTurn       chan struct{}
	// Users are those of the machine that Pods with hostUsers: false may have to
	// themselves; those of the kubelet's defaults unless set. Nodes of one machine
	// must not share them.
	Users []agent.UserRange
	// RuntimeHandlers are OCI runtimes beside the default one, by the names that
	// RuntimeClasses have for them.
	RuntimeHandlers map[string]string
	// RaiseLimit raises a limit of the machine, named by its path below
	// /proc/sys, to at least a value. It is up to the function's owner to put
	// the limit back later. If it is nil, no limit is raised.
	RaiseLimit func(path string, least int64) error
	// Gate bounds how many containers are started at the same time, those of the
	// machine's other nodes included; nil is no bound.
	Gate *oci.Gate

	// DecodePod reads the manifest of a static Pod of the node; without it there are
	// none.
	DecodePod func(data []byte, source string) (*corev1.Pod, error)
	// InfoFiles are written to the node's own files at each start, by their paths
	// there.
	InfoFiles map[string]string
	// ProxyFiles are the files that kube-proxy's Pod has in other clusters, by their
	// paths there.
	ProxyFiles map[string]string
	// Parts are shown as Pods of the node beside its own parts, once PartsAfter is
	// closed; nil is at once. PartLogs reads what the node's own parts have printed.
	Parts      []agent.Part
	PartsAfter <-chan struct{}
	PartLogs   PartLogs

	// Use measures the parts of the process; it may be nil.
	Use *partuse.Meter
	// NodesHere is how many nodes the process has, which share what the memory of their
	// parts is found to be.
	NodesHere func() int

	// Stage is called when a step of the start is done, with the time at which
	// it began.
	Stage  func(name string, began time.Time)
	Logger *slog.Logger
}

// Claim is a share of a machine; what is 0 is all of it.
type Claim struct {
	CPUs int64
	// Memory is in bytes.
	Memory int64
	// Processes counts threads, too.
	Processes int64
	// Storage is what the node's files may take of the disk, in bytes.
	Storage int64
	// HugePages are in bytes, by the size of a page in bytes; a size that is not there is
	// all of the machine's.
	HugePages map[int64]int64
}

func (c *Config) complete() error {
	switch {
	case c.Name == "":
		return errors.New("node: Name is required")
	case len(c.Addresses) == 0 || len(c.Addresses) != len(c.PodCIDRs):
		return fmt.Errorf("node %s: Addresses %v and PodCIDRs %v do not match; give one of each IP family", c.Name, c.Addresses, c.PodCIDRs)
	case !filepath.IsAbs(c.DataDir) || !filepath.IsAbs(c.RunDir) || !filepath.IsAbs(c.PinDir):
		return fmt.Errorf("node %s: DataDir %q, RunDir %q and PinDir %q must be absolute paths", c.Name, c.DataDir, c.RunDir, c.PinDir)
	case !filepath.IsAbs(c.CRISocket) || !filepath.IsAbs(c.CNISocket):
		return fmt.Errorf("node %s: CRISocket %q and CNISocket %q must be absolute paths", c.Name, c.CRISocket, c.CNISocket)
	case c.RuntimeEndpoint != "" && (c.Cluster == "" || !filepath.IsAbs(c.CNIRecords)):
		return fmt.Errorf("node %s: Cluster and an absolute path CNIRecords are required with RuntimeEndpoint", c.Name)
	case !filepath.IsAbs(c.BGPSocket):
		return fmt.Errorf("node %s: BGPSocket %q must be an absolute path", c.Name, c.BGPSocket)
	case !filepath.IsAbs(c.IngressSocket):
		return fmt.Errorf("node %s: IngressSocket %q must be an absolute path", c.Name, c.IngressSocket)
	case !filepath.IsAbs(c.IngressLog):
		return fmt.Errorf("node %s: IngressLog %q must be an absolute path", c.Name, c.IngressLog)
	case c.Connect == nil || c.Connected == nil || c.Watch == nil:
		return fmt.Errorf("node %s: Connect, Connected and Watch are required", c.Name)
	case c.Images == nil:
		return fmt.Errorf("node %s: Images is required", c.Name)
	case c.Certificates == nil:
		return fmt.Errorf("node %s: Certificates is required", c.Name)
	}
	if c.PartLogs == nil {
		c.PartLogs = func(context.Context, []string, string, agent.PartLogOptions, io.Writer) error {
			return errors.New("what the node's parts print is not kept")
		}
	}
	if c.Stage == nil {
		c.Stage = func(string, time.Time) {}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return nil
}

// seccompDir has the node's seccomp profiles.
func (c *Config) seccompDir() string { return filepath.Join(c.DataDir, "seccomp") }

// wait returns when the API server can be used, or ctx has ended.
func (c *Config) wait(ctx context.Context) error {
	select {
	case <-c.Connected:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
