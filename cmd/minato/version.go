package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"minato/internal/version"
)

func newVersionCommand() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:         "version",
		Short:       "Print the version of Minato and of the Kubernetes in it",
		Example:     "  minato version\n  minato version -o json",
		Annotations: map[string]string{clusterless: "true"},
		Args:        noArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			info := version.Get()
			if output == "json" {
				return printJSON(cmd.OutOrStdout(), info)
			}
			_, err := fmt.Fprintln(cmd.OutOrStdout(), info)
			return err
		},
	}
	outputFlag(cmd, &output)
	return cmd
}
