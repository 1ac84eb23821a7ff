package main

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/duration"

	"minato/internal/cluster"
)

func newListCommand() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:         "ls",
		Aliases:     []string{"list"},
		Short:       "List the clusters of this machine",
		Example:     "  minato ls\n  minato ls -o json",
		Annotations: map[string]string{clusterless: "true"},
		Args:        noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			all, err := cluster.List(cmd.Context())
			if err != nil {
				return err
			}
			if output == "json" {
				return printJSON(cmd.OutOrStdout(), all)
			}
			return printClusters(cmd.OutOrStdout(), all, time.Now())
		},
	}
	outputFlag(cmd, &output)
	return cmd
}

func printClusters(out io.Writer, all []cluster.Summary, now time.Time) error {
	if len(all) == 0 {
		_, err := fmt.Fprintln(out, "There is no cluster on this machine; `minato up` makes one.")
		return err
	}
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "NAME\tSTATE\tNODES\tAPI SERVER\tLAN\tPODS\tSERVICES\tAGE")
	for _, s := range all {
		if s.Error != "" {
			fmt.Fprintf(w, "%s\t%s: %s\n", s.Name, s.State, s.Error)
			continue
		}
		nodes := fmt.Sprint(s.Nodes)
		if s.State != cluster.StateDown {
			nodes = fmt.Sprintf("%d/%d", s.NodesReady, s.Nodes)
		}
		age := "<unknown>"
		if !s.Created.IsZero() {
			age = duration.HumanDuration(now.Sub(s.Created))
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", s.Name, s.State, nodes, s.Server, s.LAN, s.PodCIDR, s.ServiceCIDR, age)
	}
	return w.Flush()
}
