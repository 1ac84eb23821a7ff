package balancer

import (
	"os"

	"github.com/spf13/pflag"

	"minato/internal/cluster/standalone/foreign"
)

// Config is the command line. Flags that MetalLB has too mean the same.
type Config struct {
	// Node is the name of the node's object; empty is NODE_NAME of the environment or else the host's name.
	Node string
	foreign.Connection
	// MetricsBindAddress is where /metrics, /healthz and /livez answer, empty for nowhere.
	MetricsBindAddress string
	// Class is the load balancer class of the Services to serve, and of no others. Empty serves those without a class, and
	// those of loadbalancer.Class.
	Class string
	// IgnoreExclude has nodes announce although they are labelled to be left out by load balancers.
	IgnoreExclude bool
	// Uplinks are the interfaces to announce on; without any, those that have the node's addresses.
	Uplinks []string
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
	const node = "name of the node's object (default: $NODE_NAME, or else the host's name in lower case)"
	f.StringVar(&cfg.Node, "node", "", node)
	f.StringVar(&cfg.Node, "node-name", "", "the same as --node, as MetalLB has it")
	cfg.Connection.AddFlags(f)
	f.StringVar(&cfg.MetricsBindAddress, "metrics-bind-address", ":7472", "address of /metrics, /healthz and /livez, empty for none")
	f.StringVar(&cfg.Class, "lb-class", "", "load balancer class of the Services to serve, and of no others (default: Services without a class)")
	f.BoolVar(&cfg.IgnoreExclude, "ignore-exclude-lb", false, "announce also from nodes with the label node.kubernetes.io/exclude-from-external-load-balancers")
	f.StringSliceVar(&cfg.Uplinks, "uplink", nil, "interface to announce on, repeatable (default: those that have the node's addresses)")
	f.StringVar(&cfg.BPFDir, "bpf-dir", "", foreign.BPFDirUsage(part))
	f.BoolVar(&cfg.Cleanup, "cleanup", false, "remove everything that was left in the kernel of this node, and end")
	f.IntVarP(&cfg.Verbosity, "v", "v", 0, foreign.VerbosityUsage)
}

// Meant tells whether the command line, or the Pod that the process is in, has a cluster to serve.
func (cfg *Config) Meant() bool {
	return cfg.Kubeconfig != "" || cfg.Master != "" || cfg.Cleanup || os.Getenv("KUBERNETES_SERVICE_HOST") != ""
}

// complete fills what has defaults and checks the rest. It changes nothing on the machine.
func (cfg *Config) complete() (err error) {
	if cfg.Node, err = foreign.NodeName(cfg.Node); err != nil {
		return err
	}
	return foreign.NeedRoot()
}
