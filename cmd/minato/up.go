package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"minato/internal/cluster"
)

func newUpCommand(o *options) *cobra.Command {
	c := cluster.DefaultConfig()
	// These are chosen for what is free on the machine, and by --ip-family.
	c.LAN, c.PodCIDR, c.ServiceCIDR, c.APIPort = nil, nil, nil, 0
	wait := 60 * time.Second
	var file, kubeletFile string
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Start a cluster on this machine",
		Long: `Start a cluster of real nodes on this machine, and return when every node is
Ready and DNS answers. It needs root, and nothing else that has to be running.

What is mostly asked first:
  How do I use it?         Its context is merged into your kubeconfig and made the
                           current one, so kubectl works; without one, type
                           "minato kubectl". --kubeconfig FILE leaves yours alone.
  How do I stop it?        "minato down" keeps its data and settings, and "minato up"
                           brings it back. "minato delete" removes all of it.
  Where do images come     From their registries, or from "minato image load FILE",
  from?                    once for all nodes.
  How do I get a second?   Give it a --name. It gets ranges and a port that are free
                           on the machine, and keeps them; those that you give are
                           taken as they are, or refused if something has them.
  IPv6?                    --ip-family ipv6, or dual with IPv4 as the primary family.
                           Each of the ranges is one of each family then, with a comma
                           between.
  What went wrong?         "minato status", and "minato logs".`,
		Example: `  minato up
  minato up --nodes 5 --ephemeral                # five nodes, data in memory
  minato up --ip-family dual
  minato up --nodes 2 --node-cpu 2 --node-memory 4Gi
  minato up --node-hugepages 2Mi=128Mi
  minato up --mount /srv/data:/data --mount /home/me/src:ro
  minato up --config cluster.yaml
  minato up --registry-config /etc/containerd/certs.d
  minato up --runtime-handler runc=/usr/sbin/runc
  minato up --name test --kubeconfig test.conf   # a second cluster beside the first`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case wait <= 0:
				return usageError{fmt.Errorf("--wait %s: give a duration such as 60s", wait)}
			case cmd.Flags().Changed("api-port") && c.APIPort == 0:
				return usageError{errors.New("--api-port 0: give a port from 1 to 65535, or leave --api-port out for one that is free")}
			}
			f, err := readClusterFile(file)
			if err != nil {
				return err
			}
			if f != nil && f.Name != "" && !cmd.Flags().Changed("name") {
				o.name = f.Name
			}
			if c.Kubelet, err = readKubeletFile(kubeletFile); err != nil {
				return err
			}
			config, err := upConfig(cmd, o.name, c, f)
			if err != nil {
				return err
			}
			if err := f.check(config); err != nil {
				return err
			}
			ctx, cancel := context.WithTimeoutCause(cmd.Context(), wait, fmt.Errorf("not within %s (--wait)", wait))
			defer cancel()
			if err := up(ctx, cmd.OutOrStdout(), config); err != nil {
				return err
			}
			return f.finish(cmd.Context(), cmd.OutOrStdout(), config.Name)
		},
	}
	f := cmd.Flags()
	f.StringVar(&file, "config", "", "a file that describes the cluster (docs/cluster-file.md); flags that are given win")
	f.IntVar(&c.Nodes, "nodes", c.Nodes, "number of nodes")
	f.BoolVar(&c.Ephemeral, "ephemeral", false, "keep the data in memory: faster, and gone with \"minato down\"")
	f.StringVar(&c.Kubeconfig, "kubeconfig", "", "merge the context into this file, and leave your own kubeconfig alone")
	f.DurationVar(&wait, "wait", wait, "how long to wait until the cluster is ready")
	f.IntVar(&c.APIPort, "api-port", c.APIPort, "port of the API server (default 6443, or the next that is free)")
	f.Var(&c.IPFamily, "ip-family", "addresses of the cluster: ipv4, ipv6 or dual")
	rangesVar := func(r *cluster.Ranges, name, usage string, defaults func(cluster.Config) cluster.Ranges) {
		all := cluster.Config{IPFamily: cluster.DualStack}.WithDefaultRanges()
		f.Var(r, name, fmt.Sprintf("%s (default %s, or others that are free)", usage, defaults(all)))
	}
	rangesVar(&c.LAN, "lan-cidr", "ranges of the nodes' addresses", func(c cluster.Config) cluster.Ranges { return c.LAN })
	rangesVar(&c.PodCIDR, "pod-cidr", "ranges of the Pods' addresses; each node has a /24 or /64 of them", func(c cluster.Config) cluster.Ranges { return c.PodCIDR })
	rangesVar(&c.ServiceCIDR, "service-cidr", "ranges of the Services' addresses", func(c cluster.Config) cluster.Ranges { return c.ServiceCIDR })
	f.Var(&c.LoadBalancerRange, "load-balancer-range", "addresses for Services of type LoadBalancer: ranges such as 172.30.200.1-172.30.200.250 with commas between, or \"none\" (default a part of the LAN)")
	f.Int64Var(&c.Claim.CPUs, "node-cpu", 0, "CPUs that each node has; its Pods get no more (default all of the machine's)")
	f.Var(&c.Claim.Memory, "node-memory", "memory that each node has, such as 4Gi; its Pods get no more (default all of the machine's)")
	f.Int64Var(&c.Claim.PIDs, "node-pids", 0, "processes and threads that each node may have (default no limit but the machine's)")
	f.Var(&c.Claim.EphemeralStorage, "node-ephemeral-storage", "disk that each node's files and Pods may take, such as 20Gi, without claims and images (default all of the machine's)")
	f.Var(&c.Claim.HugePages, "node-hugepages", "huge pages that each node has of a size, such as 2Mi=128Mi, with commas between sizes; its Pods get no more (default all of the machine's)")
	f.StringVar(&kubeletFile, "kubelet-config", "", "a KubeletConfiguration with settings of the nodes' agents, such as evictionHard (docs/kubelet-config.md)")
	f.Var(&c.Mounts, "mount", "give all nodes a directory of this machine, at the same path or at DST, read-only with :ro; may be given several times")
	f.StringVar(&c.ClusterDomain, "cluster-domain", c.ClusterDomain, "DNS domain of the cluster")
	f.BoolVar(&c.OldAPIs, "old-apis", true, "serve old versions of Kubernetes' kinds, such as Ingress in extensions/v1beta1, as well")
	f.BoolVar(&c.TaintControlPlane, "taint-control-plane", false, "keep Pods that do not tolerate it off node-1, by the taint node-role.kubernetes.io/control-plane:NoSchedule")
	f.StringSliceVar(&c.AllowedUnsafeSysctls, "allowed-unsafe-sysctls", nil, "sysctls, or prefixes that end in *, that Pods may set beside the safe ones; namespaced ones only")
	f.StringToStringVar(&c.RuntimeHandlers, "runtime-handler", nil, "NAME=PATH of an OCI runtime, such as runc=/usr/sbin/runc, for Pods whose RuntimeClass has the handler NAME; may be given several times")
	f.StringVar(&c.RuntimeEndpoint, "container-runtime-endpoint", "", "have a container runtime of this machine run the Pods, by its socket, such as unix:///run/containerd/containerd.sock; {node} stands for a node's name (docs/cri.md)")
	f.StringVar(&c.Registries.Config, "registry-config", "", "mirrors, plain HTTP, CAs and the like of registries: a folder as containerd's certs.d, or a file with the same by registry (docs/images.md)")
	f.StringVar(&c.Registries.Providers, "image-credential-provider-config", "", "a CredentialProviderConfig as kubelet takes it: programs that have logins for registries")
	f.StringVar(&c.Registries.ProviderBinDir, "image-credential-provider-bin-dir", "", "the directory of the programs of --image-credential-provider-config")
	f.StringSliceVar(&c.EtcdServers, "etcd-servers", nil, "use this etcd (URLs) in place of the built-in one")
	f.StringVar(&c.EtcdCAFile, "etcd-cafile", "", "CA of --etcd-servers")
	f.StringVar(&c.EtcdCertFile, "etcd-certfile", "", "client certificate for --etcd-servers")
	f.StringVar(&c.EtcdKeyFile, "etcd-keyfile", "", "key of --etcd-certfile")
	groupFlags(cmd,
		flagGroup{"Size and data", []string{"config", "nodes", "ephemeral", "wait"}},
		flagGroup{"How it is reached", []string{"kubeconfig", "api-port"}},
		flagGroup{"Addresses and names", []string{"ip-family", "lan-cidr", "pod-cidr", "service-cidr", "load-balancer-range", "cluster-domain"}},
		flagGroup{"Kubernetes", []string{"old-apis", "allowed-unsafe-sysctls", "container-runtime-endpoint"}},
		flagGroup{"Images", []string{"registry-config", "image-credential-provider-config", "image-credential-provider-bin-dir"}},
		flagGroup{"An etcd of your own", []string{"etcd-servers", "etcd-cafile", "etcd-certfile", "etcd-keyfile"}},
	)
	return cmd
}

