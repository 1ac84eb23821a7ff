package main

import (
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"minato/internal/member"
)

func newBGPHelperCommand() *cobra.Command {
	return &cobra.Command{
		Use:     member.BGPHelperCommand,
		Hidden:  true,
		Short:   "Speak BGP for one node; the server starts this itself",
		Example: "  # started by `minato server` for a node that has BGP peers",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return member.RunBGPHelper(cmd.Context(), slog.New(slog.NewTextHandler(os.Stderr, nil)))
		},
	}
}
