package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"minato/internal/cluster"
)

func newDeleteCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "delete",
		Short: "Stop a cluster and remove all its data",
		Long: `Stop a cluster and remove everything of it: containers, namespaces, links,
mounts, cgroups, data, images and its context in your kubeconfig. It also
removes what a start that was killed left behind.`,
		Example: "  minato delete\n  minato delete --name test",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := cluster.Delete(cmd.Context(), o.name); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "Cluster %q is deleted.\n", o.name)
			return nil
		},
	}
}