// upConfig takes an existing cluster's settings, and the flags where they
// were given.
func upConfig(cmd *cobra.Command, name string, flags cluster.Config, file *clusterFile) (cluster.Config, error) {
	flags.Name = name
	if err := cluster.ValidateName(name); err != nil {
		return flags, usageError{err}
	}
	if err := cluster.RequireRoot(); err != nil {
		return flags, err
	}
	c, err := cluster.LoadConfig(name)
	exists := err == nil
	if errors.Is(err, cluster.ErrNoCluster) {
		c, err = flags, nil
	}
	if err != nil {
		return c, err
	}
	if file != nil && len(file.Nodes) > 0 && cmd.Flags().Changed("nodes") {
		return c, usageError{fmt.Errorf("--nodes and the nodes of --config %s exclude each other: leave one of them out", file.path)}
	}
	if c, err = file.apply(c, exists); err != nil {
		return c, err
	}
	if cmd.Flags().Changed("ip-family") && flags.IPFamily != c.IPFamily {
		c.IPFamily, c.LAN, c.PodCIDR, c.ServiceCIDR, c.LoadBalancerRange = flags.IPFamily, nil, nil, nil, ""
	}
	for flag, set := range map[string]func(){
		"nodes":                             func() { c.Nodes = flags.Nodes },
		"ephemeral":                         func() { c.Ephemeral = flags.Ephemeral },
		"kubeconfig":                        func() { c.Kubeconfig = flags.Kubeconfig },
		"api-port":                          func() { c.APIPort = flags.APIPort },
		"lan-cidr":                          func() { c.LAN = flags.LAN },
		"pod-cidr":                          func() { c.PodCIDR = flags.PodCIDR },
		"service-cidr":                      func() { c.ServiceCIDR = flags.ServiceCIDR },
		"load-balancer-range":               func() { c.LoadBalancerRange = flags.LoadBalancerRange },
		"cluster-domain":                    func() { c.ClusterDomain = flags.ClusterDomain },
		"node-cpu":                          func() { c.Claim.CPUs = flags.Claim.CPUs },
		"node-memory":                       func() { c.Claim.Memory = flags.Claim.Memory },
		"node-pids":                         func() { c.Claim.PIDs = flags.Claim.PIDs },
		"node-ephemeral-storage":            func() { c.Claim.EphemeralStorage = flags.Claim.EphemeralStorage },
		"node-hugepages":                    func() { c.Claim.HugePages = flags.Claim.HugePages },
		"kubelet-config":                    func() { c.Kubelet = flags.Kubelet },
		"mount":                             func() { c.Mounts = flags.Mounts },
		"old-apis":                          func() { c.OldAPIs = flags.OldAPIs },
		"taint-control-plane":               func() { c.TaintControlPlane = flags.TaintControlPlane },
		"allowed-unsafe-sysctls":            func() { c.AllowedUnsafeSysctls = flags.AllowedUnsafeSysctls },
		"runtime-handler":                   func() { c.RuntimeHandlers = flags.RuntimeHandlers },
		"container-runtime-endpoint":        func() { c.RuntimeEndpoint = flags.RuntimeEndpoint },
		"registry-config":                   func() { c.Registries.Config = flags.Registries.Config },
		"image-credential-provider-config":  func() { c.Registries.Providers = flags.Registries.Providers },
		"image-credential-provider-bin-dir": func() { c.Registries.ProviderBinDir = flags.Registries.ProviderBinDir },
		"etcd-servers":                      func() { c.EtcdServers = flags.EtcdServers },
		"etcd-cafile":                       func() { c.EtcdCAFile = flags.EtcdCAFile },
		"etcd-certfile":                     func() { c.EtcdCertFile = flags.EtcdCertFile },
		"etcd-keyfile":                      func() { c.EtcdKeyFile = flags.EtcdKeyFile },
	} {
		if cmd.Flags().Changed(flag) {
			set()
		}
	}
	return c, nil
}

