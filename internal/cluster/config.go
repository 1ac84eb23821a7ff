package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"minato/internal/node/settings"
)

// DefaultName is the name of the cluster where --name is not given.
const DefaultName = "minato"

// Config is what a cluster is made from. It is kept with the cluster's data,
// so that `up` after `down` brings back the same one.
type Config struct {
	Name          string   `json:"name"`
	Nodes         int      `json:"nodes"`
	IPFamily      IPFamily `json:"ipFamily"`
	LAN           Ranges   `json:"lan"`
	PodCIDR       Ranges   `json:"podCIDR"`
	ServiceCIDR   Ranges   `json:"serviceCIDR"`
	ClusterDomain string   `json:"clusterDomain"`
	APIPort       int      `json:"apiPort"`
	// Ephemeral keeps the data in memory: gone with `down`, never on disk.
	Ephemeral bool `json:"ephemeral,omitempty"`
	// External etcd, in place of the embedded one.
	EtcdServers  []string `json:"etcdServers,omitempty"`
	EtcdCAFile   string   `json:"etcdCAFile,omitempty"`
	EtcdCertFile string   `json:"etcdCertFile,omitempty"`
	EtcdKeyFile  string   `json:"etcdKeyFile,omitempty"`
	// AllowedUnsafeSysctls are names of sysctls, or prefixes that end in *, which
	// Pods may set beside the kubelet's list of safe ones.
	AllowedUnsafeSysctls []string `json:"allowedUnsafeSysctls,omitempty"`
	// RuntimeHandlers are OCI runtimes beside the default one, paths of programs by
	// the names that RuntimeClasses have for them.
	RuntimeHandlers map[string]string `json:"runtimeHandlers,omitempty"`
	// RuntimeEndpoint is the socket of a container runtime that runs the Pods of all
	// nodes that have none of their own, unix:///PATH, in which {node} stands for the
	// node's name; empty, or OwnRuntime for a node, is Minato's own.
	RuntimeEndpoint string `json:"containerRuntimeEndpoint,omitempty"`
	// Registries says how images come from registries.
	Registries RegistrySettings `json:"registries,omitzero"`
	// LoadBalancerRange are the addresses of the cluster's own pool.
	LoadBalancerRange PoolRanges `json:"loadBalancerRange,omitempty"`
	// OldAPIs has the API server serve old versions of Kubernetes' kinds as well.
	OldAPIs bool `json:"oldAPIs"`
	// Claim is what each node has of the machine.
	Claim Claim `json:"claim,omitzero"`
	// Kubelet are settings of the nodes' agents, those that a node does not have for
	// itself.
	Kubelet *settings.Kubelet `json:"kubelet,omitempty"`
	// Mounts are directories of the machine that all nodes have.
	Mounts Mounts `json:"mounts,omitempty"`
	// NodeList has the nodes once they are others than the first so many by their
	// numbers.
	NodeList []NodeSpec `json:"nodeList,omitempty"`
	// PodUsers are the blocks of the machine's users that each node, by its number, has for
	// Pods with hostUsers: false.
	PodUsers map[int][]UserBlocks `json:"podUsers,omitempty"`
	// Created is when the cluster was made; zero if a version made it that did not
	// write it down.
	Created time.Time `json:"created,omitzero"`
	// TaintControlPlane has the control plane's node registered with the taint that
	// keeps Pods off it which do not tolerate it.
	TaintControlPlane bool `json:"taintControlPlane,omitempty"`
	// Kubeconfig is the file that `up` wrote to, where that is not the user's own.
	Kubeconfig string `json:"kubeconfig,omitempty"`
}

// DefaultConfig is an IPv4 cluster of three nodes.
func DefaultConfig() Config {
	return Config{
		Name:          DefaultName,
		Nodes:         3,
		IPFamily:      IPv4,
		ClusterDomain: "cluster.local",
		APIPort:       defaultAPIPort,
		OldAPIs:       true,
	}.WithDefaultRanges()
}

// defaultAPIPort is where clients look for an API server first.
const defaultAPIPort = 6443

// Limits of what one LAN and its links can carry.
const (
	maxNodes     = 200
	firstNodeLAN = 10 // node-1 is the LAN's address 11
)

// nameRule keeps link names within the kernel's 15 bytes.
var nameRule = regexp.MustCompile(`^[a-z][a-z0-9-]{0,8}[a-z0-9]$|^[a-z]$`)

// ValidateName tells whether name can be a cluster's.
func ValidateName(name string) error {
	if !nameRule.MatchString(name) {
		return fmt.Errorf("--name %q: a cluster's name is 1 to 10 characters of a-z, 0-9 and -, starts with a letter and does not end with -", name)
	}
	return nil
}

// Validate returns a SettingError for the first invalid setting, which names its
// flag.
func (c Config) Validate() error {
	if err := c.validate(); err != nil {
		return SettingError{err}
	}
	return nil
}

