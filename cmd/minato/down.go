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
certificates and images stay: "minato up" brings the same cluster back.`,
		Example: "  minato down\n  minato up",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := cluster.Down(cmd.Context(), o.name); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "Cluster %q is down; its data is kept.\n", o.name)
			return nil
		},
	}
}
