package proxy

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/spf13/pflag"

	"minato/internal/cluster/standalone/foreign"
)

// Config is the command line. Flags that kube-proxy has too mean the same.
type Config struct {
	// Node is the name of the node's object; empty is NODE_NAME of the environment or else the host's name.
	Node string
	foreign.Connection
	// HealthzBindAddress and MetricsBindAddress are where to answer, empty for nowhere.
	HealthzBindAddress, MetricsBindAddress string
	// NodePortAddresses are ranges of node addresses at which NodePorts answer, or "primary" for one address of each
	// family; without any, all addresses of the Node object.
	NodePortAddresses []string
	// ServiceCIDRs are the ranges of cluster IPs; without any, those of the cluster's ServiceCIDR objects.
	ServiceCIDRs []netip.Prefix
	// Uplinks are the interfaces towards the outside; without any, those that have the node's addresses.
	Uplinks []string
	// Cgroup is the cgroup2 directory whose processes are served at their sockets, empty for the machine's root.
	Cgroup string
	// BPFDir is the directory in which eBPF programs and maps are pinned, so that they outlive the process; empty for
	// the machine's BPF file system.
	BPFDir string
	// Cleanup removes everything of an earlier process and does nothing else.
	Cleanup bool
	// Verbosity is as in all Kubernetes programs; 4 and above tell what is of interest only when something is wrong.
	Verbosity int
}

// AddFlags binds the configuration to flags.
func (cfg *Config) AddFlags(f *pflag.FlagSet) {
	f.StringVar(&cfg.Node, "node", "", "name of the node's object (default: $NODE_NAME, or else the host's name in lower case)")
	cfg.Connection.AddFlags(f)
	f.StringVar(&cfg.HealthzBindAddress, "healthz-bind-address", "0.0.0.0:10256", "address of /healthz and /livez, empty for none")
	f.StringVar(&cfg.MetricsBindAddress, "metrics-bind-address", "127.0.0.1:10249", "address of /metrics, empty for none")
	f.StringSliceVar(&cfg.NodePortAddresses, "nodeport-addresses", nil, "ranges of this node's addresses at which NodePorts answer, or primary for one address of each family (default: all addresses of the Node object)")
	f.Func("service-cidr", "range of cluster IPs, repeatable (default: those of the cluster's ServiceCIDR objects)", func(text string) error {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return errors.New("give a range such as 10.96.0.0/16")
		}
		cfg.ServiceCIDRs = append(cfg.ServiceCIDRs, p.Masked())
		return nil
	})
	f.StringSliceVar(&cfg.Uplinks, "uplink", nil, "interface towards the outside, repeatable (default: those that have the node's addresses)")
	f.StringVar(&cfg.Cgroup, "cgroup", "", "cgroup2 directory whose processes are served at their sockets; one with a subdirectory unified will do (default: the root)")
	f.StringVar(&cfg.BPFDir, "bpf-dir", "", foreign.BPFDirUsage(part))
	f.BoolVar(&cfg.Cleanup, "cleanup", false, "remove everything that a proxy left on this node, and end")
	f.IntVarP(&cfg.Verbosity, "v", "v", 0, foreign.VerbosityUsage)
}

// primary is the word for one address of each family.
const primary = "primary"

// complete fills what has defaults and checks the rest. It changes nothing on the machine.
func (cfg *Config) complete() (err error) {
	if cfg.Node, err = foreign.NodeName(cfg.Node); err != nil {
		return err
	}
	if _, err := cfg.nodePortRanges(); err != nil {
		return err
	}
	return foreign.NeedRoot()
}

// nodePortRanges parses NodePortAddresses; none means all addresses, or the primary ones.
func (cfg *Config) nodePortRanges() ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, text := range cfg.NodePortAddresses {
		if text == primary {
			if len(cfg.NodePortAddresses) > 1 {
				return nil, fmt.Errorf("--nodeport-addresses %s: %s can't be combined with ranges; leave the ranges out", strings.Join(cfg.NodePortAddresses, ","), primary)
			}
			return nil, nil
		}
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("--nodeport-addresses %s: give ranges such as 10.0.0.0/8, or %s: %w", text, primary, err)
		}
		out = append(out, p.Masked())
	}
	return out, nil
}