func (c Config) validate() error {
	if err := ValidateName(c.Name); err != nil {
		return err
	}
	if c.Nodes < 1 || c.Nodes > maxNodes {
		return fmt.Errorf("--nodes %d: give a number from 1 to %d", c.Nodes, maxNodes)
	}
	if last := c.lastNumber(); last > maxNodes {
		return fmt.Errorf("the cluster has %d nodes, the most that there can be; remove one first", maxNodes)
	}
	if c.APIPort < 1 || c.APIPort > 65535 {
		return fmt.Errorf("--api-port %d: give a port from 1 to 65535", c.APIPort)
	}
	if err := c.validateRanges(); err != nil {
		return err
	}
	if err := c.validatePool(); err != nil {
		return err
	}
	if c.Ephemeral && len(c.EtcdServers) > 0 {
		return errors.New("--ephemeral and --etcd-servers exclude each other: an external etcd keeps its data itself")
	}
	if (c.EtcdCertFile == "") != (c.EtcdKeyFile == "") {
		return errors.New("--etcd-certfile and --etcd-keyfile go together: give both or none")
	}
	for _, name := range c.AllowedUnsafeSysctls {
		if !slices.ContainsFunc(namespacedSysctls, func(prefix string) bool { return strings.HasPrefix(name, prefix) }) {
			return fmt.Errorf("--allowed-unsafe-sysctls %s: the kernel has one value of it for the whole machine; only kernel.shm*, kernel.msg*, kernel.sem, fs.mqueue.* and net.* can be a Pod's own", name)
		}
	}
	if err := c.validateClaims(); err != nil {
		return err
	}
	if err := c.validateKubelets(); err != nil {
		return err
	}
	if err := c.validateMounts(); err != nil {
		return err
	}
	if err := c.validateRuntimes(); err != nil {
		return err
	}
	if c.ClusterDomain == "" || strings.HasPrefix(c.ClusterDomain, ".") {
		return fmt.Errorf("--cluster-domain %q: give a domain name such as cluster.local", c.ClusterDomain)
	}
	return nil
}

// namespacedSysctls are the beginnings of the names of those sysctls of which
// each namespace has a value of its own.
var namespacedSysctls = []string{"kernel.shm", "kernel.msg", "kernel.sem", "fs.mqueue.", "net."}

// NodeName returns the name of node number i, counted from 1.
func NodeName(i int) string { return fmt.Sprintf("node-%d", i) }

// Gateways are the machine's own addresses on the LAN. Like every list of
// addresses here, it has one address of each IP family, that of the primary
// family first.
func (c Config) Gateways() []netip.Addr { return c.LAN.nth(1) }

// NodeIPs are the LAN addresses of node number i.
func (c Config) NodeIPs(i int) []netip.Addr { return c.LAN.nth(firstNodeLAN + i) }

// NodePodCIDRs are the Pod ranges of node number i.
func (c Config) NodePodCIDRs(i int) []netip.Prefix {
	var out []netip.Prefix
	for j, f := range c.IPFamily.families() {
		out = append(out, netip.PrefixFrom(nth(c.PodCIDR[j].Addr(), i, f.nodeBits), f.nodeBits))
	}
	return out
}

// DNSIPs are the addresses of the kube-dns Service.
func (c Config) DNSIPs() []netip.Addr { return c.ServiceCIDR.nth(10) }

// Loopback is the machine's own address for the API server, beside the LAN.
func (c Config) Loopback() netip.Addr { return c.IPFamily.families()[0].loopback }

// Server is the URL of the API server for clients on this machine.
func (c Config) Server() string {
	return "https://" + netip.AddrPortFrom(c.Loopback(), uint16(c.APIPort)).String()
}

// ContextName is the cluster's context in a kubeconfig.
func (c Config) ContextName() string {
	if c.Name == DefaultName {
		return DefaultName
	}
	return DefaultName + "-" + c.Name
}

// LoadConfig reads the configuration of an existing cluster.
func LoadConfig(name string) (Config, error) {
	path := Paths{Name: name}.Config()
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Config{}, NoClusterError(name)
	}
	if err != nil {
		return Config{}, fmt.Errorf("cluster %q: %w", name, err)
	}
	c := Config{IPFamily: IPv4, OldAPIs: true} // earlier versions made IPv4 clusters only, and wrote neither
	if err := json.Unmarshal(data, &c); err != nil {
		return Config{}, fmt.Errorf("cluster %q: read %s: %w; `minato delete%s` removes what is left", name, path, err, nameFlag(name))
	}
	return c, nil
}

// Save writes c to the cluster's data directory.
func (c Config) Save() error {
	data, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(Paths{Name: c.Name}.Config(), append(data, '\n'), 0o600)
}

// nameFlag is the flag that has a command act on the cluster of that name, or
// nothing for the default name.
func nameFlag(name string) string {
	if name == DefaultName {
		return ""
	}
	return " --name " + name
}

// writeFile replaces the file in one step, so that nobody reads half of it.
func writeFile(path string, data []byte, mode os.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(data)
	err = errors.Join(err, tmp.Chmod(mode), tmp.Close())
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return os.Rename(tmp.Name(), path)
}
