package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"minato/internal/cluster"
)

func newUpCommand(o *options) *cobra.Command {
	c := cluster.DefaultConfig()
	wait := 60 * time.Second
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Start a cluster on this machine",
		Long: `Start a cluster of real nodes on this machine, and return when every node is
Ready and DNS answers. A cluster that was stopped with "minato down" comes back
with its data and its settings.

The cluster's context is merged into your kubeconfig and made the current one;
with --kubeconfig it is written to that file alone.`,
		Example: `  minato up
  minato up --nodes 5 --ephemeral
  minato up --name test --lan-cidr 172.31.0.0/16 --pod-cidr 10.245.0.0/16 --service-cidr 10.97.0.0/16 --api-port 7443 --kubeconfig test.conf`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			config, err := upConfig(cmd, o.name, c)
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeoutCause(cmd.Context(), wait, fmt.Errorf("not within %s (--wait)", wait))
			defer cancel()
			return up(ctx, cmd.OutOrStdout(), config)
		},
	}
	f := cmd.Flags()
	f.IntVar(&c.Nodes, "nodes", c.Nodes, "number of nodes")
	f.BoolVar(&c.Ephemeral, "ephemeral", false, "keep the data in memory: faster, and gone with `minato down`")
	f.StringVar(&c.Kubeconfig, "kubeconfig", "", "write the kubeconfig to this file, and leave yours alone")
	f.DurationVar(&wait, "wait", wait, "how long to wait until the cluster is ready")
	f.IntVar(&c.APIPort, "api-port", c.APIPort, "port of the API server")
	prefixVar(cmd, &c.LAN, "lan-cidr", "range of the nodes' addresses")
	prefixVar(cmd, &c.PodCIDR, "pod-cidr", "range of the Pods' addresses; each node has a /24 of it")
	prefixVar(cmd, &c.ServiceCIDR, "service-cidr", "range of the Services' addresses")
	f.StringVar(&c.ClusterDomain, "cluster-domain", c.ClusterDomain, "DNS domain of the cluster")
	f.StringSliceVar(&c.EtcdServers, "etcd-servers", nil, "use this etcd (URLs) in place of the built-in one")
	f.StringVar(&c.EtcdCAFile, "etcd-cafile", "", "CA of --etcd-servers")
	f.StringVar(&c.EtcdCertFile, "etcd-certfile", "", "client certificate for --etcd-servers")
	f.StringVar(&c.EtcdKeyFile, "etcd-keyfile", "", "key of --etcd-certfile")
	return cmd
}

func prefixVar(cmd *cobra.Command, p *netip.Prefix, name, usage string) {
	cmd.Flags().Var(&prefixValue{p}, name, usage)
}

// prefixValue is a flag that holds a range.
type prefixValue struct{ p *netip.Prefix }

func (v *prefixValue) String() string {
	if v.p == nil || !v.p.IsValid() {
		return ""
	}
	return v.p.String()
}
func (v *prefixValue) Type() string { return "cidr" }
func (v *prefixValue) Set(s string) (err error) {
	if *v.p, err = netip.ParsePrefix(s); err != nil {
		return fmt.Errorf("give a range such as 10.10.0.0/16: %w", err)
	}
	return nil
}

// upConfig takes an existing cluster's settings, and the flags where they
// were given.
func upConfig(cmd *cobra.Command, name string, flags cluster.Config) (cluster.Config, error) {
	flags.Name = name
	if err := cluster.ValidateName(name); err != nil {
		return flags, usageError{err}
	}
	if err := cluster.RequireRoot(); err != nil {
		return flags, err
	}
	c, err := cluster.LoadConfig(name)
	if errors.Is(err, cluster.ErrNoCluster) {
		c, err = flags, nil
	}
	if err != nil {
		return c, err
	}
	for flag, set := range map[string]func(){
		"nodes":          func() { c.Nodes = flags.Nodes },
		"ephemeral":      func() { c.Ephemeral = flags.Ephemeral },
		"kubeconfig":     func() { c.Kubeconfig = flags.Kubeconfig },
		"api-port":       func() { c.APIPort = flags.APIPort },
		"lan-cidr":       func() { c.LAN = flags.LAN },
		"pod-cidr":       func() { c.PodCIDR = flags.PodCIDR },
		"service-cidr":   func() { c.ServiceCIDR = flags.ServiceCIDR },
		"cluster-domain": func() { c.ClusterDomain = flags.ClusterDomain },
		"etcd-servers":   func() { c.EtcdServers = flags.EtcdServers },
		"etcd-cafile":    func() { c.EtcdCAFile = flags.EtcdCAFile },
		"etcd-certfile":  func() { c.EtcdCertFile = flags.EtcdCertFile },
		"etcd-keyfile":   func() { c.EtcdKeyFile = flags.EtcdKeyFile },
	} {
		if cmd.Flags().Changed(flag) {
			set()
		}
	}
	if err := c.Validate(); err != nil {
		return c, usageError{err}
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
	took := time.Since(began).Round(time.Millisecond)
	if result.Was {
		fmt.Fprintf(out, "Cluster %q is running already.\n", c.Name)
	} else {
		fmt.Fprintf(out, "Cluster %q is ready after %s: %d nodes, Kubernetes API on https://127.0.0.1:%d\n", c.Name, took, c.Nodes, c.APIPort)
	}
	fmt.Fprintf(out, "Context %q is in %s. Try: kubectl get nodes   (or: minato kubectl get nodes)\n", result.Context, result.Kubeconfig)
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
