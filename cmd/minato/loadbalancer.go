package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"minato/internal/cluster"
	"minato/internal/cluster/standalone/balancer"
)

func newLoadBalancerCommand(o *options) *cobra.Command {
	var cfg balancer.Config
	cmd := &cobra.Command{
		Use:     "loadbalancer",
		Aliases: []string{"lb"},
		Short:   "Show the addresses of Services of type LoadBalancer, and why; or give and announce them in any cluster",
		Long: `In a cluster of "minato up" the commands below show which addresses Services
of type LoadBalancer have, and why.

With --kubeconfig, or in a Pod, this announces the addresses at one node of a
cluster that something else runs, in place of MetalLB and with its objects. It
runs on every node; one of these processes gives Services their addresses. The
node is the network namespace that the command runs in.

What it brings into the kernel outlives the process, so a restart or a crash
interrupts nothing. --cleanup takes all of it away.`,
		Example: `  minato loadbalancer ls
  minato loadbalancer show sample-lb
  minato loadbalancer --kubeconfig /etc/minato/loadbalancer.conf --node worker-1
  minato loadbalancer --cleanup`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := knownCommand(cmd, args); err != nil {
				return err
			}
			if !cfg.Meant() {
				return cmd.Help()
			}
			if err := noName(cmd, "this serves a cluster that something else runs"); err != nil {
				return err
			}
			return balancer.Run(cmd.Context(), cfg)
		},
	}
	cfg.AddFlags(cmd.Flags())
	cmd.AddCommand(newLoadBalancerListCommand(o), newLoadBalancerShowCommand(o))
	return cmd
}

func newLoadBalancerListCommand(o *options) *cobra.Command {
	var f serviceFlags
	cmd := &cobra.Command{
		Use:     "ls",
		Aliases: []string{"list"},
		Short:   "List the addresses of Services, the nodes that announce them, and the nodes that get their flows",
		Example: "  minato loadbalancer ls\n  minato loadbalancer ls --node node-2 -o json",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			all, err := cluster.ReadLoadBalancers(cmd.Context(), o.name, f.node)
			if err != nil {
				return err
			}
			if f.output == "json" {
				return printJSON(cmd.OutOrStdout(), all)
			}
			return cluster.ListLoadBalancers(cmd.OutOrStdout(), all)
		},
	}
	f.add(cmd)
	return cmd
}

func newLoadBalancerShowCommand(o *options) *cobra.Command {
	var f serviceFlags
	cmd := &cobra.Command{
		Use:   "show [NAMESPACE/]NAME",
		Short: "Show why a Service has its address, which node announces it, who would be next, and who gets the flows",
		Example: `  minato loadbalancer show sample-lb
  minato loadbalancer show ingress/gateway --node node-2 -o json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			namespace, name, err := oneService(cmd, args)
			if err != nil {
				return err
			}
			all, err := cluster.ReadLoadBalancers(cmd.Context(), o.name, f.node)
			if err != nil {
				return err
			}
			for _, s := range all {
				if s.Namespace != namespace || s.Name != name {
					continue
				}
				if f.output == "json" {
					return printJSON(cmd.OutOrStdout(), s)
				}
				return s.Write(cmd.OutOrStdout())
			}
			return fmt.Errorf("there is no Service %s/%s of type LoadBalancer that Minato gives addresses to; `minato loadbalancer ls` lists those", namespace, name)
		},
	}
	f.add(cmd)
	return cmd
}
