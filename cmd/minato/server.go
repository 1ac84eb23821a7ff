package main

import (
	"io"
	"log/slog"
	"os"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"minato/internal/cluster"
)

func newServerCommand(o *options) *cobra.Command {
	began := time.Now()
	progressFD, keep := -1, false
	cmd := &cobra.Command{
		Use:   "server",
		Short: "Run a cluster in the foreground, for a service manager",
		Long: `Run the control plane and the nodes of an existing cluster in the foreground,
with the settings that "minato up" saved. Ending the process leaves containers
and forwarding as they are, and starting it again takes them over; "minato
down" ends them. When it fails, the service manager has to start it again; for a
server that "minato up" started, a process of its own does that.`,
		Example: "  minato up && minato down   # once, to make the cluster\n  minato server --name minato",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := cluster.RequireRoot(); err != nil {
				return err
			}
			// What nodes show to the users of containers does not depend on the shell
			// that the server is started from.
			syscall.Umask(0o022)
			config, err := cluster.LoadConfig(o.name)
			if err != nil {
				return err
			}
			var progress io.WriteCloser
			if progressFD >= 0 {
				progress = os.NewFile(uintptr(progressFD), "progress")
			}
			server, err := cluster.NewServer(config, cluster.ServerOptions{
				Began: began, Progress: progress, Keep: keep,
				Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)),
			})
			if err != nil {
				return err
			}
			return server.Run(cmd.Context())
		},
	}
	cmd.Flags().IntVar(&progressFD, "progress-fd", -1, "file descriptor to write the start's progress to, as lines of JSON")
	cmd.Flags().BoolVar(&keep, "keep", false, "have the process started again when it ends unexpectedly")
	cmd.Flags().MarkHidden("progress-fd")
	cmd.Flags().MarkHidden("keep")
	return cmd
}
