package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"minato/internal/cluster"
)

func newDownCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "down",
		Short: "Stop a cluster and keep its data",
		Long: `Stop the control plane, the nodes and every container of a cluster. Its data,
certificates and images stay: "minato up" brings the same cluster back. One that
was started with --ephemeral comes back without its objects.`,
		Example: "  minato down\n  minato up",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			kept, err := cluster.Down(cmd.Context(), o.name)
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "Cluster %q is down; %s.\n", o.name, kept)
			return nil
		},
	}
}
