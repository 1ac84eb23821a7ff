// Command minato-dns is `minato dns` as a program of its own: the cluster DNS for
// a cluster that something else runs, without the rest of Minato, so that its
// image and its memory stay small.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"minato/internal/cluster/standalone"
)

func main() {
	var cfg standalone.DNSConfig
	cmd := &cobra.Command{
		Use:           "minato-dns",
		Short:         "Run the cluster DNS alone, for any cluster",
		Example:       "  minato-dns --kubeconfig ~/.kube/config --listen 127.0.0.1:5353",
		Args:          cobra.NoArgs,
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE:          func(cmd *cobra.Command, args []string) error { return standalone.RunDNS(cmd.Context(), cfg) },
	}
	cfg.AddFlags(cmd.Flags())
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := cmd.ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "minato-dns:", err)
		os.Exit(1)
	}
}
