package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"minato/internal/cluster"
)

func newLogsCommand(o *options) *cobra.Command {
	var output string
	var since time.Duration
	opts := cluster.LogOptions{}
	cmd := &cobra.Command{
		Use:               "logs [PART]",
		ValidArgsFunction: completeParts(o),
		Short:             "Show what a cluster's own parts print",
		Long: `Show what the parts of a cluster print: the control plane and what runs on its
nodes, not Pods, whose logs "minato kubectl logs" has. A part is named as in
"minato status -o json", and has the lines of those that go on from its name:
"dns" has those of "dns-metrics". A part that there is not is answered with a list
of those that there are.`,
		Example: `  minato logs
  minato logs dns --node node-2 -f
  minato logs etcd --since 10m --tail 50
  minato logs -o json | jq 'select(.level == "ERROR")'`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usageError{fmt.Errorf("`%s` takes one part; see `%s --help`", cmd.CommandPath(), cmd.CommandPath())}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				opts.Part = args[0]
			}
			if opts.Tail < -1 {
				return usageError{fmt.Errorf("--tail %d: give how many of the last lines, or -1 for all", opts.Tail)}
			}
			if since < 0 {
				return usageError{fmt.Errorf("--since %s: give a duration that goes back from now, such as 10m", since)}
			}
			if since > 0 {
				opts.Since = time.Now().Add(-since)
			}
			out := cmd.OutOrStdout()
			write := func(l cluster.LogLine) error {
				_, err := fmt.Fprintln(out, l.Text)
				return err
			}
			if output == "json" {
				enc := json.NewEncoder(out)
				write = func(l cluster.LogLine) error { return enc.Encode(l) }
			}
			err := cluster.ReadLog(cmd.Context(), o.name, opts, write)
			if opts.Follow && cmd.Context().Err() != nil && errors.Is(err, cmd.Context().Err()) {
				return nil // Ctrl-C is how one ends it
			}
			return err
		},
	}
	outputFlag(cmd, &output)
	cmd.Flags().StringVar(&opts.Node, "node", "", "only lines of this node")
	cmd.Flags().BoolVarP(&opts.Follow, "follow", "f", false, "go on with what is printed later, until Ctrl-C")
	cmd.Flags().DurationVar(&since, "since", 0, "only lines that are not older, such as 10m")
	cmd.Flags().IntVar(&opts.Tail, "tail", -1, "only the last lines, as many as that; -1 is all of them")
	return cmd
}
