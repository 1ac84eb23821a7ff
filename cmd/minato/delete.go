package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"minato/internal/cluster"
)

func newDeleteCommand(o *options) *cobra.Command {
	var ignore bool
	cmd := &cobra.Command{
		Use:   "delete",
		Short: "Stop a cluster and remove all its data",
		Long: `Stop a cluster and remove everything of it: containers, namespaces, links,
mounts, cgroups, data, images and its context in your kubeconfig. It also
removes what a start that was killed left behind.

Where nothing on the machine is of a cluster of that name, the exit status is 3;
with --ignore-not-found it is 0.`,
		Example: "  minato delete\n  minato delete --name test --ignore-not-found",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			left, err := cluster.Delete(cmd.Context(), o.name)
			if left != "" {
				fmt.Fprintln(cmd.ErrOrStderr(), left)
			}
			if ignore && errors.Is(err, cluster.ErrNoCluster) {
				fmt.Fprintf(cmd.OutOrStdout(), "There is no cluster %q.\n", o.name)
				return nil
			}
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "Cluster %q is deleted.\n", o.name)
			return nil
		},
	}
	cmd.Flags().BoolVar(&ignore, "ignore-not-found", false, "succeed also where there is no such cluster")
	return cmd
}