func up(ctx context.Context, out io.Writer, c cluster.Config) error {
	began := time.Now()
	printer := newStagePrinter(out)
	result, err := cluster.Up(ctx, c, printer.print)
	printer.end()
	if err != nil {
		return err
	}
	c = result.Config
	took := time.Since(began).Round(time.Millisecond)
	if result.Was {
		fmt.Fprintf(out, "Cluster %q is running already.\n", c.Name)
	} else {
		fmt.Fprintf(out, "Cluster %q is ready after %s: %d nodes, Kubernetes API on %s\n", c.Name, took, c.NodesThatRun(), c.Server())
	}
	if len(result.Chosen) > 0 {
		fmt.Fprintf(out, "The usual ones are in use on this machine, so the cluster has %s\n", strings.Join(result.Chosen, " "))
	}
	fmt.Fprintf(out, "Context %q is in %s. Try: %s\n", result.Context, result.Kubeconfig, findTerminal().firstCommand(c, result))
	return nil
}

// stagePrinter shows the stages of a start: on a terminal one line that
// changes, elsewhere a line each.
type stagePrinter struct {
	out      io.Writer
	terminal bool
}

func newStagePrinter(out io.Writer) *stagePrinter {
	f, ok := out.(*os.File)
	return &stagePrinter{out: out, terminal: ok && term.IsTerminal(int(f.Fd()))}
}

func (p *stagePrinter) print(e cluster.Event) {
	if e.Stage == "" {
		return
	}
	line := fmt.Sprintf("  %7s  %-28s %s", e.At.Round(time.Millisecond), e.Stage, e.Took.Round(time.Millisecond))
	if p.terminal {
		fmt.Fprintf(p.out, "\x1b[32m✓\x1b[0m%s\n", line)
		return
	}
	fmt.Fprintln(p.out, line)
}

func (p *stagePrinter) end() {}
