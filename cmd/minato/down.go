package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"minato/internal/cluster"
)

func newDownCommand(o *options) *cobra.Command {
	grace := cluster.DefaultGrace
	cmd := &cobra.Command{
		Use:   "down",
		Short: "Stop a cluster and keep its data",
		Long: `Stop the control plane, the nodes and every container of a cluster. Its data,
certificates and images stay: "minato up" brings the same cluster back. One that
was started with --ephemeral comes back without its objects.

Pods are ended as when a machine is shut down: preStop hooks run, and each Pod has
its own grace period, but --grace at most.`,
		Example: "  minato down\n  minato down --grace 2s   # for Pods that don't end on SIGTERM",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if grace < time.Second {
				return usageError{fmt.Errorf("--grace %s: give a second or more; `minato delete` does not wait for Pods", grace)}
			}
			kept, err := cluster.Down(cmd.Context(), o.name, grace)
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "Cluster %q is down; %s.\n", o.name, kept)
			return nil
		},
	}
	cmd.Flags().DurationVar(&grace, "grace", grace, "longest grace period that a Pod gets")
	return cmd
}
