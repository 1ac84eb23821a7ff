package main

import (
	"github.com/spf13/cobra"

	"minato/internal/cluster/standalone/proxy"
)

func newProxyCommand() *cobra.Command {
	var cfg proxy.Config
	cmd := &cobra.Command{
		Use:   "proxy",
		Short: "Serve the Services of one node of any cluster, in place of kube-proxy",
		Long: `Serve the Services of one node of a cluster that something else runs, in place
of kube-proxy: in eBPF, at the sockets of the node's processes and Pods, and at
packets where sockets are not seen. The node is the network namespace that the
command runs in.

What it brings into the kernel outlives the process, so a restart or a crash
interrupts nothing. --cleanup takes all of it away.

In a cluster of "minato up" this is part of every node.`,
		Example: `  minato proxy --kubeconfig /var/lib/kube-proxy/kubeconfig.conf --node worker-1
  minato proxy --cleanup`,
		Annotations: map[string]string{clusterless: "true"},
		Args:        noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return proxy.Run(cmd.Context(), cfg)
		},
	}
	cfg.AddFlags(cmd.Flags())
	return cmd
}
