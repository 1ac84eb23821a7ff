package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"minato/internal/cluster/standalone/ingress"
)

func newIngressCommand(o *options) *cobra.Command {
	var cfg ingress.Config
	cmd := &cobra.Command{
		Use:     "ingress",
		Aliases: []string{"ing"},
		Short:   "Check Ingresses that were written for ingress-nginx; or serve the Ingresses of any cluster",
		Long: `With --kubeconfig, or in a Pod, this serves the Ingresses of a cluster that
something else runs, in place of ingress-nginx and with its flags. Several
processes may do so; one of them, which holds a Lease, writes the addresses of
Ingresses and tells of them in events.

A flag of ingress-nginx's that is not listed below is refused, with what to do
in its place.

In a cluster of "minato up" each node serves Ingresses by itself.`,
		Example: `  minato ingress check -f manifests/
  minato ingress --kubeconfig /etc/minato/ingress.conf --publish-status-address 192.0.2.10`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError{fmt.Errorf("unknown command %q; `minato ingress --help` lists the commands", args[0])}
			}
			if !cfg.Meant() {
				return cmd.Help()
			}
			return ingress.Run(cmd.Context(), cfg)
		},
	}
	cfg.AddFlags(cmd.Flags())
	return cmd
}
