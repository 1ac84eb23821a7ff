package main

import (
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"minato/internal/member"
)

func newIngressProxyCommand() *cobra.Command {
	return &cobra.Command{
		Use:     member.IngressCommand,
		Hidden:  true,
		Short:   "Serve the Ingresses for one node; the server starts this itself",
		Example: "  # started by `minato server` for each node when there is an Ingress",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return member.RunIngressProxy(cmd.Context(), slog.New(slog.NewTextHandler(os.Stderr, nil)))
		},
	}
}
