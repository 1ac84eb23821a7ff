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
	"strings"
)

// DefaultName is the name of the cluster where --name is not given.
const DefaultName = "minato"

// Config is what a cluster is made from. It is kept with the cluster's data,
// so that `up` after `down` brings back the same one.
type Config struct {
	Name          string       `json:"name"`
	Nodes         int          `json:"nodes"`
	LAN           netip.Prefix `json:"lan"`
	PodCIDR       netip.Prefix `json:"podCIDR"`
	ServiceCIDR   netip.Prefix `json:"serviceCIDR"`
	ClusterDomain string       `json:"clusterDomain"`
	APIPort       int          `json:"apiPort"`
	// Ephemeral keeps the data in memory: gone with `down`, never on disk.
	Ephemeral bool `json:"ephemeral,omitempty"`
	// External etcd, in place of the embedded one.
	EtcdServers  []string `json:"etcdServers,omitempty"`
	EtcdCAFile   string   `json:"etcdCAFile,omitempty"`
	EtcdCertFile string   `json:"etcdCertFile,omitempty"`
	EtcdKeyFile  string   `json:"etcdKeyFile,omitempty"`
	// Kubeconfig is the file that `up` wrote to, where that is not the user's own.
	Kubeconfig string `json:"kubeconfig,omitempty"`
}

// DefaultConfig has the public ranges that kubeadm has.
func DefaultConfig() Config {
	return Config{
		Name:          DefaultName,
		Nodes:         3,
		LAN:           netip.MustParsePrefix("172.30.0.0/16"),
		PodCIDR:       netip.MustParsePrefix("10.244.0.0/16"),
		ServiceCIDR:   netip.MustParsePrefix("10.96.0.0/16"),
		ClusterDomain: "cluster.local",
		APIPort:       6443,
	}
}

// Limits of what one LAN and its links can carry.
const (
	maxNodes     = 200
	podCIDRBits  = 24 // each node's share of the Pod range
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

// Validate tells the first thing that is wrong with c, by its flag.
func (c Config) Validate() error {
	if err := ValidateName(c.Name); err != nil {
		return err
	}
	if c.Nodes < 1 || c.Nodes > maxNodes {
		return fmt.Errorf("--nodes %d: give a number from 1 to %d", c.Nodes, maxNodes)
	}
	if c.APIPort < 1 || c.APIPort > 65535 {
		return fmt.Errorf("--api-port %d: give a port from 1 to 65535", c.APIPort)
	}
	ranges := []struct {
		flag   string
		prefix netip.Prefix
		bits   int // the longest prefix that has room enough
	}{{"--lan-cidr", c.LAN, 24}, {"--pod-cidr", c.PodCIDR, podCIDRBits}, {"--service-cidr", c.ServiceCIDR, 27}}
	for i, r := range ranges {
		switch {
		case !r.prefix.IsValid() || !r.prefix.Addr().Is4():
			return fmt.Errorf("%s %s: give an IPv4 range such as 10.10.0.0/16", r.flag, r.prefix)
		case r.prefix != r.prefix.Masked():
			return fmt.Errorf("%s %s: the range has bits set behind its length; did you mean %s?", r.flag, r.prefix, r.prefix.Masked())
		case r.prefix.Bits() > r.bits:
			return fmt.Errorf("%s %s: the range is too small; give a /%d or larger", r.flag, r.prefix, r.bits)
		}
		for _, other := range ranges[:i] {
			if r.prefix.Overlaps(other.prefix) {
				return fmt.Errorf("%s %s overlaps %s %s: give ranges that do not overlap", r.flag, r.prefix, other.flag, other.prefix)
			}
		}
	}
	if c.Nodes >= 1<<(podCIDRBits-c.PodCIDR.Bits()) {
		return fmt.Errorf("--pod-cidr %s: has room for %d nodes with a /%d each, and --nodes is %d", c.PodCIDR, 1<<(podCIDRBits-c.PodCIDR.Bits())-1, podCIDRBits, c.Nodes)
	}
	if c.Ephemeral && len(c.EtcdServers) > 0 {
		return errors.New("--ephemeral and --etcd-servers exclude each other: an external etcd keeps its data itself")
	}
	if (c.EtcdCertFile == "") != (c.EtcdKeyFile == "") {
		return errors.New("--etcd-certfile and --etcd-keyfile go together: give both or none")
	}
	if c.ClusterDomain == "" || strings.HasPrefix(c.ClusterDomain, ".") {
		return fmt.Errorf("--cluster-domain %q: give a domain name such as cluster.local", c.ClusterDomain)
	}
	return nil
}

// NodeName returns the name of node number i, counted from 1.
func NodeName(i int) string { return fmt.Sprintf("node-%d", i) }

// Gateway is the machine's own address on the LAN.
func (c Config) Gateway() netip.Addr { return nth(c.LAN.Addr(), 1) }

// NodeIP is the LAN address of node number i.
func (c Config) NodeIP(i int) netip.Addr { return nth(c.LAN.Addr(), uint32(firstNodeLAN+i)) }

// NodePodCIDR is the Pod range of node number i.
func (c Config) NodePodCIDR(i int) netip.Prefix {
	return netip.PrefixFrom(nth(c.PodCIDR.Addr(), uint32(i)<<(32-podCIDRBits)), podCIDRBits)
}

// DNSIP is the address of the kube-dns Service.
func (c Config) DNSIP() netip.Addr { return nth(c.ServiceCIDR.Addr(), 10) }

// ContextName is the cluster's context in a kubeconfig.
func (c Config) ContextName() string {
	if c.Name == DefaultName {
		return DefaultName
	}
	return DefaultName + "-" + c.Name
}

func nth(base netip.Addr, n uint32) netip.Addr {
	b := base.As4()
	v := uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
	v += n
	return netip.AddrFrom4([4]byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)})
}

// ErrNoCluster says that there is no cluster of that name.
var ErrNoCluster = errors.New("no such cluster")

// LoadConfig reads the configuration of an existing cluster.
func LoadConfig(name string) (Config, error) {
	path := Paths{Name: name}.Config()
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Config{}, fmt.Errorf("cluster %q: %w; `minato up%s` makes it", name, ErrNoCluster, nameFlag(name))
	}
	if err != nil {
		return Config{}, fmt.Errorf("cluster %q: %w", name, err)
	}
	var c Config
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

// nameFlag is what a command line needs to mean the cluster of that name.
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
